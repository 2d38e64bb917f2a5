"""Say whether the generator, not the server, was the limit.

Takes     each worker's CPU share, loop lag and send lateness; the wanted and the achieved rate; workers that died
Gives     caveats from a closed list, each one sentence with its advice, and whether the generator was the limit
Not here  what to do about it: the run's results carry the caveats, a verdict may refuse to judge them
"""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import sqrt
from types import MappingProxyType
from typing import Final

from mboxgen.counted import number_of
from mboxgen.enums import table_of
from trafficgen.clock import NS_PER_MS, NS_PER_S
from trafficgen.measure.snapshot import Snapshot, WorkerSnapshot
from trafficgen.outcomes import LARGER_THAN_SIZE, Phase
from trafficgen.units import format_duration

MAX_CPU_SHARE: Final = 0.85
"""Above this share of its core a worker queues behind itself: at 0.85 a single server's queue holds 5.7 jobs on
average (M/M/1: ρ/(1 - ρ)), and what it measures is its own waiting line."""

MIN_WALL_NS: Final = 250 * NS_PER_MS
"""A worker that lived for less has done little but begin: a run of one message uses 94 % of a core for 0.3 ms."""

MAX_LOOP_LAG_NS: Final = 10 * NS_PER_MS
"""Loop lag adds itself to every latency; 10 ms is what a mail server's own disk sync takes."""

MAX_LATENESS_NS: Final = 10 * NS_PER_MS
"""Twice what an idle generator promises at 5,000 messages/s (5 ms)."""

MIN_RATE_SHARE: Final = 0.99

MIN_LAG_SAMPLES: Final = 20
"""Loop lag is sampled twenty times a second. Runs below a second are not judged by it."""

MAX_STOLEN_SHARE: Final = 0.05
"""Of all CPU time of the machine. A host takes whole slices of milliseconds: at 5 % one message in twenty may wait for
one, and p95 is the host's. It is also the gate's margin for throughput: up to there, time that was stolen cannot by
itself look like a loss worth failing. Guides for running servers put up with 10 % (webhosting.de, "CPU Steal Time in
Virtual Hosting"), which is a statement about comfort and not about measuring."""

MAX_CEILING_SHARE: Final = 0.8
"""Of the rate that `traffic-gen calibrate` found this machine to be capable of."""


class CaveatKind(Enum):
    """Everything that may have to be said about a run: causes before what follows from them."""

    UNFINISHED = "unfinished"
    ACCOUNT_DIFFERS = "account_differs"
    SHARD_LOST = "shard_lost"
    WORKER_ENDED = "worker_ended"
    WORKER_LOST = "worker_lost"
    CPU_STOLEN = "cpu_stolen"
    WORKER_CPU = "worker_cpu"
    LOOP_LAG = "loop_lag"
    NEAR_CEILING = "near_ceiling"
    PORTS_EXHAUSTED = "ports_exhausted"
    NO_SESSION = "no_session"
    SESSIONS_REFUSED = "sessions_refused"
    LARGER_THAN_SIZE = "larger_than_size"
    ARRIVALS_DROPPED = "arrivals_dropped"
    USERS_WAITED = "users_waited"
    USERS_UNKNOWN = "users_unknown"
    SESSIONS_BUSY = "sessions_busy"
    STARTS_LATE = "starts_late"
    RATE_MISSED = "rate_missed"
    PROOF_MISSING = "proof_missing"
    OUTPUT_FAILED = "output_failed"
    OBSERVER_FAILED = "observer_failed"


