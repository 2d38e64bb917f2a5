"""`traffic-gen gate`: is build B worse than build A?

Takes     two addresses, or commands that bring each build up fresh; a scenario
Gives     a verdict, its reason in a sentence, an exit code; blocks or runs on stderr as they are made
Not here  what was asked for, checked (gate_options); gates by slices (gate_slices) and by whole runs (gate_runs); how
          they are made (trafficgen.gate) and decided (trafficgen.verdict)
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from mboxgen.console import FILE, PATH, WHOLE, Names
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from trafficgen.cli.gate_options import GateOptions

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

_PATH: Final = PATH


class _GateOption(click.Option):
    """One with a group in help. The environment is left to the options of send, some of which have the same names."""

    def __init__(self, *given: Any, group: str, **settings: Any) -> None:
        super().__init__(*given, **{**settings, "help": " ".join(settings["help"].split())})
        self.group = group


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


_LOAD, _BUILDS, _VERDICT, _SLICES, _RUNS, _FILES = (
    partial(click.option, cls=_GateOption, group=title)
    for title in ("Load", "Builds", "Verdict", "Slices", "Whole runs", "Files")
)


@click.command("gate", cls=GroupedCommand, epilog=EPILOG)
@_LOAD("--scenario", metavar="FILE", type=FILE, help="The load, as for send or mailbox.")
@_LOAD(
    "--rate",
    metavar="RATE|half",
    help="""
    Gate latency in the open model, at this many messages a second such as 200/s, the same for both builds; half: half
    of what A accepts in a short run without a rate. By slices only.""",
)
@_LOAD(
    "--threshold",
    multiple=True,
    metavar="EXPR",
    help="With --rate half: half of the highest rate at which A keeps this, such as p99<250ms, as find-limit finds it.",
)
@_BUILDS("--a", metavar="HOST[:PORT]", help="Where the build to compare with is, or comes up.")
@_BUILDS("--b", metavar="HOST[:PORT]", help="Where the build under test is, or comes up. [default: as --a]")
@_BUILDS("--a-start", metavar="CMD", help="Bring A up before each of its runs, without a shell; waits for a 220.")
@_BUILDS("--a-stop", metavar="CMD", help="Take A down after each of its runs; waits until it is gone.")
@_BUILDS("--b-start", metavar="CMD", help="The same for B.")
@_BUILDS("--b-stop", metavar="CMD", help="The same for B.")
@_BUILDS(
    "--a-cgroup",
    metavar="DIR",
    type=FILE,
    help="A's cgroup, to read what A used; else its process tree, if it is here.",
)
@_BUILDS("--b-cgroup", metavar="DIR", type=FILE, help="The same for B.")
@_BUILDS("--a-queue", metavar="DIR", type=_PATH, help="A's Postfix queue: whose queue grew is said. By slices only.")
@_BUILDS("--b-queue", metavar="DIR", type=_PATH, help="The same for B.")
@_VERDICT(
    "--metric",
    multiple=True,
    metavar="NAME[:PERCENT%[+TIME]]",
    help="""
    What must not get worse, and by how much it may, such as throughput:5%, p99:10%+2ms (10 %, or 2 ms if that is more),
    server.cpu:3%; of mailboxes also command{login}.p99:10%. At most three. [default: throughput:5%; with --rate
    p50:10%+2ms p95:10%+2ms; of whole runs throughput:5% p99:10%+2ms; of mailboxes p95:10%+2ms seen.p95:10%+2ms]""",
)
@_VERDICT(
    "--on-inconclusive",
    type=click.Choice(["inconclusive", "fail", "pass"]),
    default="inconclusive",
    help="How warn and inconclusive end: 120, 99 or 0. [default: inconclusive]",
)
@_VERDICT("--tolerate-refusals", is_flag=True, help="Rejected and failed messages and commands are part of this load.")
@_SLICES("--budget", metavar="TIME", help="Decide within this time. [default: 10m]")
@_SLICES(
    "--slice",
    metavar="TIME",
    help="How long a slice is measured, after a third as long that is not. [default: 1500ms]",
)
@_RUNS("--whole-runs", is_flag=True, help="Make whole runs in turns, as is done where only one build can be up.")
@_RUNS("--looks", metavar="N,N…", help="Judge after so many pairs. [default: 8,16,24]")
@_RUNS("--control", type=WHOLE, metavar="N", help="Pairs of A against A first; 0: trust this machine. [default: 8]")
@_RUNS("--keep", metavar="DIR", type=_PATH, help="Keep the results of every run here.")
@_FILES(
    "--state",
    metavar="FILE",
    type=_PATH,
    help="Keep what was measured here; called again with the same file, an interrupted gate goes on.",
)
@_FILES(
    "--history", metavar="FILE", type=_PATH, help="Append ratios and medians to this CSV file, to watch slow drift."
)
@_FILES("--label", default="", metavar="TEXT", help="What to call this gate in the history: a commit, a branch.")
@_FILES("--json", metavar="FILE", type=_PATH, help="Write all numbers as JSON.")
@_FILES("--junit", metavar="FILE", type=_PATH, help="Write the verdict as JUnit XML.")
@_FILES("--html", metavar="FILE", type=_PATH, help="Write one page with the slices and the verdict. By slices only.")
@click.argument("send", nargs=-1, type=SendWords(list), metavar="[-- [mailbox] OPTIONS]")
def command(**given: Any) -> ExitCode:
    """Say whether build B is worse than build A by more than a margin, with the evidence for it.

    With --a and --b both builds are up, and the load goes to one at a time in slices of seconds, in random order, until
    the difference is known or --budget is spent; slices in which the machine was disturbed do not count. With --a-start
    and --b-start, pairs of whole runs: 34 to 66 of them. docs/explained/gate.md explains both.
    """
    from trafficgen.cli import gate_runs, gate_slices
    from trafficgen.cli.gate_options import GateOptions, check_outputs

    options = GateOptions(**given)
    check_outputs(options)
    gate_slices.refuse(options)
    return _code(options, (gate_slices if options.by_slices else gate_runs).run(options))


def _code(options: "GateOptions", code: ExitCode) -> ExitCode:
    if code is not ExitCode.INCONCLUSIVE:
        return code
    return {
        "fail": ExitCode.VERDICT_FAILED, "pass": ExitCode.DONE, "inconclusive": ExitCode.INCONCLUSIVE,
    }[options.on_inconclusive]  # fmt: skip
