"""Who writes to whom.

Takes     the plan's domains, users, recipients per message and senders; a grid block and a span of it
Gives     MAIL, RCPT and DATA lines ready for the wire, and the same addresses for the To header
Refuses   more recipients per message than there are addresses
Not here  the header block (headers), the shares themselves (shares)

A message's recipients are drawn independently of each other; one that it already has moves on to the next user.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from trafficgen.errors import PlanError
from trafficgen.plan import Plan
from trafficgen.workload import people, shares
from trafficgen.workload.columns import Layout, Table, decimal
from trafficgen.workload.grid import GRID, Span

LOCAL_PART: Final = b"user-"


class Sender(NamedTuple):
    """One of the plan's senders; all ASCII, the domain with its suffix."""

    name: str
    address: str
    domain: str


class Addressed(NamedTuple):
    """A span of messages, by column. `picks` and `texts` are what `columns.Layout` takes."""

    domains: NDArray[np.int64]
    recipients: NDArray[np.int64]
    envelopes: list[bytes]
    picks: dict[str, NDArray[np.int64]]
    texts: dict[str, list[bytes]]


class _Drawn(NamedTuple):
    """A grid block. Recipients after the first are in `more_…`, those of message i from `more_from[i]` on."""

    domains: NDArray[np.int64]
    users: NDArray[np.int64]
    recipients: NDArray[np.int64]
    senders: NDArray[np.int64]
    more_from: NDArray[np.int64]
    more_domains: NDArray[np.int64]
    more_users: NDArray[np.int64]


