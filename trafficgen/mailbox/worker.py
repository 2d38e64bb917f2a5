"""One process full of users: carries out what they mean to do.

Takes     a plan, users; the addresses of the servers
Gives     a `Second` for each second, and at the end the account: snapshot, delivered against read
Limits    `plan.connections` sessions, `lmtp_max_parallel_count` deliveries at a time; one timer for all deadlines
Fails     never because of a server
Not here  when anything is due (`director`, `habits`), how it is said (delivery, programs), what is counted (account)
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.guard import Route
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.account import MailboxAccount, MailboxWorkerAccount
from trafficgen.mailbox.connection import Server
from trafficgen.mailbox.deliveries import PER_MAILBOX
from trafficgen.mailbox.delivery import DeliveryConnection, DeliverySessions
from trafficgen.mailbox.director import Director, Visitor
from trafficgen.mailbox.imap_program import ImapProgram
from trafficgen.mailbox.imap_second import ImapSecond
from trafficgen.mailbox.mail import Mail
from trafficgen.mailbox.operations import TableColumn as Column
from trafficgen.mailbox.plan import MailboxPlan, MailboxService, Protection
from trafficgen.mailbox.pop3_program import Pop3Program
from trafficgen.mailbox.population import User
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.rawlog import Rawlog
from trafficgen.mailbox.table import Second
from trafficgen.mailbox.visit import Visit
from trafficgen.outcomes import Outcome, StoppedBy

_LOOK_NS: Final = 50_000_000
_STALLED_NS: Final = 3 * NS_PER_S
_STUCK_NS: Final = 15 * NS_PER_S
_THROTTLED_EVERY_NS: Final = 30 * NS_PER_S
_MAX_STALLS: Final = 20


class Routes(NamedTuple):
    """Where the servers are."""

    imap: Route
    pop3: Route
    delivery: Route


class Worker:
    """Users of one process, in the running event loop."""

    def __init__(
        self,
        plan: MailboxPlan,
        users: list[User],
        routes: Routes,
        mail: Mail,
        *,
        say: Callable[[str], None],
        on_second: Callable[[Second], None],
        on_account: Callable[[MailboxWorkerAccount], None],
        number: int = 0,
        connections: int | None = None,
        parallel: int | None = None,
    ) -> None:
        self.plan = plan
        self.mail = mail
        self.account = MailboxAccount(plan, number, say)
        self._most = plan.connections if connections is None else connections
        self._parallel = plan.profile.lmtp_max_parallel_count if parallel is None else parallel
        self.director = Director(plan.profile, users, plan.seed, self, self._most)
        self._say = say
        self._on_second = on_second
        self._on_account = on_account
        self._number = number
        context = _context(plan) if _wants_tls(plan) else None
        self._imap = _server(plan, plan.imap, routes.imap, context)
        self._pop3 = _server(plan, plan.pop3, routes.pop3, context)
        self._delivery = _server(plan, plan.delivery, routes.delivery, context)
        self._programs: set[Visit[Any]] = set()
        self._on_their_way: set[DeliveryConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._highest = 0
        self._logs = 0
        self._ends_ns: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._throttled_ns = -_THROTTLED_EVERY_NS
        self._bug: BaseException | None = None
        self._sessions: DeliverySessions
        self.now_ns = now_ns

    # -- the run ----------------------------------------------------------------------------------------

    async def run(self, control: RunControl, started_ns: int | None = None) -> MailboxWorkerAccount:
        """From the first intent to the last goodbye. `started_ns`: the run's start, the same for all workers."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_bug)
        started_ns = await self._time_zero(control, started_ns)
        self.account.begin(started_ns)
        self._sessions = DeliverySessions(self.plan, self.account.recorder)
        self.director.agenda.on_sooner = lambda due_ns: self._arm(loop, due_ns)
        self._ends_ns = None if self.plan.duration_ns is None else started_ns + self.plan.duration_ns
        self.director.begin(started_ns)
        try:
            stopped_by = await self._until_stopped(control, started_ns, self._ends_ns)
            await self._drain(control, started_ns)
        finally:
            await self._end_all()
        if self._bug is not None:
            raise self._bug
        self._tell_second()
        return self._account(stopped_by)

    async def _time_zero(self, control: RunControl, started_ns: int | None) -> int:
        """Wait for the run's start; it is now where there is none, and where the run is stopped before."""
        if started_ns is None:
            return now_ns()
        while not control.count:  # which is counted by a thread or a signal
            if (left_ns := started_ns - now_ns()) <= 0:
                return started_ns
            await asyncio.sleep(min(left_ns, _LOOK_NS) / NS_PER_S)
        return min(started_ns, now_ns())

    def _account(self, stopped_by: StoppedBy) -> MailboxWorkerAccount:
        self._sessions.tally()
        visits, in_flight, waited = len(self._programs), len(self._on_their_way), self.director.most_waiting
        return self.account.so_far(stopped_by, visits=visits, in_flight=in_flight, waited=waited)

    def _on_bug(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception of our own code in the loop: no account could be trusted."""
        self._bug = self._bug or context.get("exception") or RuntimeError(str(context.get("message")))

    async def _until_stopped(self, control: RunControl, started_ns: int, ends_ns: int | None) -> StoppedBy:
        next_second_ns = started_ns + NS_PER_S
        while True:
            now = now_ns()
            if control.count:
                return control.why or StoppedBy.INTERRUPTED
            if self._bug is not None:
                raise self._bug
            if self.account.had_error and self.plan.first_error_ends:
                return StoppedBy.FIRST_ERROR
            if ends_ns is not None and now >= ends_ns:
                while self.director.agenda.run_due(now, until_ns=ends_ns):
                    pass  # however late this loop is, what was due before the end happens, and nothing else
                return StoppedBy.DEADLINE
            if now >= next_second_ns:
                next_second_ns += NS_PER_S
                self._look(now)
            until_ns = min(now + _LOOK_NS, next_second_ns, ends_ns or next_second_ns)
            await self._sleep_until(until_ns)

    async def _drain(self, control: RunControl, started_ns: int) -> None:
        """Let sessions and deliveries end by themselves for a while."""
        self.director.stop()
        asked = control.count
        begun_ns = now_ns()
        for program in list(self._programs):
            program.leave(begun_ns)
        next_second_ns = begun_ns + (NS_PER_S - (begun_ns - started_ns) % NS_PER_S)
        while (self._programs or self._on_their_way) and not control.at_once and control.count <= asked + (not asked):
            now = now_ns()
            if now >= begun_ns + self.plan.final_ns:
                break
            if now >= next_second_ns:
                next_second_ns += NS_PER_S
                self._look(now)
            await self._sleep_until(min(now + _LOOK_NS, next_second_ns))

    async def _end_all(self) -> None:
        """Whatever is still open, also after a bug of ours."""
        for one in [*self._programs, *self._on_their_way]:
            one.end("ended by us", "the run was over")
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        while self._tasks:
            with suppress(asyncio.CancelledError):
                await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # the loop closes connections in its next turn

    async def _sleep_until(self, until_ns: int) -> None:
        await asyncio.sleep(max(until_ns - now_ns(), 0) / NS_PER_S)
        self.account.recorder.loop_lag(now_ns() - until_ns)

    def _arm(self, loop: asyncio.AbstractEventLoop, due_ns: int) -> None:
        if self._timer is not None:
            if self._timer_ns <= due_ns:
                return
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = loop.call_later(max(due_ns - now_ns(), 0) / NS_PER_S, self._wake, loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        agenda, now = self.director.agenda, now_ns()
        if (due_ns := agenda.next_ns) is not None:
            self.account.recorder.loop_lag(now - due_ns)
        agenda.run_due(now, until_ns=self._ends_ns)
        if (next_ns := agenda.next_ns) is not None and not self.director.stopping:
            self._arm(loop, next_ns)

    def _look(self, now: int) -> None:
        """Once a second: who waits too long; the row of the table."""
        limit_ns = self.plan.timeout_ns
        for program in list(self._programs):
            since = program.waiting_since_ns
            if since is not None and now - since > limit_ns:
                program.end("timed out", program.state_in_words)
            else:
                program.look(now)
        for delivery in [one for one in self._on_their_way if now - one.begun_ns > limit_ns]:
            delivery.end("timed out", "")
        self._on_account(self._account(StoppedBy.UNFINISHED))
        self._tell_second()  # after it: a second of all workers ends with their accounts

    def _tell_second(self) -> None:
        second, now = self.account.take_second(), now_ns()
        waits = [
            (now - since, program) for program in self._programs if (since := program.waiting_since_ns) is not None
        ]
        second.connections = len(self._programs)
        second.speaking = sum(program.greeted for program in self._programs)
        second.most = self._highest
        second.stalled = sum(wait > _STALLED_NS for wait, _ in waits)
        second.stalls = tuple(
            f" - {program.visitor.user.name} stalled for {wait // NS_PER_S} secs in command: {program.state_in_words}"
            for wait, program in waits
            if wait > _STUCK_NS and program.greeted
        )[:_MAX_STALLS]
        self._on_second(second)

    # -- hands of the director --------------------------------------------------------------------------

    def deliver(self, user: User, spam: bool, due_ns: int, now_ns: int) -> None:
        """Hand a new message over, unless as many are at work as there may be."""
        deliveries = self.account.deliveries
        self.account.due += 1
        if self._parallel and len(self._on_their_way) >= self._parallel:
            deliveries.dropped += 1
            if now_ns - self._throttled_ns >= _THROTTLED_EVERY_NS:
                self._throttled_ns = now_ns
                self._say(f"LMTP: Reached {self._parallel} connections, throttling")
            return
        number = deliveries.begin(user.mailbox, spam=spam)
        local, at, domain = user.name.partition("@")
        recipient = f"{local}+Spam{at}{domain}" if spam else user.name
        delivery = DeliveryConnection(self._delivery, self, self._sessions, number, recipient, due_ns)
        self._on_their_way.add(delivery)
        delivery.open()

    def delivered(self, delivery: DeliveryConnection, outcome: Outcome, row: bytes, now_ns: int) -> None:
        """What became of it."""
        self._on_their_way.discard(delivery)
        account = self.account
        account.recorder.rows.frombytes(row)
        account.deliveries.ended(delivery.number, outcome, now_ns)
        mailbox = delivery.number // PER_MAILBOX
        if outcome is Outcome.ACCEPTED:
            account.recipients.accepted(mailbox)
            account.second.count(Column.LMTP, now_ns - delivery.begun_ns)
        else:
            if (words := delivery.refused_recipient) is not None:
                account.recipients.refused(mailbox, delivery.recipient, words)
            account.error()

    def login(self, visitor: Visitor, due_ns: int, now_ns: int) -> None:
        """Begin a session."""
        program: Visit[Any]
        if visitor.client.protocol is MailProtocol.POP3:
            program = Pop3Program(self._pop3, self, visitor)
        else:
            program = ImapProgram(self._imap, self, visitor, self._second_connection)
        self._begin(program)

    def _second_connection(self, visitor: Visitor, folders: dict[str, bytes]) -> ImapSecond | None:
        """One more for a program that has one; None when all are taken."""
        if not self.director.take_spare():
            return None
        second = ImapSecond(self._imap, self, visitor, folders, self._second_over)
        self._begin(second)
        return second

    def _second_over(self, second: ImapSecond) -> None:
        """It has ended."""
        self._programs.discard(second)
        self.director.give_back(self.now_ns())

    def _begin(self, program: Visit[Any]) -> None:
        if (folder := self.plan.rawlog) is not None:
            self._logs += 1
            worker = f"{self._number}." if self.plan.workers > 1 else ""
            program.rawlog = Rawlog(Path(folder, f"rawlog.{worker}{self._logs}"), program.begun_ns)
        self._programs.add(program)
        self._highest = max(self._highest, len(self._programs))
        program.open()

    # -- what programs ask ------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Own a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler({"message": "a connection failed", "exception": error})

    def password_of(self, user: User) -> str:
        """His own, or everybody's."""
        return self.plan.password if user.password is None else user.password

    def visit_over(self, program: Visit[Any], *, failed: bool) -> None:
        """A session has ended."""
        self._programs.discard(program)
        now = self.now_ns()
        goodbye_ns = program.goodbye_ns if program.goodbye_ns >= 0 else now
        self.director.over(program.visitor, goodbye_ns, now, failed=failed)


def _wants_tls(plan: MailboxPlan) -> bool:
    return any(service.protection is not Protection.NONE for service in (plan.imap, plan.pop3, plan.delivery))


def _context(plan: MailboxPlan) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the same with every Python: 3.13 and later set it
    if not plan.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _server(plan: MailboxPlan, service: MailboxService, route: Route, context: ssl.SSLContext | None) -> Server:
    return Server(route, service.protection, context, plan.timeout_ns)
