"""One mailbox run, from a plan to its results.

Takes     a `MailboxPlan`; who wants the rows of the table, lines worth saying and the results so far
Gives     `Results`, with the account of what was delivered against what was read
Fails     PlanError when a file or the guard refuses, SetupError when it cannot begin; what servers do is in the results
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, reduce
from typing import NamedTuple

import uvloop

from mboxgen.counted import number_of, plural
from trafficgen.engine.address import refuse_real_recipients
from trafficgen.errors import PlanError, SetupError
from trafficgen.guard import refuse_public, resolve
from trafficgen.host.limits import raise_open_files
from trafficgen.host.signals import RunControl
from trafficgen.host.version import VERSION
from trafficgen.mailbox.account import MailboxWorkerAccount
from trafficgen.mailbox.mail import Mail
from trafficgen.mailbox.operations import PHASES
from trafficgen.mailbox.plan import Delivering, MailboxPlan, MailboxService
from trafficgen.mailbox.population import Population, deliveries_at_once, populate
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.refused import RefusedUsers
from trafficgen.mailbox.supervisor import run_workers
from trafficgen.mailbox.table import Second
from trafficgen.mailbox.worker import Routes, Worker
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.generator import Host
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.host import CpuTime
from trafficgen.measure.journal import Journal
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot, merge
from trafficgen.outcomes import StoppedBy
from trafficgen.publish.isolated import Isolation
from trafficgen.runs import shards
from trafficgen.runs.monitor import Monitor, MonitorOptions, Observer
from trafficgen.runs.observation import Observation

DOMAIN = "users"
"""All recipients count as one domain: what they have in common is that they are users."""


class Prepared(NamedTuple):
    """What a machine found for its users before anybody logs in. `files`: what its mail and users are made from."""

    population: Population
    routes: Routes
    files: Mapping[str, str]


def prepare(plan: MailboxPlan) -> Prepared:
    """Look at everything that may refuse the run. PlanError or SetupError when it cannot begin."""
    population = populate(plan.profile, plan.seed)
    if population.mailboxes < plan.shard.of:
        text = f"expected a mailbox for each of {plan.shard.of} shards, got {population.mailboxes}"
        raise PlanError(text, field="shard", flag="--shard")
    found = Prepared(population, _routes(plan, population), shards.files_of_users(plan, population))
    _check_files(plan, population)
    return found


def run_mailbox(
    plan: MailboxPlan,
    *,
    on_second: Callable[[Second], None] = lambda _second: None,
    say: Callable[[str], None] = lambda _line: None,
    progress: Callable[[Snapshot, int, Callable[[], Results]], None] | None = None,
    control: RunControl | None = None,
) -> Results:
    """Let all users of the profile do what they do, and account for every mail.

    `progress` gets, once a second, everything so far, the time since the run began in ns, and what makes results of it.
    """
    plan = plan.identified().with_password()
    shards.check_start(plan.shard)
    control = control or RunControl()
    population, routes, files = prepare(plan)
    for note in population.notes:
        say(note)
    _warn_of_few_connections(plan, population, say)
    started_at = shards.time_zero(plan.shard) or datetime.now(UTC)

    def so_far(accounts: Sequence[MailboxWorkerAccount]) -> None:
        if progress is not None:
            snapshot = merge(account.snapshot for account in accounts)
            build = partial(_results, plan, routes, accounts, {}, started_at, files, complete=False)
            progress(snapshot, max(worker.wall_ns for worker in snapshot.workers), build)

    with Mail(
        plan.mbox, plan.run_id
    ) as mail:  # also where workers read it for themselves: a wrong path is found in time
        if plan.workers == 1:
            worker = Worker(
                plan, population.of_worker(*plan.shard.lane(0, 1)), routes, mail,
                say=say, on_second=on_second, on_account=lambda account: so_far([account]),
                connections=plan.share(plan.connections, 0),
                parallel=plan.share(plan.profile.lmtp_max_parallel_count, 0),
            )  # fmt: skip
            accounts = [uvloop.run(worker.run(control, plan.time_zero_ns()))]
            lost: dict[int, str] = {}
        else:
            accounts, lost = run_workers(plan, routes, on_second, so_far, say, control)
    if not accounts:
        raise SetupError(f"no worker gave an account: {next(iter(lost.values()))}")
    so_far(accounts)
    return _results(plan, routes, accounts, lost, started_at, files, complete=True)


def run_mailbox_monitored(
    plan: MailboxPlan,
    options: MonitorOptions,
    *,
    journal: Journal | None = None,
    observers: Sequence[Observer] = (),
    on_second: Callable[[Second], None] = lambda _second: None,
    progress: Callable[[Snapshot, int], None] | None = None,
    say: Callable[[str], None] = lambda _line: None,
    control: RunControl | None = None,
    runner: Callable[..., Results] = run_mailbox,
    observation: Observation | None = None,
) -> Results:
    """`run_mailbox` with a monitor, as `run_monitored` is for sending. `progress` gets everything so far, and the time
    since the run began in ns. `runner` runs it in place of `run_mailbox`. `observation` looks at the server
    meanwhile, and until its queue is back where it was."""
    control = control or RunControl()
    isolation = Isolation(say)
    monitor = Monitor(options, journal, observers, control, isolation, observation)

    def see(snapshot: Snapshot, elapsed_ns: int, build: Callable[[], Results]) -> None:
        monitor.see(snapshot, elapsed_ns, build)
        if progress:
            isolation.call("the live line", lambda: progress(snapshot, elapsed_ns))

    cpu_before = CpuTime.now()
    results = runner(plan, on_second=on_second, say=say, progress=see, control=control)
    results = monitor.close(results, cpu_before)
    monitor.show(results)
    return results.with_caveats((*results.caveats, *isolation.caveats)) if isolation.caveats else results


def _routes(plan: MailboxPlan, population: Population) -> Routes:
    """Resolve what is used, and refuse what could be a stranger's."""
    spoken = {client.protocol for user in population.users for client in user.clients}

    def route(service: MailboxService, flag: str, *, used: bool) -> object:
        found = resolve(service.target, flag)
        if used and not plan.allow_public_target:
            refuse_public(found, flag)
        return found

    recipients = [
        user.name
        for user in population.users
        if user.section.mail_inbox_delivery_interval or user.section.mail_spam_delivery_interval
    ]
    if not plan.allow_real_domains:
        # By SMTP a server completes a name without a domain with one of its own; LMTP's names are those of the store.
        bare = plan.delivering is Delivering.LMTP
        refuse_real_recipients(recipients, "profile", "--profile", bare=bare)
    return Routes(
        route(plan.imap, "--imap", used=MailProtocol.IMAP in spoken),  # type: ignore[arg-type]
        route(plan.pop3, "--pop3", used=MailProtocol.POP3 in spoken),  # type: ignore[arg-type]
        route(plan.delivery, f"--{plan.delivering.value}", used=bool(recipients)),  # type: ignore[arg-type]
    )