class Envelopes:
    """The envelopes of a run."""

    def __init__(self, plan: Plan) -> None:
        workload = plan.workload
        self._seed, self._users = plan.seed, workload.users
        self.domains = shares.domain_names(workload)
        self.shares = shares.domain_shares(workload)
        self._domain_thresholds = shares.thresholds(self.shares)
        self._user_thresholds = shares.user_thresholds(workload.users)
        self._counts = np.array([count for count, _ in workload.recipients_per_message], dtype=np.int64)
        self._count_thresholds = streams.cumulative([weight for _, weight in workload.recipients_per_message])
        self._check_enough_addresses()
        self._width = max(6, len(str(workload.users.count - 1)))
        self._on_wire = tuple(workload.with_suffix(name) for name in self.domains)
        self._at = [b"@" + name.encode("ascii") for name in self._on_wire]
        self.senders = self._make_senders(workload.senders)
        self._layout = self._envelope_layout()
        self._drawn = lru_cache(maxsize=2)(self._draw)

    @property
    def to_pieces(self) -> list[str | bytes | Table]:
        """The layout of `To: …`, without its line end."""
        return [b"To: <" + LOCAL_PART, "to", Table("last_domain", self._at), b">"]

    def domain_of(self, grid: int) -> NDArray[np.int64]:
        """Index of the first recipient's domain, for every message of a grid block."""
        return streams.choose(streams.raw(self._seed, "workload/domain", grid, GRID), self._domain_thresholds)

    def recipients_of(self, grid: int) -> NDArray[np.int64]:
        """How many recipients, for every message of a grid block."""
        if len(self._counts) == 1:
            return np.full(GRID, self._counts[0])
        drawn = streams.choose(streams.raw(self._seed, "workload/recipients", grid, GRID), self._count_thresholds)
        return self._counts[drawn]

    def address(self, span: Span) -> Addressed:
        """Envelopes of a span, and the columns that headers need."""
        drawn, part = self._drawn(span.grid), span.part
        first = decimal(drawn.users[part], self._width)
        if self._users.tagged:
            first = [user + b"+" + number for user, number in zip(first, span.digits, strict=True)]
        rcpt = to = first
        last_domain = drawn.domains[part]
        if int(drawn.recipients[part].max()) > 1:
            rcpt, to, last_domain = self._several(drawn, span, first)
        picks = {"sender": drawn.senders[part], "last_domain": last_domain}
        texts = {"rcpt": rcpt, "to": to}
        envelopes = self._layout.rows({name: column.tolist() for name, column in picks.items()}, texts)
        return Addressed(drawn.domains[part], drawn.recipients[part], envelopes, picks, texts)

    def _envelope_layout(self) -> Layout:
        senders = [f"MAIL FROM:<{sender.address}>\r\nRCPT TO:<".encode("ascii") for sender in self.senders]
        return Layout((Table("sender", senders), LOCAL_PART, "rcpt", Table("last_domain", self._at), b">\r\nDATA\r\n"))

    def _make_senders(self, count: int) -> tuple[Sender, ...]:
        raw = streams.raw(self._seed, "workload/sender-domain", 0, count)
        domains = streams.choose(raw, self._domain_thresholds).tolist()
        names = people.names(self._seed)
        return tuple(self._make_sender(number, names, self._on_wire[d]) for number, d in enumerate(domains))

    @staticmethod
    def _make_sender(number: int, names: tuple[tuple[str, str], ...], domain: str) -> Sender:
        """People and their companies' robots in turn; the number keeps addresses apart."""
        first, last = names[number % len(names)]
        if number % 2:
            return Sender(f"{last} News", f"noreply-{number}@{domain}", domain)
        return Sender(f"{first} {last}", f"{first}.{last}.{number}@{domain}".lower(), domain)

    def _draw(self, grid: int) -> _Drawn:
        recipients = self.recipients_of(grid)
        more_from = np.concatenate(([0], np.cumsum(recipients - 1)))
        more = int(more_from[-1])
        senders = streams.below(streams.raw(self._seed, "workload/sender", grid, GRID), len(self.senders))
        return _Drawn(
            domains=self.domain_of(grid),
            users=self._users_of(streams.raw(self._seed, "workload/user", grid, GRID)),
            recipients=recipients,
            senders=senders,
            more_from=more_from,
            more_domains=streams.choose(
                streams.raw(self._seed, "workload/more-domains", grid, more), self._domain_thresholds
            ),
            more_users=self._users_of(streams.raw(self._seed, "workload/more-users", grid, more)),
        )

    def _users_of(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        if self._user_thresholds is None:
            return streams.below(raw, self._users.count)
        return streams.choose(raw, self._user_thresholds)

    def _several(
        self, drawn: _Drawn, span: Span, first: list[bytes]
    ) -> tuple[list[bytes], list[bytes], NDArray[np.int64]]:
        """Columns of all that stands between the first `user-` and the last domain, for RCPT lines and for To."""
        rcpt, to, last_domain = first.copy(), first.copy(), drawn.domains[span.part].copy()
        for place in np.flatnonzero(drawn.recipients[span.part] > 1).tolist():
            pairs = self._distinct(drawn, span.low + place)
            users = [
                first[place],
                *(self._another(user, rank, span.digits[place]) for rank, (_, user) in enumerate(pairs[1:], 1)),
            ]
            ends = [self._at[domain] + b">" for domain, _ in pairs[:-1]]
            rcpt[place] = _joined(users, ends, b"\r\nRCPT TO:<" + LOCAL_PART)
            to[place] = _joined(users, ends, b",\r\n <" + LOCAL_PART)
            last_domain[place] = pairs[-1][0]
        return rcpt, to, last_domain

    def _another(self, user: int, rank: int, number: bytes) -> bytes:
        """A recipient after the first, without `user-` and domain."""
        digits = b"%0*d" % (self._width, user)
        return b"%b+%b.%d" % (digits, number, rank) if self._users.tagged else digits

    def _distinct(self, drawn: _Drawn, place: int) -> list[tuple[int, int]]:
        """(domain, user) of every recipient of one message; one that is there already moves on to the next user."""
        span = slice(int(drawn.more_from[place]), int(drawn.more_from[place + 1]))
        pairs = [(int(drawn.domains[place]), int(drawn.users[place]))]
        more = list(zip(drawn.more_domains[span].tolist(), drawn.more_users[span].tolist(), strict=True))
        if self._users.tagged:
            return pairs + more
        seen = set(pairs)
        for domain, user in more:
            while (domain, user) in seen:
                user += 1
                if user == self._users.count:
                    domain, user = (domain + 1) % len(self.domains), 0
            seen.add((domain, user))
            pairs.append((domain, user))
        return pairs

    def _check_enough_addresses(self) -> None:
        most, addresses = int(self._counts.max()), len(self.domains) * self._users.count
        if most > addresses and not self._users.tagged:
            text = f"expected at most {addresses} recipients a message, as there are no more addresses, got {most}"
            raise PlanError(text, field="recipients_per_message", flag="--recipients")


def _joined(users: list[bytes], ends: list[bytes], between: bytes) -> bytes:
    pieces = [user + end + between for user, end in zip(users, ends, strict=False)]
    return b"".join([*pieces, users[-1]])
