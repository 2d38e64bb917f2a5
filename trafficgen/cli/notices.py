"""Lines on standard error while a command goes on.

Takes     a line, which may quote what a server said
Gives     the same with nothing in it that a terminal acts on
"""

import click

from trafficgen.printable import printable


def show_notice(line: str) -> None:
    """Print it."""
    click.echo(printable(line), err=True)
