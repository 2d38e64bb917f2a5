"""Keep one worker's account.

Takes     one row of nine integers a finished message or command, and what sessions met on the way
Gives     a `Snapshot` of everything since the run began; the numbers of accepted and doubtful messages
Costs     nine packed integers a message in the hot path; the rest is done in bulk: 0.2 µs a row when 15,000 have
          gathered, 0.8 µs when only 1,000 (2 cores, Python 3.11, numpy 2.4, 2026-11-22), so `fold` waits for some
Limits    rows wait in memory (72 octets each) until they are folded; all else is bounded whatever a peer sends
Not here  clocks and CPU time, which the engine reads and passes in

A row:  number, code, domain, due_ns, start_ns, ready_ns, sent_ns, end_ns, octets

number      of the message, 0 or more
code        its kind and `Outcome`: the outcome alone for a message sent, so that messages cost nothing more;
            `KIND_STEP` more for the first kind of command in the phase table, twice that for the second …
domain      index of the first recipient's domain
due_ns      intended start; -1 in the closed loop
start_ns    when a session turned to this message
ready_ns    when the 354 came; -1 when it never came, or when the envelope went out together with the message before,
            so that its time cannot be told from that message's
sent_ns     when the last octet was handed to the transport; -1 if never
end_ns      when the outcome was decided
octets      of the message: CRLF line ends, no dot-stuffing; of a command, what it brought

Of a command's row only code, due_ns, start_ns, end_ns and octets are read.
"""

import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mboxgen.columns import once_each
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.number_set import NumberSet
from trafficgen.measure.phases import PhaseTable
from trafficgen.measure.snapshot import (
    FailureKey,
    ReplyKey,
    RetryCounts,
    Snapshot,
    Tally,
    WorkerSnapshot,
    earliest,
    latest,
)
from trafficgen.measure.timeline import Timeline
from trafficgen.outcomes import Outcome

COLUMNS: Final = 9

KIND_STEP: Final = 8
"""What lies between the codes of two kinds of rows: at least the number of outcomes."""

FOLD_FROM: Final = 4_096
"""Rows that are worth a fold. It costs 0.67 µs a row with 500 of them, 0.27 with 2,000, 0.20 with 4,000 and 0.18 with
8,000 (CPU time, the best of 15; 2 cores, Python 3.11, numpy 2.4, 2026-11-22): from here on more at a time would save
next to nothing, and stop all sessions of the worker for longer than 0.8 ms."""

MAX_KINDS: Final = 1_000
"""Different replies, and different failures, told apart: a server that invents codes must not fill our memory."""

MAX_EXAMPLE: Final = 200

MAX_TIMED_DOMAINS: Final = 16
"""Domains whose latencies are kept apart, the first ones of the plan. Each is a histogram in every snapshot."""


class _RunningTally:
    """A tally under way."""

    __slots__ = ("count", "example")

    def __init__(self, example: str) -> None:
        self.count = 0
        self.example = example


