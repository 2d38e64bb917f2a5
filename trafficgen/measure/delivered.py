"""What came out behind the server, held against what was sent: in results of runs that can look there.

Gives     frozen pieces of results; docs/reference/results.md says each key's meaning and unit
Not here  how it is compared (proof), what the server answered (counts)
"""

from dataclasses import astuple, dataclass, fields

from trafficgen.measure.codec import Amount, Count, Nanoseconds, Seconds
from trafficgen.measure.counts import Latency


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """What the sink has, held against what was accepted.

    `expected` accepted messages; `received` of them are in the sink; `missing` are not; `duplicated` came more than
    once; `corrupted` came with a body whose checksum is wrong; `mended` as well, but a server may end their header
    early, since a line of it is no field. `explained` came more than once, as an earlier try was in doubt.
    """

    expected: Count
    received: Count
    missing: Count
    duplicated: Count
    corrupted: Count
    mended: Count = 0
    explained: Count = 0

    @property
    def clean(self) -> bool:
        """Whether every message is there once and whole."""
        return not (self.missing or self.duplicated or self.corrupted)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How mail came out at the other end of the server it was handed to.

    `drained_ns`: from the last message sent to the last one delivered, 0 when that was before. `in_time`: all
    came before the wait was over. `explained` messages came more than once because a reply was lost; `unexpected` ones
    though nobody took them over. `latency_ns`: from the (intended) start to the arrival; None when the sink's clock is
    not ours. `undelivered`: each `every_s` since the run began, how many of the messages that the server accepted had
    been begun and had not arrived: its queue, whatever the server; empty when the sink's clock is not ours.
    """

    drained_ns: Nanoseconds
    inject_per_s: Amount
    delivered_per_s: Amount
    in_time: bool
    explained: Count
    unexpected: Count
    latency_ns: Latency | None
    every_s: Seconds = 1.0
    undelivered: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class MailboxCounts:
    """Mail that was delivered to users, held against what they read.

    `delivered` = `read` + `spam` + `not_yet_due` + `missing`: `read` to its end; `spam` delivered to a folder that
    nobody reads; `not_yet_due` for its reader has not come to it; `missing` though its reader was shown all there is.
    `seen`: shown to its reader. `doubled` is in the inbox more than once, `damaged` has a body whose checksum is wrong,
    `misplaced` was found in somebody else's mailbox. `in_doubt`: the server did not answer its delivery; `dropped`:
    not delivered, as there were as many deliveries at work as there may be. `foreign` mail has no mark of ours,
    `earlier` one of another run. `deleted` and `moved` by us, of any run.
    """

    delivered: Count
    in_doubt: Count
    dropped: Count
    seen: Count
    read: Count
    spam: Count
    not_yet_due: Count
    missing: Count
    doubled: Count
    damaged: Count
    misplaced: Count
    foreign: Count
    earlier: Count
    deleted: Count
    moved: Count

    @classmethod
    def none(cls) -> "MailboxCounts":
        """Of a run that has not begun."""
        return cls(*(0 for _ in fields(cls)))

    @property
    def clean(self) -> bool:
        """Whether nothing is missing, doubled, damaged or in the wrong place."""
        return not (self.missing or self.doubled or self.damaged or self.misplaced)

    @property
    def adds_up(self) -> bool:
        """Whether each delivered message is in one place of the account."""
        return self.delivered == self.read + self.spam + self.not_yet_due + self.missing

    def __add__(self, other: "MailboxCounts") -> "MailboxCounts":
        return MailboxCounts(*(mine + yours for mine, yours in zip(astuple(self), astuple(other), strict=True)))
