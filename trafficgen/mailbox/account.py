"""What becomes of all that the users of one process do: the programs tell it, second by second and in all.

Takes     what programs and deliveries tell: commands, failures, sessions, who is not let in
Gives     `MailboxWorkerAccount`: snapshot, delivered against read; the `Second` at work; a line a kind of failure
Not here  who does what and when (worker), what each message's place in the account is (deliveries)
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from trafficgen.clock import now_ns
from trafficgen.mailbox.deliveries import Deliveries
from trafficgen.mailbox.operations import PHASES, SEEN, Operation, column_of
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.mailbox.population import User
from trafficgen.mailbox.refused import Refusals, RefusedUsers
from trafficgen.mailbox.table import Second
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import Outcome, StoppedBy

_MAX_FAILURES_SAID: Final = 20


class MailboxWorkerAccount(NamedTuple):
    """What a worker has done, or has done so far: then `stopped_by` is UNFINISHED."""

    snapshot: Snapshot
    counts: MailboxCounts
    stopped_by: StoppedBy
    due: int
    """Deliveries whose time came, the dropped ones too."""
    waited: int
    """Users who waited for a connection at one time, at most."""
    never_in: RefusedUsers
    no_recipients: RefusedUsers


class MailboxAccount:
    """`second`: what has happened since the last one was taken. `due`: deliveries whose time came."""

    def __init__(self, plan: MailboxPlan, worker: int, say: Callable[[str], None]) -> None:
        self.deliveries = Deliveries(plan.run_id)
        self.second = Second()
        self.due = 0
        self.logins, self.recipients = Refusals(), Refusals()
        self.had_error = False
        self.recorder: Recorder
        self._worker = worker
        self._say = say
        self._said: set[str] = set()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._opened = 0
        self._started_ns = self._cpu_ns = 0

    def begin(self, started_ns: int) -> None:
        """The run begins, or will at this time."""
        self._started_ns, self._cpu_ns = started_ns, time.process_time_ns()
        self.recorder = Recorder(1, started_ns, True, self._worker, phases=PHASES)

    def take_second(self) -> Second:
        """What has happened since this was called last."""
        second, self.second = self.second, Second()
        return second

    def so_far(self, stopped_by: StoppedBy, *, visits: int, in_flight: int, waited: int) -> MailboxWorkerAccount:
        """The account, with so many sessions open and deliveries at work."""
        times = self.deliveries.times_to_see
        for elapsed_ns in times:
            self.recorder.phase(SEEN, elapsed_ns)
        del times[:]
        now = now_ns()
        snapshot = self.recorder.snapshot(
            now_ns=now,
            cpu_ns=time.process_time_ns() - self._cpu_ns,
            wall_ns=now - self._started_ns,
            sessions_open=visits,
            sessions_opened=self._opened,
            in_flight=in_flight,
        )
        return MailboxWorkerAccount(
            snapshot, self.deliveries.count(), stopped_by, self.due, waited, self.logins.users, self.recipients.users
        )

    # -- what is told -----------------------------------------------------------------------------------

    def command(self, operation: Operation, outcome: Outcome, start_ns: int, now_ns: int, octets: int = 0) -> None:
        """A command has ended."""
        self.recorder.command(operation.value, outcome, start_ns=start_ns, end_ns=now_ns, octets=octets)
        if outcome is Outcome.ACCEPTED:
            if (column := column_of(operation)) is not None:
                self.second.count(column, now_ns - start_ns)
        else:
            self.error()

    def failure(self, phase: str, reason: str, example: str) -> None:
        """Something other than an answer came, or an answer that is a refusal."""
        self.recorder.failure(phase, reason, example)
        self._failures[phase, reason] += 1
        if self._failures[phase, reason] == 1 and len(self._failures) <= _MAX_FAILURES_SAID:
            self._say(f"Error: {PHASES.phases[phase]}: {reason}" + (f": {example}" if example else ""))

    def say_once(self, text: str) -> None:
        """A line that is worth saying one time."""
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def logged_in(self, user: User) -> None:
        """A session has opened."""
        self._opened += 1
        self.logins.accepted(user.mailbox)

    def refused_login(self, user: User, words: str) -> None:
        """The server does not let him in."""
        self.logins.refused(user.mailbox, user.name, words)

    def error(self) -> None:
        """A command or a delivery was not carried out."""
        self.second.errors += 1
        self.had_error = True
