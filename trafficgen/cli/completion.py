"""`traffic-gen completion SHELL`: the script by which a shell completes both programs.

Takes     the name of a shell
Gives     its script on stdout; for one program, to be installed where the shell looks: `completion_script`
Not here  what completes to what (the options' types)
"""

from typing import Final

import click

from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode

EPILOG: Final = """\
Examples:

\b
  eval "$(traffic-gen completion bash)"     # in ~/.bashrc
  eval "$(traffic-gen completion zsh)"      # in ~/.zshrc, after compinit
  traffic-gen completion fish | source      # in ~/.config/fish/config.fish

Installed with the wheel are the same scripts, under share/ where the three shells look for them.
"""

PLACES: Final = {
    "bash": "share/bash-completion/completions/{}",
    "zsh": "share/zsh/site-functions/_{}",
    "fish": "share/fish/vendor_completions.d/{}.fish",
}
"""Below the prefix of an installation, for each shell and program."""


@click.command("completion", cls=GroupedCommand, epilog=EPILOG)
@click.argument("shell", type=click.Choice(list(PLACES)))
def command(shell: str) -> ExitCode:
    """Print the script by which a shell completes traffic-gen and mboxgen."""
    for name in ("traffic-gen", "mboxgen"):
        click.echo(completion_script(shell, name))
    return ExitCode.DONE


def completion_script(shell: str, name: str) -> str:
    """For one program."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    program = click.Command(name)  # the script only calls the program by its name
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    # That of bash would start bash to ask for its version.
    return ShellComplete.source(kind(program, {}, name, variable))
