"""How long mail has waited, by the domain that it is for: the table of Postfix's qshape(1).

Takes     the messages that wait: when each came, and the domains of its recipients
Gives     `ShapeRecord`: recipients by domain and age, the fullest domains first; as a sampler, for a spool
Limits    `MAX_DOMAINS` by name, the rest together; `MAX_READ` files are opened a look, the rest at the next ones;
          recipients in the first `HEAD_OCTETS` of a queue file
Cost      13 µs of CPU for each message that was not there at the look before, 1 µs for one that was (Postfix 3.7);
          nothing while there is no more to say than before (`due`)
Not here  looking at the spool (spool), at `postqueue -j` (postqueue)
Sources   qshape(1); Postfix's src/global/record.h and rec_type.h for queue files
"""

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypedDict

from trafficgen.measure.observed import SHAPE_LIMITS_S as LIMITS_S
from trafficgen.server.spool import PostfixSpool

MAX_DOMAINS: Final = 20
MAX_READ: Final = 5_000
HEAD_OCTETS: Final = 8192
OTHERS: Final = "(others)"

_AGAIN_S: Final = 10.0
_GROWN: Final = 1.1
_WRITTEN_S: Final = 10.0
"""By then a queue file has its recipients, or will never have any."""
_RECIPIENT: Final = ord("R")
_END_OF_ENVELOPE: Final = ord("M")


class ShapeRecord(TypedDict):
    """As it stands in the observer's lines. `looked`: messages whose recipients are known, of `waiting`."""

    looked: int
    waiting: int
    domains: dict[str, list[int]]


def shape_of(messages: Iterable[tuple[float, Iterable[str]]], waiting: int, now_s: float) -> ShapeRecord:
    """Of messages with their ages' begin (seconds since 1970) and a domain for each recipient."""
    counts: dict[str, list[int]] = {}
    looked = 0
    for arrived_s, domains in messages:
        looked += 1
        age_s = now_s - arrived_s
        place = next((place for place, limit in enumerate(LIMITS_S) if age_s < limit), len(LIMITS_S))
        for domain in domains:
            row = counts.get(domain)
            if row is None:
                row = counts[domain] = [0] * (len(LIMITS_S) + 1)
            row[place] += 1
    ranked = sorted(counts, key=lambda domain: (-sum(counts[domain]), domain))
    table = {domain: counts[domain] for domain in ranked[:MAX_DOMAINS]}
    if rest := ranked[MAX_DOMAINS:]:
        table[OTHERS] = [sum(column) for column in zip(*(counts[domain] for domain in rest), strict=True)]
    return {"looked": looked, "waiting": waiting, "domains": table}


def domain_of(address: str) -> str:
    """What is behind the last @, in small letters; all of it where there is none."""
    return address.rpartition("@")[2].lower()


def recipients_in(head: bytes) -> Iterator[str]:
    """The recipients still to be served in the first records of a queue file; it may be cut off anywhere.

    A record is its type, the length of what it holds in sevens of bits, the lowest first, and what it holds. A
    recipient that was served has another type (D).
    """
    at = 0
    while at < len(head):
        kind, length, shift = head[at], 0, 0
        at += 1
        while True:
            if at >= len(head):
                return
            octet = head[at]
            length |= (octet & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not octet & 0x80:
                break
        if kind == _END_OF_ENVELOPE or at + length > len(head):
            return
        if kind == _RECIPIENT:
            yield head[at : at + length].decode("utf-8", "replace")
        at += length


class PostfixShape:
    """The shape of a spool that others look at: it opens what they found, each file once."""

    def __init__(self, spool: PostfixSpool) -> None:
        self._spool = spool
        self._domains: dict[str, tuple[str, ...]] = {}
        """By queue id."""
        self._pending: ShapeRecord | None = None
        self._said = News()
        self.missing: set[str] = set()

    def due(self, now_s: float) -> bool:
        """Whether a look could say more than the last one did."""
        waiting = self._spool.depth()
        return waiting > 0 and self._said.wanted(now_s, waiting)

    def sample(self, now_s: float) -> dict[str, float]:
        """No series: see `shape`."""
        before, known, to_read = self._domains, {}, MAX_READ
        waiting, messages, time_s = 0, [], time.time()
        for path, name, arrived_s in self._spool.waiting():
            waiting += 1
            domains = before.get(name)
            if domains is None and to_read:
                to_read -= 1
                domains = _domains_in(f"{path}/{name}")
            if domains or (domains is not None and time_s - arrived_s > _WRITTEN_S):
                known[name] = domains
            if domains and arrived_s:
                messages.append((arrived_s, domains))
        self._domains = known
        self._pending = self._said.new(now_s, messages, waiting)
        return {}

    def shape(self) -> ShapeRecord | None:
        """What the last look found; None where it says no more than the one before."""
        return self._pending


class News:
    """Which shapes are worth a line: one each 10 s, and before that where a tenth more is in it."""

    def __init__(self) -> None:
        self._at_s = float("-inf")
        self._looked = 0

    def wanted(self, now_s: float, looked: int) -> bool:
        """Whether a shape of so many messages would be worth a line."""
        return now_s >= self._at_s + _AGAIN_S or looked >= self._looked * _GROWN

    def new(self, now_s: float, messages: list[tuple[float, tuple[str, ...]]], waiting: int) -> ShapeRecord | None:
        """The shape of these at the present time of day, or None."""
        if not messages or not self.wanted(now_s, len(messages)):
            return None
        self._at_s, self._looked = now_s, len(messages)
        return shape_of(messages, waiting, time.time())


def _domains_in(path: str) -> tuple[str, ...] | None:
    """None when the file has just left; none when there is no recipient in its first octets."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (thousands of them)
            head = file.read(HEAD_OCTETS)
    except OSError:
        return None
    return tuple(map(domain_of, recipients_in(head)))