ADVICE: Final = table_of(CaveatKind, {
    CaveatKind.UNFINISHED: "messages at work count as not started; run it to its end",
    CaveatKind.ACCOUNT_DIFFERS: "trust no number of this run, and report it: this is a bug in traffic-gen",
    CaveatKind.SHARD_LOST: "what it had to send is in doubt, and is never sent again; run the whole anew",
    CaveatKind.PROOF_MISSING: "hold the sink's ledger against a --manifest with traffic-gen verify, or run it again",
    CaveatKind.WORKER_ENDED: "what it had begun is in doubt; is this machine overloaded, or was the process suspended?",
    CaveatKind.WORKER_LOST: "run it again; look for the worker's own words above, and for the kernel's (out of memory)",
    CaveatKind.WORKER_CPU: "use more workers or machines, or ask for less",
    CaveatKind.LOOP_LAG: "leave the generator a core of its own: another process, or a virtual machine's host, took it",
    CaveatKind.CPU_STOLEN: "use a machine whose cores are its own; a quieter hour may do",
    CaveatKind.NEAR_CEILING: "use more machines, or ask for less; traffic-gen calibrate measures the ceiling anew",
    CaveatKind.PORTS_EXHAUSTED: "send more messages a session, or widen net.ipv4.ip_local_port_range",
    CaveatKind.NO_SESSION: "does the server listen there, and does the network lead to it?",
    CaveatKind.SESSIONS_REFUSED: "the server listens and lets nobody in: are TLS, user and password right? see its log",
    CaveatKind.LARGER_THAN_SIZE: "send smaller ones, or raise the server's limit (Postfix: message_size_limit)",
    CaveatKind.ARRIVALS_DROPPED: "raise the number of sessions, or ask for a rate that this server takes",
    CaveatKind.USERS_WAITED: "raise clients= (--clients): their logins came later than the profile says",
    CaveatKind.USERS_UNKNOWN: "do they exist on the server, with this password? the others had all the load",
    CaveatKind.SESSIONS_BUSY: "raise the number of sessions; response time already counts the wait, service time not",
    CaveatKind.STARTS_LATE: "run it for longer: its beginning then counts for little, and causes are told apart",
    CaveatKind.RATE_MISSED: "raise sessions or workers, or ask for a rate that this server takes",
    CaveatKind.OUTPUT_FAILED: "make room, or name another place, and run it again",
    CaveatKind.OBSERVER_FAILED: "the account is whole without it; please report the line above as a bug",
})  # fmt: skip

_GENERATOR_LIMITS: Final = frozenset(
    {CaveatKind.WORKER_CPU, CaveatKind.LOOP_LAG, CaveatKind.CPU_STOLEN, CaveatKind.PORTS_EXHAUSTED}
)

_HELD_BACK: Final = _GENERATOR_LIMITS | {CaveatKind.SHARD_LOST, CaveatKind.WORKER_LOST, CaveatKind.WORKER_ENDED}
"""What makes the generator send less than it should, or later."""

_LATE: Final = frozenset({CaveatKind.SESSIONS_BUSY, CaveatKind.STARTS_LATE})

_LESS_LOAD: Final = frozenset({CaveatKind.ARRIVALS_DROPPED, CaveatKind.RATE_MISSED})
"""Facts that are said whatever their cause, since a verdict asks for them; what to do about them depends on it."""

_UNREACHED: Final = frozenset({CaveatKind.NO_SESSION, CaveatKind.SESSIONS_REFUSED})

_MEND_THE_CAUSE_FIRST: Final = "mend what is said above first: the generator sent less than it was asked to"
_REACH_IT_FIRST: Final = "mend what is said above first: more sessions would be refused as well"

_INVALIDATES: Final = frozenset(
    {
        CaveatKind.UNFINISHED, CaveatKind.ACCOUNT_DIFFERS, CaveatKind.SHARD_LOST, CaveatKind.WORKER_ENDED,
        CaveatKind.WORKER_LOST,
    }
)  # fmt: skip

UNFULFILLED: Final = frozenset({CaveatKind.PROOF_MISSING, CaveatKind.OUTPUT_FAILED})
"""The numbers are sound, and something else that was asked for is not there."""

