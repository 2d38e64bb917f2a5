"""`traffic-gen sink`: receive mail and count it, until stopped.

Takes     where to listen
Gives     the call of `trafficgen.sink.serve`; a line a second to stderr while mail comes
Not here  the sink itself (`trafficgen.sink`)
"""

from typing import Final

import click

from trafficgen.cli.options import GroupedCommand
from trafficgen.errors import ExitCode
from trafficgen.plan import Target, parse_target

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
    address = parse_listen(listen)
    from trafficgen.sink.serve import serve

    serve(address, say=lambda line: click.echo(line, err=True))
    return ExitCode.DONE


def parse_listen(text: str) -> Target:
    """A target; a bare number is a port on the loopback address."""
    return parse_target(f"{LOOPBACK}:{text}" if text.isascii() and text.isdigit() else text)
