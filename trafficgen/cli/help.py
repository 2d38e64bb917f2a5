"""`traffic-gen help [COMMAND]`: what the command says to --help."""

from mboxgen.console import help_command
from trafficgen.cli.grouped import GroupedCommand

command = help_command("\n\n\b\n  traffic-gen help sink", GroupedCommand)
