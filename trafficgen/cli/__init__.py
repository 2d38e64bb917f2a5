"""The command line: options to a `Plan`, one library call, one renderer, an exit code.

    program     the commands, found only when asked for; errors and signals to exit codes
    options     what `send` can be told, in groups, each also from TRAFFIC_GEN_…
    parsing     one option's text to one piece of a plan
    planning    all options together to a plan, with notices for people
    send sink   the commands
    dry_run     a plan in words and its first messages

Importing this imports click and the standard library alone, so that --help answers at once.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from trafficgen.errors import ExitCode


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and end the process with its exit code."""
    try:
        from trafficgen.cli import program
    except KeyboardInterrupt:  # in the first tenth of a second
        sys.stderr.write("traffic-gen: interrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
    program.main(arguments)
