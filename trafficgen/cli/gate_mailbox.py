"""`traffic-gen gate … -- mailbox …`: users of mailboxes as the load of a gate by whole runs.

Takes     the options of the gate; behind `--` the word mailbox, and words and options of `traffic-gen mailbox`; as
          `--a` and `--b` a host, or words and options of that command which say where the build's servers are
Gives     builds, and what is run against them
Refuses   options of `mailbox` that would be passed over in silence
"""

import shlex
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from trafficgen.cli.cluster import cluster_of
from trafficgen.cli.gate_plan import NOT_HERE, RunsLoad, build_of, place_of, refuse_options
from trafficgen.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trafficgen.cli.gate_options import GateOptions
    from trafficgen.gate.builds import Build
    from trafficgen.mailbox.plan import MailboxPlan
    from trafficgen.verdict.gating import Side

_NOT_HERE: Final = {
    **{name: reason for name, reason in NOT_HERE.items() if name != "manifest"},
    "host": "the builds are named by --a and --b",
    "run_id": "each run of a gate has an id of its own",
    "rawlog": "a gate makes many runs, and their logs would have the same names",
    "output": "a gate makes many runs: keep their results with --keep",
}


def load_of(options: "GateOptions", stack: ExitStack, say: "Callable[[str], None]") -> "RunsLoad":
    """What is run, against which builds. `stack` holds the cluster of those who asked for one."""
    from trafficgen.cli.judging import judged_by
    from trafficgen.gate.mailbox_load import MailboxUsers
    from trafficgen.runs.mailbox import run_mailbox
    from trafficgen.verdict.gating import Side
    from trafficgen.verdict.reading import HELD_TO_ZERO

    given, _, notes = _plan_of(options, ())
    for note in notes:
        say(note)
    for text in options.metric:
        if text in HELD_TO_ZERO:
            say(f"{text} must be zero in every run of B, named or not")
    plans = {side: _plan_of(options, _where(options, side))[1] for side in Side}
    plan = plans[Side.A]
    if plan.duration_ns is None:
        raise PlanError("expected how long each run lasts", field="duration", flag="--duration")
    runner = run_mailbox
    if given["cluster"] is not None:
        cluster = cluster_of(given["cluster"], given["cluster_hosts"], given["clock_error"])
        runner = stack.enter_context(cluster).run_mailbox
    monitor = judged_by((), None, given["warm_up"], plan.duration_ns)
    builds = {side: _build_of(options, side, one) for side, one in plans.items()}
    return RunsLoad(MailboxUsers(plans, monitor, runner), builds, plan)


def _plan_of(options: "GateOptions", where: tuple[str, ...]) -> "tuple[dict[str, Any], MailboxPlan, list[str]]":
    """What was said for every run, the plan of those at `where`, and notes on it."""
    from trafficgen.cli.mailbox import command, without_overruled
    from trafficgen.cli.mailbox_plan import make_plan, read_words

    scenario = ("--scenario", options.scenario) if options.scenario else ()
    context = command.make_context("traffic-gen mailbox", [*scenario, *options.send[1:], *where])
    with context.scope(cleanup=False):
        given = dict(context.params)
        said, notices = read_words(given.pop("words"))
        given = without_overruled(given, said)
    if not where:
        words = {
            "host": given["host"] or said.get("host"), "output": said.get("output"),
            "rawlog": given["rawlog"] or "rawlog" in said,
        }  # fmt: skip
        refuse_options(SimpleNamespace(**{**given, **words}), _NOT_HERE)
    plan, more = make_plan(said, given)
    return given, plan, [*notices, *more]


def _where(options: "GateOptions", side: "Side") -> tuple[str, ...]:
    """The words of `mailbox` that say where this side is."""
    text, flag = place_of(options, side)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise PlanError(
            f'expected a host, or options of mailbox in quotes, got "{text}"', field="target", flag=flag
        ) from error
    if len(words) == 1 and not words[0].startswith("-") and "=" not in words[0]:
        return ("--host", words[0])
    return tuple(words)


def _build_of(options: "GateOptions", side: "Side", plan: "MailboxPlan") -> "Build":
    from dataclasses import replace

    from trafficgen.gate.builds import ListeningServer
    from trafficgen.mailbox.plan import Protection
    from trafficgen.mailbox.profile import MailProtocol

    spoken = {section.protocol for section in plan.profile.clients if section.connection_max_count}
    services = (MailProtocol.IMAP, plan.imap), (MailProtocol.POP3, plan.pop3)
    others = tuple(
        ListeningServer(service.target, service.protection is Protection.TLS)
        for protocol, service in services if protocol in spoken
    )  # fmt: skip
    build = build_of(options, side, plan.delivery.target)
    return replace(build, others=others, tls=plan.delivery.protection is Protection.TLS)
