"""`traffic-gen gate`: is build B worse than build A?

Takes     two addresses, or commands that bring each build up fresh; a scenario
Gives     a verdict, its reason in a sentence, an exit code; blocks or runs on stderr as they are made
Not here  its options (gate_options), what they mean (gate_plan); gates by slices (gate_slices) and by whole runs
          (gate_runs); how they are made (trafficgen.gate) and decided (trafficgen.verdict)
"""

from typing import TYPE_CHECKING, Any, Final

import click

from mboxgen.console import Names
from trafficgen.cli.gate_options import GateOptions, gate_options
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EPILOG: Final = """\
Examples:

\b
  traffic-gen gate --a 10.0.0.7:25 --b 10.0.0.8:25 --html gate.html -- --concurrency 50
  traffic-gen gate --a 10.0.0.7:25 --b 10.0.0.8:25 --rate half --metric p95:10%+2ms
  traffic-gen gate --a 10.0.0.7 --b 10.0.0.8 --state gate.jsonl -- --wait-for-delivery 2m --sink-api 8026
  traffic-gen gate --a localhost:2525 --a-start './up old' --a-stop ./down --b-start './up new' --b-stop ./down
  traffic-gen gate --a 10.0.0.7 --b 10.0.0.8 -- mailbox profile=office.conf pass=testpass clients=100 secs=60

What follows -- are options of send. With --wait-for-delivery and --sink-api there, the gate waits until all mail has
come out at a sink behind the builds, and what is lost, doubled or damaged on the way fails B.

Or the word mailbox, and what that command takes: then users of mailboxes are the load of whole runs; --a and --b are
hosts, or options of it in quotes ('--imap HOST:PORT --lmtp HOST:PORT'); and what is missing, doubled, damaged or in
somebody else's mailbox fails B.

Exit codes: 0 pass, 99 fail, 105 interrupted, 120 warn or inconclusive, 121 nothing could be judged, 122 the file of
--state belongs to another gate, or that of --history is no history.
"""


class SendWords(Names):
    """Words of a command line of `send` or `mailbox`, completed as there."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import ShellComplete

        from trafficgen.cli.mailbox import command as mailbox
        from trafficgen.cli.send import command as send

        words = list(ctx.params.get("send") or ())
        if words[:1] == ["mailbox"]:
            return ShellComplete(mailbox, {}, "mailbox", "").get_completions(words[1:], incomplete)
        return ShellComplete(send, {}, "send", "").get_completions(words, incomplete)


@click.command("gate", cls=GroupedCommand, epilog=EPILOG)
@gate_options
@click.argument("send", nargs=-1, type=SendWords(list), metavar="[-- [mailbox] OPTIONS]")
def command(**given: Any) -> ExitCode:
    """Say whether build B is worse than build A by more than a margin, with the evidence for it.

    With --a and --b both builds are up, and the load goes to one at a time in slices of seconds, in random order, until
    the difference is known or --budget is spent; slices in which the machine was disturbed do not count. With --a-start
    and --b-start, pairs of whole runs: 34 to 66 of them. docs/explained/gate.md explains both.
    """
    from trafficgen.cli import gate_runs, gate_slices
    from trafficgen.cli.gate_plan import check_outputs

    options = GateOptions(**given)
    check_outputs(options)
    gate_slices.refuse(options)
    return _code(options, (gate_slices if options.by_slices else gate_runs).run(options))


def _code(options: GateOptions, code: ExitCode) -> ExitCode:
    if code is not ExitCode.INCONCLUSIVE:
        return code
    return {
        "fail": ExitCode.VERDICT_FAILED, "pass": ExitCode.DONE, "inconclusive": ExitCode.INCONCLUSIVE,
    }[options.on_inconclusive]  # fmt: skip
