"""The command line: options to a `Plan`, one library call, one renderer, an exit code.

    program     the commands, found only when asked for; errors and signals to exit codes
    options     what `send` can be told, in groups, each also from TRAFFIC_GEN_…
    parsing     one option's text to one piece of a plan
    planning    all options together to a plan, with notices for people
    send sink   the commands
    dry_run     a plan in words and its first messages

Importing this imports click and the standard library alone, so that --help answers at once.
"""

from trafficgen.cli.program import main

__all__ = ["main"]