_NO_PORT: Final = os.strerror(errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class Caveat:
    """One thing a reader must know before believing the numbers."""

    kind: CaveatKind
    text: str
    advice: str

    @classmethod
    def of(cls, kind: CaveatKind, text: str) -> "Caveat":
        """With the advice that belongs to it."""
        return cls(kind, text, ADVICE[kind])

    @property
    def invalidates(self) -> bool:
        """Whether it means that part of the measurement was lost."""
        return self.kind in _INVALIDATES

    @property
    def limits_generator(self) -> bool:
        """Whether it means that the generator, not the server, was the limit."""
        return self.kind in _GENERATOR_LIMITS


def assess(
    snapshot: Snapshot,
    *,
    wanted_per_s: float | None = None,
    lost_workers: Mapping[int, str] = MappingProxyType({}),
    dropped_arrivals: int = 0,
    stolen_share: float = 0.0,
    ceiling_share: float | None = None,
    sessions: int | None = None,
) -> tuple[Caveat, ...]:
    """What is to be said about the run that `snapshot` closes; nothing when it is sound.

    `lost_workers`: numbers of workers that died, with their last words.
    `wanted_per_s`: the rate the plan asked for over the whole run; None in the closed loop or with stages.
    `dropped_arrivals`: messages that were due and that no session ever turned to. `stolen_share`: of the machine's CPU
    time, what its host took. `ceiling_share`: of the rate this machine was found capable of; None: not calibrated.
    `sessions`: how many could be open at a time; None where some messages had a part of them only, or nobody knows.
    """
    busy, unclear = _late(snapshot, sessions)
    texts = (
        (CaveatKind.WORKER_LOST, _lost(lost_workers)),
        (CaveatKind.WORKER_CPU, _busiest(snapshot.workers)),
        (CaveatKind.LOOP_LAG, _laggard(snapshot.workers)),
        (CaveatKind.CPU_STOLEN, _stolen(stolen_share)),
        (CaveatKind.NEAR_CEILING, _near_ceiling(ceiling_share)),
        (CaveatKind.PORTS_EXHAUSTED, _out_of_ports(snapshot)),
        (CaveatKind.LARGER_THAN_SIZE, _larger_than_size(snapshot)),
        (CaveatKind.ARRIVALS_DROPPED, _dropped(dropped_arrivals)),
        (CaveatKind.SESSIONS_BUSY, busy),
        (CaveatKind.STARTS_LATE, unclear),
        (CaveatKind.RATE_MISSED, _missed(snapshot, wanted_per_s)),
    )
    found = {kind: text for kind, text in texts if text}
    to_explain = CaveatKind.PORTS_EXHAUSTED not in found and found.keys() & (_LATE | _LESS_LOAD)
    if to_explain and (unreached := _unreached(snapshot)):
        found[unreached[0]] = unreached[1]
    return diagnose(found)


def diagnose(found: Mapping[CaveatKind, str]) -> tuple[Caveat, ...]:
    """What was found, as one diagnosis: in order, without what only follows from the rest, each with its advice."""
    kinds = set(found)
    if kinds & {CaveatKind.WORKER_CPU, CaveatKind.CPU_STOLEN}:
        kinds.discard(CaveatKind.LOOP_LAG)  # a loop on a full core lags
    held_back = bool(kinds & _HELD_BACK)
    unreached = bool(kinds & _UNREACHED)
    if held_back or unreached:
        kinds -= _LATE  # what lags starts late, and what has no session waits

    def advice(kind: CaveatKind) -> str:
        if kind not in _LESS_LOAD or not (held_back or unreached):
            return ADVICE[kind]
        return _MEND_THE_CAUSE_FIRST if held_back else _REACH_IT_FIRST

    return tuple(Caveat(kind, found[kind], advice(kind)) for kind in CaveatKind if kind in kinds)


def underfed(caveats: Sequence[Caveat], share_not_started: float) -> bool:
    """Whether the server got less load than was asked for: a rate that was missed, or 1 % of what was due dropped."""
    kinds = {caveat.kind for caveat in caveats}
    dropped = CaveatKind.ARRIVALS_DROPPED in kinds and share_not_started > 1 - MIN_RATE_SHARE
    return dropped or CaveatKind.RATE_MISSED in kinds


def started_per_s(snapshot: Snapshot) -> float:
    """Messages started a second, from the first start to the last; 0 when there were not two."""
    if snapshot.first_start_ns is None or snapshot.last_start_ns is None:
        return 0.0
    span_ns = snapshot.last_start_ns - snapshot.first_start_ns
    return (snapshot.started - 1) * NS_PER_S / span_ns if span_ns > 0 else 0.0


def _lost(workers: Mapping[int, str]) -> str | None:
    if not workers:
        return None
    names = ", ".join(map(str, workers))
    what = f"worker {names} died" if len(workers) == 1 else f"workers {names} died"
    words = "; ".join(dict.fromkeys(filter(None, workers.values())))
    return f"the measurement is not valid: {what} before the end" + (f" ({words})" if words else "")


def _busiest(workers: Sequence[WorkerSnapshot]) -> str | None:
    over = [worker for worker in workers if worker.cpu_share > MAX_CPU_SHARE and worker.wall_ns >= MIN_WALL_NS]
    if not over:
        return None
    worst = max(over, key=lambda worker: worker.cpu_share)
    others = f" ({len(over)} of {len(workers)} workers above {MAX_CPU_SHARE:.0%})" if len(workers) > 1 else ""
    return (
        "the generator, not the server, was the limit: "
        f"worker {worst.worker} used {worst.cpu_share:.0%} of its core{others}"
    )


def _laggard(workers: Sequence[WorkerSnapshot]) -> str | None:
    sampled = [worker for worker in workers if worker.loop_lag.count >= MIN_LAG_SAMPLES]
    lags = [(worker.loop_lag.quantile_ns(_lag_share(worker)) or 0, worker.worker, worker) for worker in sampled]
    worst_ns, number, worst = max(lags, key=lambda lag: lag[:2], default=(0, 0, None))
    if worst is None or worst_ns <= MAX_LOOP_LAG_NS:
        return None
    return (
        f"the generator, not the server, was the limit: worker {number} "
        f"woke up {format_duration(worst_ns)} late at p{100 * _lag_share(worst):.0f}"
    )


def _lag_share(worker: WorkerSnapshot) -> float:
    """p99 of fewer than 100 samples is their maximum, and one hiccup would speak for the whole run."""
    return 0.99 if worker.loop_lag.count >= 100 else 0.9


def _stolen(share: float) -> str | None:
    if share <= MAX_STOLEN_SHARE:
        return None
    return f"the generator, not the server, was the limit: its host took {share:.1%} of this machine's CPU time"


def _near_ceiling(share: float | None) -> str | None:
    if share is None or share <= MAX_CEILING_SHARE:
        return None
    return f"the run used {share:.0%} of the rate that this machine was found capable of"


def _out_of_ports(snapshot: Snapshot) -> str | None:
    count = sum(tally.count for tally in snapshot.failures.values() if _NO_PORT in tally.example)
    if not count:
        return None
    return f"the generator, not the server, was the limit: {number_of(count, 'connection')} found no free local port"


def _unreached(snapshot: Snapshot) -> tuple[CaveatKind, str] | None:
    """Why there was no session at all, and whether a server listens; a sum of results no longer knows."""
    reasons = [(tally.count, reason, tally.example, phase) for (phase, reason), tally in snapshot.failures.items()]
    if not reasons or not snapshot.workers or snapshot.sessions_opened:
        return None
    count, reason, example, phase = max(reasons)
    kind = CaveatKind.NO_SESSION if phase.rpartition("_")[2] == Phase.CONNECT else CaveatKind.SESSIONS_REFUSED
    said = f", for example: {example}" if example else ""
    return kind, f"no session was opened: {reason}, {count:,}×{said}"


def _larger_than_size(snapshot: Snapshot) -> str | None:
    found = [tally for (_phase, reason), tally in snapshot.failures.items() if reason == LARGER_THAN_SIZE]
    if not found:
        return None
    count = sum(tally.count for tally in found)
    were = "was" if count == 1 else "were"
    return f"{number_of(count, 'message')} {were} refused for being larger than the server takes: {found[0].example}"


def _dropped(arrivals: int) -> str | None:
    return (
        f"{arrivals:,} {'message was' if arrivals == 1 else 'messages were'} due and never started"
        if arrivals
        else None
    )


def _late(snapshot: Snapshot, sessions: int | None) -> tuple[str | None, str | None]:
    """That all sessions were busy when messages were due, or what explains it as well: a loop that stood still, or
    that sessions were still being opened: where fewer have been than there could be, never were all of them busy."""
    lateness_ns = snapshot.histograms["lateness"].quantile_ns(0.99) or 0
    if lateness_ns <= MAX_LATENESS_NS:
        return None, None
    late = f"they started {format_duration(lateness_ns)} late at p99"
    longest_ns = max((worker.loop_lag.max_ns or 0 for worker in snapshot.workers), default=0)
    if longest_ns < lateness_ns / 2:  # samples of it are 50 ms apart, so it may have lasted somewhat longer
        opened = snapshot.sessions_opened
        if sessions is not None and snapshot.workers and opened < sessions:
            of = f"{opened:,} of {sessions:,} had been when it ended"
            return None, f"messages waited for sessions that were still being opened ({of}): {late}"
        return f"all sessions were busy when messages were due: {late}", None
    unclear = f"and the generator itself once woke up {format_duration(longest_ns)} late"
    return None, f"messages waited for a session or for the generator itself: {late}, {unclear}"


def _missed(snapshot: Snapshot, wanted_per_s: float | None) -> str | None:
    if wanted_per_s is None or snapshot.started < 2:
        return None
    achieved = started_per_s(snapshot)
    # The count of random arrivals strays by its square root; three of those happen by chance once in 700 runs.
    chance = 3 / sqrt(snapshot.started)
    if achieved >= wanted_per_s * (MIN_RATE_SHARE - chance):
        return None
    return f"the wanted rate was missed: {achieved:,.0f} messages/s started of {wanted_per_s:,.0f} asked for"