class Recorder:
    """What one worker has seen of a run.

    `domains`: how many there are. `started_ns`: the run's start on `trafficgen.clock`, the same for all workers, where
    second 0 of the timeline begins. `worker`: its number, for the report. `phases`: what may be timed, and the kinds
    of commands that rows may have.
    """

    def __init__(
        self,
        domains: int,
        started_ns: int,
        open_loop: bool,
        worker: int = 0,
        *,
        phases: PhaseTable,
        keep_begins: bool = False,
    ) -> None:
        self.rows: array.array[int] = array.array("q")
        """The hot path adds a row a message. It stays the same object: its `frombytes` may be kept."""
        self.accepted = NumberSet()
        """Numbers of accepted messages, up to the last fold."""
        self.in_doubt = NumberSet()
        """Numbers of messages in doubt, up to the last fold."""
        self._begins: list[NDArray[np.int64]] | None = [] if keep_begins else None
        self._started_ns = started_ns
        self._open_loop = open_loop
        self._worker = worker
        self._phases = {phase: array.array("q") for phase in phases.timed}
        self._commands = {name: CommandAccount() for name in phases.commands}
        self._codes = {name: kind * KIND_STEP for kind, name in enumerate(phases.commands, 1)}
        self._lags: array.array[int] = array.array("q")
        self._loop_lag = Histogram()
        self._outcomes = np.zeros(len(Outcome), np.int64)
        self._octets = 0
        self._first_start_ns: int | None = None
        self._last_start_ns: int | None = None
        self._last_end_ns: int | None = None
        self._last_answered_ns: int | None = None
        self._histograms = {name: Histogram() for name in phases.stretches}
        self._replies: dict[ReplyKey, _RunningTally] = {}
        self._failures: dict[FailureKey, _RunningTally] = {}
        self.retries: RetryCounts | None = None
        """Of a client that tries again, as it counts them."""
        self._protected: dict[tuple[str, str], tuple[int, int]] = {}
        self._domains_started = np.zeros(domains, np.int64)
        self._domains_accepted = np.zeros(domains, np.int64)
        self._timeline = Timeline()
        self._domain_latencies: dict[int, Histogram] = {}
        self._untold: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # domains and latencies, not yet counted

    def phase(self, phase: str, elapsed_ns: int) -> None:
        """One step of opening a session took `elapsed_ns`. KeyError when the table does not time this phase."""
        self._phases[phase].append(elapsed_ns)

    def command(
        self, name: str, outcome: Outcome, *, start_ns: int, end_ns: int, octets: int = 0, due_ns: int = -1
    ) -> None:
        """A command of this kind has ended. KeyError when the table has no such kind.

        ACCEPTED: the server carried it out, and its answer brought (or took) `octets`. `due_ns`: the intended start,
        from which its latency then counts.
        """
        self.rows.extend((0, self._codes[name] + outcome, 0, due_ns, start_ns, -1, -1, end_ns, octets))

    def reply(self, phase: str, code: int, enhanced: str, text: str, count: int = 1) -> None:
        """`count` replies of this kind; the first one's text is kept, made printable."""
        seen = self._replies.get((phase, code, enhanced))
        if seen is None:
            key = (phase, code, enhanced if len(self._replies) < MAX_KINDS else "")
            seen = self._replies.setdefault(key, _RunningTally(printable(text)))
        seen.count += count

    def failure(self, phase: str, reason: str, example: str, count: int = 1) -> None:
        """`count` times something other than a reply came: "timed out", "connection refused", "malformed reply"…"""
        seen = self._failures.get((phase, reason))
        if seen is None:
            key = (phase, reason if len(self._failures) < MAX_KINDS else "other")
            seen = self._failures.setdefault(key, _RunningTally(printable(example)))
        seen.count += count

    def protected(self, version: str, cipher: str, *, resumed: bool) -> None:
        """A session is protected by TLS. `version` and `cipher` as OpenSSL names them."""
        kind = (version, cipher) if len(self._protected) < MAX_KINDS else (version, "other")
        sessions, again = self._protected.get(kind, (0, 0))
        self._protected[kind] = (sessions + 1, again + resumed)

    def loop_lag(self, lag_ns: int) -> None:
        """One sample of how late the event loop woke up."""
        self._lags.append(max(lag_ns, 0))

    def fold(self, least: int = FOLD_FROM) -> None:
        """Count the waiting rows and forget them, if they are enough to be worth it. Call it many times a second."""
        if len(self.rows) >= least * COLUMNS:
            self._fold()

    def _fold(self) -> None:
        for phase, elapsed in self._phases.items():
            self._histograms[phase].record_many(_drain(elapsed))
        self._loop_lag.record_many(_drain(self._lags))
        if self.rows:
            self._fold_rows(np.ascontiguousarray(_drain(self.rows).reshape(-1, COLUMNS).T))

    def snapshot(
        self, *, now_ns: int, cpu_ns: int, wall_ns: int, sessions_open: int, sessions_opened: int, in_flight: int
    ) -> Snapshot:
        """Everything since the run began, independent of what is recorded later. Folds first."""
        self._fold()
        self._tell_domains()
        histograms = {name: histogram.copy() for name, histogram in self._histograms.items()}
        worker = WorkerSnapshot(
            worker=self._worker,
            cpu_ns=cpu_ns,
            wall_ns=wall_ns,
            loop_lag=self._loop_lag.copy(),
            lateness=histograms["lateness"],
            sessions_open=sessions_open,
            sessions_opened=sessions_opened,
            in_flight=in_flight,
        )
        return Snapshot(
            taken_ns=now_ns,
            open_loop=self._open_loop,
            outcomes=tuple(self._outcomes.tolist()),
            octets=self._octets,
            first_start_ns=self._first_start_ns,
            last_start_ns=self._last_start_ns,
            last_end_ns=self._last_end_ns,
            last_answered_ns=self._last_answered_ns,
            histograms=histograms,
            replies={key: Tally(seen.count, seen.example) for key, seen in self._replies.items()},
            failures={key: Tally(seen.count, seen.example) for key, seen in self._failures.items()},
            domains_started=self._domains_started.copy(),
            domains_accepted=self._domains_accepted.copy(),
            timeline=self._timeline.copy(),
            workers=(worker,),
            domain_latencies={domain: histogram.copy() for domain, histogram in self._domain_latencies.items()},
            retries=self.retries,
            protected=dict(self._protected),
            commands={name: account.copy() for name, account in self._commands.items()},
        )

    def accepted_numbers(self) -> NDArray[np.int64]:
        """Numbers of all accepted messages, ascending. Folds first."""
        self._fold()
        return self.accepted.to_array()

    def in_doubt_numbers(self) -> NDArray[np.int64]:
        """Numbers of all messages in doubt, ascending. Folds first."""
        self._fold()
        return self.in_doubt.to_array()

    def begins(self) -> NDArray[np.int64]:
        """Two rows: numbers of accepted and doubtful messages, and when each was due (open loop) or began.

        Empty unless it was asked for. Folds first.
        """
        self._fold()
        return np.concatenate([np.zeros((2, 0), np.int64), *(self._begins or [])], axis=1)

    def _fold_rows(self, columns: NDArray[np.int64]) -> None:
        codes = columns[1]
        if int(codes.max()) < KIND_STEP:
            self._fold_messages(columns)
            return
        of_messages = codes < KIND_STEP
        self._fold_commands(columns[:, ~of_messages])
        if of_messages.any():
            self._fold_messages(columns[:, of_messages])

    def _fold_commands(self, columns: NDArray[np.int64]) -> None:
        _, code, _, due, start, _, _, end, octets = columns
        # As with messages, one that began before it was due counts from its real start.
        latency = end - np.where(due < 0, start, np.minimum(due, start))
        for name, kind in self._codes.items():
            these = code // KIND_STEP * KIND_STEP == kind
            if these.any():
                self._commands[name].record(code[these] - kind, latency[these], octets[these])

    def _fold_messages(self, columns: NDArray[np.int64]) -> None:
        number, outcome, domain, due, start, ready, sent, end, octets = columns
        accepted = outcome == Outcome.ACCEPTED
        self._outcomes += np.bincount(outcome, minlength=len(Outcome))
        self._octets += int(octets[accepted].sum())
        self._domains_started += np.bincount(domain, minlength=self._domains_started.size)
        self._domains_accepted += np.bincount(domain[accepted], minlength=self._domains_accepted.size)
        self.accepted.add_many(number[accepted])
        self.in_doubt.add_many(number[outcome == Outcome.IN_DOUBT])
        if self._begins is not None:
            handed = accepted | (outcome == Outcome.IN_DOUBT)
            self._begins.append(np.stack([number[handed], np.where(due < 0, start, due)[handed]]))
        self._first_start_ns = earliest(self._first_start_ns, int(start.min()))
        self._last_start_ns = latest(self._last_start_ns, int(start.max()))
        self._last_end_ns = latest(self._last_end_ns, int(end.max()))
        rejected = (outcome == Outcome.REJECTED_TEMPORARY) | (outcome == Outcome.REJECTED_PERMANENT)
        answered = end[accepted | rejected]
        if answered.size:
            self._last_answered_ns = latest(self._last_answered_ns, int(answered.max()))
        latency = self._fold_latencies(accepted, rejected, due, start, end)
        self._record("envelope", (ready - start)[ready >= 0])
        # A server may answer before the last octet left us: that took it no time at all.
        self._record("end_of_data", np.maximum(end - sent, 0)[(sent >= 0) & (accepted | rejected)])
        self._timeline.record(start - self._started_ns, end - self._started_ns, outcome, octets, latency)
        timed = accepted & (domain < MAX_TIMED_DOMAINS)
        self._untold.append((domain[timed], latency[timed]))

    def _tell_domains(self) -> None:
        """Once a snapshot, not once a fold: what it costs goes by the number of domains, not of messages."""
        if not self._untold:
            return
        domains, latencies = map(np.concatenate, zip(*self._untold, strict=True))
        self._untold.clear()
        for domain in once_each(domains).tolist():
            self._domain_latencies.setdefault(domain, Histogram()).record_many(latencies[domains == domain])

    def _fold_latencies(
        self,
        accepted: NDArray[np.bool_],
        rejected: NDArray[np.bool_],
        due: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """The latency the timeline shows: response time in the open loop, service time in the closed one."""
        service: NDArray[np.int64] = end - start
        self._record("service", service[accepted])
        self._record("service_rejected", service[rejected])
        if not self._open_loop:
            return service
        # A timer may fire up to its granularity early. Such a message counts from its real start, so that response
        # time is never below service time and lateness never below zero.
        lateness = np.maximum(start - due, 0)
        response: NDArray[np.int64] = service + lateness
        self._record("lateness", lateness)
        self._record("response", response[accepted])
        self._record("response_rejected", response[rejected])
        return response

    def _record(self, name: str, values_ns: NDArray[np.int64]) -> None:
        self._histograms[name].record_many(values_ns)


def printable(text: str) -> str:
    """`text` on one line of at most `MAX_EXAMPLE` characters, anything a terminal could act on shown as "?"."""
    masked = "".join(c if c.isprintable() else "?" for c in text[: MAX_EXAMPLE + 1])
    return masked if len(masked) <= MAX_EXAMPLE else masked[: MAX_EXAMPLE - 1] + "…"


def _drain(buffer: "array.array[int]") -> NDArray[np.int64]:
    values = np.frombuffer(buffer.tobytes(), np.int64)
    del buffer[:]
    return values