def _warn_of_few_connections(plan: MailboxPlan, population: Population, say: Callable[[str], None]) -> None:
    """Sessions that stay take a connection each for as long as they last."""
    staying = sum(
        any(client.connection_max_count and client.protocol is MailProtocol.IMAP for client in user.clients)
        for user in population.users
    )
    if staying > plan.connections:
        say(
            f"{staying} {plural(staying, 'user')} to stay connected have "
            f"{plan.connections} {plural(plan.connections, 'connection')} (clients=): the others wait "
            "until somebody leaves"
        )


def _check_files(plan: MailboxPlan, population: Population) -> None:
    deliveries = deliveries_at_once(population.users, plan.profile.lmtp_max_parallel_count)
    needed = plan.share(plan.connections, 0) + plan.share(deliveries, 0)
    room = raise_open_files(needed)
    if room < needed:
        raise SetupError(
            f"cannot hold {plan.connections} {plural(plan.connections, 'session')} and "
            f"{deliveries} {plural(deliveries, 'delivery')} at a time: a process may have {room} "
            f"{plural(room, 'connection')}, and {plan.workers} would need {needed} each; raise the limit "
            "(ulimit -n) or --workers, or "
            "lower clients= and lmtp_max_parallel_count"
        )


def _about_users(plan: MailboxPlan, accounts: Sequence[MailboxWorkerAccount]) -> Iterator[Caveat]:
    """Users who could not do what the profile says: for want of connections, or as the server does not know them."""
    if waited := sum(account.waited for account in accounts):
        of = number_of(plan.connections, "connection")
        text = f"up to {number_of(waited, 'user')} waited at a time for one of {of} (clients=)"
        yield Caveat.of(CaveatKind.USERS_WAITED, text)
    never_in = RefusedUsers.of_all(account.never_in for account in accounts)
    no_recipients = RefusedUsers.of_all(account.no_recipients for account in accounts)
    texts = [
        f"{refused.users:,} {'user was' if refused.users == 1 else 'users were'} {what}: {refused}"
        for refused, what in ((never_in, "never let in"), (no_recipients, "never accepted as recipients"))
        if refused.users
    ]
    if texts:
        yield Caveat.of(CaveatKind.USERS_UNKNOWN, "; ".join(texts))


def _results(
    plan: MailboxPlan,
    routes: Routes,
    accounts: Sequence[MailboxWorkerAccount],
    lost: dict[int, str],
    started_at: datetime,
    files: Mapping[str, str],
    *,
    complete: bool,
) -> Results:
    snapshot = merge(account.snapshot for account in accounts)
    counts = reduce(MailboxCounts.__add__, (account.counts for account in accounts))
    caveats = []
    if counts.dropped:
        dropped = f"{counts.dropped:,} of {number_of(sum(account.due for account in accounts), 'delivery')} dropped"
        text = f"{dropped}: as many were at work as lmtp_max_parallel_count allows"
        caveats.append(Caveat.of(CaveatKind.ARRIVALS_DROPPED, text))
    caveats += _about_users(plan, accounts)
    reasons = [account.stopped_by for account in accounts]
    stopped_by = next((why for why in reasons if why is not StoppedBy.DEADLINE), StoppedBy.DEADLINE)
    return Results.build(
        plan,
        snapshot,
        phases=PHASES,
        domains=((DOMAIN, 1.0),),
        planned=snapshot.started + counts.dropped,
        not_started=counts.dropped,
        started_at=started_at,
        duration_ns=max(worker.wall_ns for worker in snapshot.workers),
        host=Host.here(),
        tool_version=VERSION,
        stopped_by=StoppedBy.WORKER_LOST if lost else stopped_by,
        lost_workers=lost,
        addresses=tuple(str(address) for address in routes.delivery.addresses),
        mailboxes=counts,
        caveats=caveats,
        shards=shards.record(plan.shard, None, snapshot, files),
        complete=complete,
    )
