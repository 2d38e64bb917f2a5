"""`traffic-gen sink`: receive mail and count it, until stopped.

Takes     where to listen
Gives     the call of `trafficgen.sink.serve`, and its exit code
Not here  the sink itself (`trafficgen.sink`)
"""

from typing import Final

import click

from trafficgen.cli.options import GroupedCommand
from trafficgen.errors import ExitCode
from trafficgen.plan import Target, TcpTarget, parse_target

LOOPBACK: Final = "127.0.0.1"

EPILOG: Final = """\
Example:

\b
  traffic-gen sink 127.0.0.1:2526
"""


@click.command("sink", cls=GroupedCommand, epilog=EPILOG)
@click.argument("listen", metavar="[HOST:]PORT")
def command(listen: str) -> ExitCode:
    """Receive mail on this address, for a server under test to deliver to, and count it until Ctrl-C.

    Takes everything and relays nothing. A port alone listens on 127.0.0.1; unix:/path listens on a UNIX socket.
    """
    from trafficgen import sink

    code: ExitCode = sink.serve(parse_listen(listen))
    return code


def parse_listen(text: str) -> Target:
    """A target; a bare number is a port on the loopback address."""
    return TcpTarget(LOOPBACK, parse_port(text)) if text.isascii() and text.isdigit() else parse_target(text)


def parse_port(text: str) -> int:
    """A port from the number alone, checked as every target's is."""
    target = parse_target(f"{LOOPBACK}:{text}")
    assert isinstance(target, TcpTarget)
    return target.port
