"""What became of every message of a run by the server's own log, and whether that log can be believed.

Takes     the manifest, what `join` found, what `reading` says of the lines; what a sink of ours received, if there
          was one
Gives     each class of messages with its number and its first members; whether the log is whole, and every reason why
          not
Fails     never
Not here  words and tables (report)

First whether the log is whole, then what is missing from it: journald drops lines above 10,000 in 30 s of one service
by default (journald.conf(5), RateLimitBurst), so that "not in the log" is not "lost" before that is known.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from mboxgen.counted import number_of
from mboxgen.enums import table_of
from trafficgen.clock import NS_PER_S
from trafficgen.logs.join import LEFT, SEEN, TAKEN, TO_MAILBOX, ZONED, Join
from trafficgen.logs.reading import LinesRead
from trafficgen.proof.sent import Manifest

EXAMPLES: Final = 20
_QUARTER_NS: Final = 900 * NS_PER_S
_STAMP_NS: Final = NS_PER_S  # what a whole second may hide


class Fate(StrEnum):
    """What became of a message, by the log: the first that fits."""

    NOT_LOGGED = "accepted, not in the log"
    BOUNCED = "accepted, bounced"
    DEFERRED = "accepted, deferred still"
    SENT = "accepted, sent on to all"
    REMOVED = "accepted, left the queue without a delivery"
    WAITING = "accepted, in the queue still"
    DOUBT_TAKEN = "in doubt, taken over"
    DOUBT_NOT_TAKEN = "in doubt, never taken over"
    NOT_ACCEPTED = "not accepted, and yet taken over"


class Contradiction(StrEnum):
    """What does not go together."""

    TWICE = "taken over twice"
    NOT_AT_SINK = "sent by the log, missing at the sink"
    ONLY_AT_SINK = "at the sink, not sent by the log"
    NOT_IN_MAILBOX = "saved by the reply, missing in the mailbox server's log"


class Whole(StrEnum):
    """Is every line there?"""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Group:
    """How many messages, and the numbers of the first."""

    messages: int
    first: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LogAccount:
    """Of one run."""

    run_id: str
    accepted: int
    in_doubt: int
    whole: Whole
    reasons: tuple[str, ...]
    """Why the log is not whole, or why that cannot be known."""
    fates: dict[Fate, Group]
    contradictions: dict[Contradiction, Group]
    fate_of: NDArray[np.int8]
    """By message number: the place of its fate in `Fate`, -1 for a message that there is nothing to say of."""
    zone_ns: int | None
    """What the server's stamps without a zone are ahead of UTC; None where nothing tells."""
    began_ns: int | None
    """When the run began, in ns since 1970; None where the manifest does not say."""
    saved: int
    """Messages that were put into a mailbox."""
    saved_to: int
    discarded: int
    sent_recipients: int
    attempts: int

    @property
    def missing(self) -> int:
        """Messages that were accepted and are nowhere."""
        return self.fates[Fate.NOT_LOGGED].messages + self.contradictions[Contradiction.NOT_AT_SINK].messages


@dataclass(frozen=True, slots=True, eq=False)
class SentSide:
    """A manifest by message number, in a quarter of its memory. `began_ns`: since 1970, 0 where it is not known."""

    run_id: str
    accepted: NDArray[np.bool_]
    in_doubt: NDArray[np.bool_]
    recipients: NDArray[np.uint16]
    began_ns: NDArray[np.int64]

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Arrays of as many elements as messages were planned."""
        planned = manifest.planned
        accepted, in_doubt = np.zeros(planned, bool), np.zeros(planned, bool)
        recipients, began_ns = np.zeros(planned, np.uint16), np.zeros(planned, np.int64)
        for records, mask in ((manifest.accepted, accepted), (manifest.in_doubt, in_doubt)):
            mask[records.numbers] = True
            recipients[records.numbers] = records.recipients
            began_ns[records.numbers] = records.began_ns
        began_ns[began_ns > 0] += manifest.wall_offset_ns
        return cls(manifest.run_id, accepted, in_doubt, recipients, began_ns)


def account_of(
    sent_side: SentSide, join: Join, about: LinesRead, *, zone_ns: int | None, at_sink: NDArray[np.int64] | None
) -> LogAccount:
    """Put both sides together. `zone_ns`: as the user said; `at_sink`: recipients that a sink has, by message
    number."""
    flags = np.frombuffer(join.flags, np.uint8)
    accepted, in_doubt, began = sent_side.accepted, sent_side.in_doubt, sent_side.began_ns
    fate_of = _fates(join, flags, accepted, in_doubt, sent_side.recipients)
    zone = zone_ns if zone_ns is not None else _zone(join, flags, began)
    sent, nobody = _column(join.sent), np.zeros(join.planned, bool)
    saved = _column(join.saved) + _column(join.discarded)
    mailboxes_told = "Saved" in about.kinds
    contradictions = table_of(
        Contradiction,
        {
            Contradiction.TWICE: np.frombuffer(join.copies, np.uint8) > 1,
            Contradiction.NOT_AT_SINK: nobody if at_sink is None else sent > at_sink,
            Contradiction.ONLY_AT_SINK: (
                nobody if at_sink is None else (at_sink > 0) & (sent == 0) & (accepted | in_doubt)
            ),
            Contradiction.NOT_IN_MAILBOX: ((flags & TO_MAILBOX) > 0) & (saved == 0) if mailboxes_told else nobody,
        },
    )
    groups = {what: _group(mask) for what, mask in contradictions.items()}
    last = int(began.max(initial=0))
    run = (int(began.min(initial=last, where=began > 0)), last) if last else None
    whole, reasons = is_whole(about, join.headless, groups[Contradiction.ONLY_AT_SINK].messages, run, zone)
    return LogAccount(
        sent_side.run_id,
        int(accepted.sum()),
        int(in_doubt.sum()),
        whole,
        reasons,
        {fate: _group(fate_of == place) for place, fate in enumerate(Fate)},
        groups,
        fate_of,
        zone,
        run[0] if run else None,
        int(np.count_nonzero(_column(join.saved))),
        int(_column(join.saved).sum(dtype=np.int64)),
        int(np.count_nonzero(_column(join.discarded))),
        int(_column(join.sent).sum(dtype=np.int64)),
        int(_column(join.attempts).sum(dtype=np.int64)),
    )


def is_whole(
    about: LinesRead, headless: int, only_at_sink: int, run: tuple[int, int] | None, zone_ns: int | None
) -> tuple[Whole, tuple[str, ...]]:
    """Whether anything says that lines are missing. `run`: when it began and when its last message did, ns since
    1970."""
    gone = []
    if not about.understood:
        gone.append("no line of a mail server is in it")
    if about.lost:
        words = about.lost_words[0].decode("utf-8", "replace")
        gone.append(f'whoever keeps the log dropped at least {number_of(about.lost, "line")}: "{words}"')
    if headless:
        gone.append(f"no arrival is in it of the messages of {number_of(headless, 'delivery')}")
    if only_at_sink:
        gone.append(f"no line says who sent {number_of(only_at_sink, 'message')} that arrived at the sink")
    if about.cut_off:
        gone.append(f"it is cut off in the middle: {', '.join(about.cut_off)}")
    unknown = []
    if about.first_ns is not None and about.last_ns is not None:
        if run is None:
            unknown.append("the manifest does not say when the run was")
        elif zone_ns is None and about.zoned < about.lines:
            unknown.append("its stamps say no zone, and no message of the run is in it that would tell (--log-zone)")
        else:
            shift = 0 if about.zoned else zone_ns or 0
            if about.first_ns - shift > run[0] + _STAMP_NS:
                gone.append("it begins after the run did")
            if about.last_ns - shift + _STAMP_NS < run[1]:
                gone.append("it ends before the run did")
    if gone:
        return Whole.NO, tuple(gone)
    return (Whole.UNKNOWN, tuple(unknown)) if unknown else (Whole.YES, ())


def _fates(
    join: Join,
    flags: NDArray[np.uint8],
    accepted: NDArray[np.bool_],
    in_doubt: NDArray[np.bool_],
    recipients: NDArray[np.uint16],
) -> NDArray[np.int8]:
    seen, taken, left = ((flags & bit) > 0 for bit in (SEEN, TAKEN, LEFT))
    sent, bounced, deferred = _column(join.sent), _column(join.bounced), _column(join.deferred)
    conditions = table_of(
        Fate,
        {
            Fate.NOT_LOGGED: accepted & ~seen,
            Fate.BOUNCED: accepted & (bounced > 0),
            Fate.DEFERRED: accepted & (deferred > 0),
            Fate.SENT: accepted & (sent > 0) & (left | (sent >= recipients)),
            Fate.REMOVED: accepted & left,
            Fate.WAITING: accepted,
            Fate.DOUBT_TAKEN: in_doubt & taken,
            Fate.DOUBT_NOT_TAKEN: in_doubt,
            Fate.NOT_ACCEPTED: taken,
        },
    )
    return np.select(list(conditions.values()), [np.int8(place) for place in range(len(Fate))], np.int8(-1))


def _zone(join: Join, flags: NDArray[np.uint8], began: NDArray[np.int64]) -> int | None:
    """Zones are whole quarters of an hour: the message that was logged soonest after its start tells which it is."""
    seen = np.frombuffer(join.seen_ns, np.int64)
    told = (began > 0) & ((flags & SEEN) > 0) & ((flags & ZONED) == 0)
    if not told.any():
        return None
    soonest = int((seen - began).min(initial=2**62, where=told))
    return round(soonest / _QUARTER_NS) * _QUARTER_NS


def _column(values: "object") -> NDArray[np.uint16]:
    return np.frombuffer(values, np.uint16)  # type: ignore[call-overload,no-any-return]


def _group(mask: NDArray[np.bool_]) -> Group:
    numbers = np.flatnonzero(mask)
    return Group(int(numbers.size), tuple(numbers[:EXAMPLES].tolist()))
