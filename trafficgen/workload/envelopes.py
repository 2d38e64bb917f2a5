"""Who writes to whom.

Takes     the plan's addresses (address_book), recipients per message and senders; a grid block
Gives     envelopes as the protocol's layout has them, and the same addresses for the To header
Refuses   more recipients per message than there are addresses
Not here  the header block (headers), the shares themselves (shares)

A message's recipients are drawn independently of each other; one that it already has moves on to the next user.
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from mboxgen.columns import once_each
from mboxgen.counted import number_of
from trafficgen.errors import PlanError
from trafficgen.plan import Plan, WeightedAddress
from trafficgen.plan.international import a_label
from trafficgen.workload import people, shares
from trafficgen.workload.address_book import Drawn, address_book, user_columns, uses_smtputf8, with_tags
from trafficgen.workload.columns import Columns, ColumnTable, Layout, Piece, Rows, strings
from trafficgen.workload.grid import GRID, NUMBER, digits
from trafficgen.workload.mail_layout import MailLayout


class Sender(NamedTuple):
    """One of the plan's senders; all ASCII, but for addresses whose local part is not. The domain has its suffix."""

    name: str
    address: str
    domain: str


class Addressed(NamedTuple):
    """Whom a grid block's messages go to, by column."""

    domains: NDArray[np.int64]
    recipients: NDArray[np.int64]
    columns: Columns
    """For layouts with `to_pieces`: picks sender and last_domain, digits number and user. Where messages may have
    several recipients, texts rcpt and to: what stands between the first `user-` and the last domain."""
    users: NDArray[np.int64]
    """The first recipient's number among its domain's users; where recipients were given, its place in their list."""
    envelopes: Rows
    """MAIL and RCPT lines; DATA behind them where the layout has it."""
    international: NDArray[np.bool_] | None
    """Which of them need SMTPUTF8; None if none may."""


class _DrawnRecipients(NamedTuple):
    """What is drawn for a grid block: first recipients, and further ones where a message may have several."""

    domains: NDArray[np.int64]
    recipients: NDArray[np.int64]
    users: NDArray[np.int64]
    more: "_More | None"
    international: NDArray[np.bool_] | None
    senders: NDArray[np.int64]


class _More(NamedTuple):
    """Recipients after the first, of a whole grid block: those of message i lie between begins[i] and begins[i + 1]."""

    owners: NDArray[np.int64]
    begins: NDArray[np.int64]
    domains: NDArray[np.int64]
    users: NDArray[np.int64]


class Envelopes:
    """The envelopes of a run."""

    def __init__(self, plan: Plan, layout: MailLayout) -> None:
        workload = plan.workload
        self._seed, self._book = plan.seed, address_book(plan)
        self.domains, self.shares = self._book.domains, self._book.shares
        self._counts = np.array([count for count, _ in workload.recipients_per_message], dtype=np.int64)
        self._count_thresholds = streams.cumulative([weight for _, weight in workload.recipients_per_message])
        self._check_enough_addresses()
        self.several = max(count for count, _ in workload.recipients_per_message) > 1
        self._at = [b"@" + name.encode("ascii") for name in self._book.on_wire]
        self._international = uses_smtputf8(workload)
        if self._international:  # those of messages with SMTPUTF8 are behind the others
            self._at += [b"@" + name.encode() for name in self._book.international]
        self._share = workload.international
        given = workload.from_addresses
        self.senders = tuple(map(_given_sender, given)) if given else self._make_senders(workload.senders)
        self._sender_thresholds = shares.thresholds(np.array([one.weight for one in given])) if given else None
        self._senders_beyond = np.array([not sender.address.isascii() for sender in self.senders])
        self._wire = layout
        self._layout = self._envelope_layout()
        self.addressed = lru_cache(maxsize=2)(self._address)
        # Who counts recipients asks for messages that have ended, some of them long after they were built.
        self._drawn = lru_cache(maxsize=64)(self._draw)

    @property
    def to_pieces(self) -> list[Piece]:
        """The layout of `To: …`, without its line end."""
        return [b"To: <", *self._address_pieces("to"), b">"]

    def domain_of(self, grid: int) -> NDArray[np.int64]:
        """Index of the first recipient's domain, for every message of a grid block."""
        return self._book.domain_of(grid, GRID)

    def recipients_of(self, grid: int) -> NDArray[np.int64]:
        """How many recipients, for every message of a grid block."""
        if len(self._counts) == 1:
            return np.full(GRID, self._counts[0])
        drawn = streams.choose(streams.raw(self._seed, "workload/recipients", grid, GRID), self._count_thresholds)
        return self._counts[drawn]

    def _envelope_layout(self) -> Layout:
        wire = self._wire
        senders = [wire.sender + sender.address.encode() for sender in self.senders]
        pieces: list[Piece] = [ColumnTable("sender", senders), wire.after_sender]
        if wire.numbered:
            pieces += [wire.numbered, NUMBER]
        if self._international:
            pieces.append(ColumnTable("international", [b"", wire.international]))
        return Layout((*pieces, wire.first_recipient, *self._address_pieces("rcpt"), wire.end_of_addresses))

    def _address_pieces(self, ready: str) -> list[Piece]:
        """The only address, or the first one to the last one, of which the column `ready` has most."""
        user: list[Piece] = [ready] if self.several else self._book.pieces()
        return [self._local_part(), *user, ColumnTable("last_domain", self._at)]

    def _local_part(self) -> Piece:
        """What the first address begins with; where several are one text, and international, it is in that."""
        if not self._share:
            return self._book.local_part
        return b"" if self.several else ColumnTable("local_part", self._local_parts)

    @property
    def _local_parts(self) -> list[bytes]:
        return [*people.INTERNATIONAL, self._book.local_part]

    def _make_senders(self, count: int) -> tuple[Sender, ...]:
        raw = streams.raw(self._seed, "workload/sender-domain", 0, count)
        domains = streams.choose(raw, shares.thresholds(self.shares)).tolist()
        names = people.names(self._seed)
        return tuple(self._make_sender(number, names, self._book.on_wire[d]) for number, d in enumerate(domains))

    @staticmethod
    def _make_sender(number: int, names: tuple[tuple[str, str], ...], domain: str) -> Sender:
        """People and their companies' robots in turn; the number keeps addresses apart."""
        first, last = names[number % len(names)]
        if number % 2:
            return Sender(f"{last} News", f"noreply-{number}@{domain}", domain)
        return Sender(f"{first} {last}", f"{first}.{last}.{number}@{domain}".lower(), domain)

    def recipient_domains(self, grid: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of all recipients' domains, message after message, and where each message's begin; then the end."""
        drawn = self._drawn(grid)
        begins = np.concatenate(([0], np.cumsum(drawn.recipients)))
        if drawn.more is None:
            return drawn.domains, begins
        domains = np.empty(begins[-1], np.int64)
        further = np.ones(domains.size, np.bool_)
        further[begins[:-1]] = False
        domains[begins[:-1]], domains[further] = drawn.domains, drawn.more.domains
        return domains, begins

    def _draw(self, grid: int) -> _DrawnRecipients:
        recipients = self.recipients_of(grid)
        domains, users = self._book.draw(("workload/domain", "workload/user"), grid, GRID)
        more = self._draw_more(grid, domains, users, recipients) if self.several else None
        raw = streams.raw(self._seed, "workload/sender", grid, GRID)
        if self._sender_thresholds is None:
            senders = streams.below(raw, len(self.senders))
        else:
            senders = streams.choose(raw, self._sender_thresholds)
        international = self._draw_international(grid, Drawn(domains, users), more, senders)
        return _DrawnRecipients(domains, recipients, users, more, international, senders)

    def _draw_international(
        self, grid: int, first: Drawn, more: "_More | None", senders: NDArray[np.int64]
    ) -> NDArray[np.bool_] | None:
        """Which messages are drawn to be, or have an address that is."""
        if not self._international:
            return None
        thresholds = streams.cumulative([self._share, 1.0 - self._share])
        drawn = streams.choose(streams.raw(self._seed, "workload/international", grid, GRID), thresholds) == 0
        found: NDArray[np.bool_] = drawn | self._book.beyond(first) | self._senders_beyond[senders]
        if more is not None:
            found[more.owners[self._book.beyond(Drawn(more.domains, more.users))]] = True
        return found

    def _address(self, grid: int) -> Addressed:
        drawn = self._drawn(grid)
        columns = self._columns(grid, drawn, {"rcpt": self._wire.recipient, "to": b">,\r\n <"})
        rows = self._layout.rows(columns)
        return Addressed(drawn.domains, drawn.recipients, columns, drawn.users, rows, drawn.international)

    def _columns(self, grid: int, drawn: _DrawnRecipients, between: Mapping[str, bytes]) -> Columns:
        """For layouts with addresses; `between`: texts, and what stands between two addresses of them."""
        last_domain, users, international = drawn.domains, drawn.users, drawn.international
        texts: dict[str, list[bytes]] = {}
        if drawn.more is not None:
            texts, last_domain = self._join(drawn.more, drawn, grid, between)
        picks = {"sender": drawn.senders, "last_domain": last_domain}
        if international is not None:
            picks["international"] = international.astype(np.int64)
            picks["last_domain"] = last_domain + international * len(self.domains)
            picks["local_part"] = self._picked_local_parts(users, international)
        return user_columns(self._book, users, picks, digits(grid))._replace(texts=texts)

    @staticmethod
    def _picked_local_parts(users: NDArray[np.int64], international: NDArray[np.bool_]) -> NDArray[np.int64]:
        """By place in `_local_parts`: a user's international name is always the same one."""
        return np.where(international, users % len(people.INTERNATIONAL), len(people.INTERNATIONAL))

    def addresses(self, grid: int) -> list[list[bytes]]:
        """The recipients of every message of a grid block."""
        columns = self._columns(grid, self._drawn(grid), {"lines": b"\n"})
        rows = Layout(self._address_pieces("lines")).rows(columns)
        return [row.split(b"\n") for row in rows.part(slice(None))]

    def _draw_more(
        self, grid: int, domains: NDArray[np.int64], users: NDArray[np.int64], recipients: NDArray[np.int64]
    ) -> _More:
        begins = np.concatenate(([0], np.cumsum(recipients - 1)))
        count = int(begins[-1])
        drawn = self._book.draw(("workload/more-domains", "workload/more-users"), grid, count)
        more = _More(np.repeat(np.arange(GRID), recipients - 1), begins, *drawn)
        if not self._book.tagged:
            self._make_distinct(more, domains, users)
        return more

    def _make_distinct(self, more: _More, domains: NDArray[np.int64], users: NDArray[np.int64]) -> None:
        """A recipient that its message already has moves on to the next user, or to the next domain after the last."""
        owners = np.concatenate((np.arange(GRID), more.owners))
        all_of_them = Drawn(np.concatenate((domains, more.domains)), np.concatenate((users, more.users)))
        addresses = self._book.number(all_of_them)
        order = np.lexsort((addresses, owners))
        same = (np.diff(addresses[order]) == 0) & (np.diff(owners[order]) == 0)
        for owner in once_each(owners[order][1:][same]).tolist():
            seen = {int(addresses[owner])}
            for place in range(int(more.begins[owner]), int(more.begins[owner + 1])):
                address = int(addresses[GRID + place])
                while address in seen:
                    address = (address + 1) % self._book.size
                seen.add(address)
                more.domains[place], more.users[place] = self._book.at(address)

    def _join(
        self,
        more: _More,
        drawn: _DrawnRecipients,
        grid: int,
        between: Mapping[str, bytes],
    ) -> tuple[dict[str, list[bytes]], NDArray[np.int64]]:
        """A column for each of `between`, what stands between two addresses; and last_domain.

        Of messages with any number of recipients.
        """
        numbers: list[bytes] = strings(digits(grid)).tolist()
        domains, international = drawn.domains, drawn.international
        first, others = self._book.texts(drawn.users), self._book.texts(more.users)
        owners = more.owners.tolist()
        ranks = (np.arange(len(owners)) - more.begins[more.owners]).tolist()
        if self._book.tagged:
            tags = [b"%b.%d" % (numbers[owner], rank) for owner, rank in zip(owners, ranks, strict=True)]
            first, others = with_tags(first, numbers), with_tags(others, tags)
        # The domain before each further recipient: the first one's, or that of the one before.
        starts = np.array(ranks, dtype=np.int64) == 0
        places = np.where(starts, domains[more.owners], np.roll(more.domains, 1))
        local_part = self._book.local_part
        if international is not None:
            places = places + international[more.owners] * len(self.domains)
            if self._share:
                local_part = b""
                first = self._with_local_parts(first, drawn.users, international)
                others = self._with_local_parts(others, more.users, international[more.owners])
        before = places.tolist()
        last = domains.copy()
        chosen = np.diff(more.begins) > 0
        last[chosen] = more.domains[more.begins[1:][chosen] - 1]
        bounds = more.begins.tolist()
        texts = {}
        for name, separator in between.items():
            ends = [at + separator + local_part for at in self._at]
            flat = list(map(add, map(ends.__getitem__, before), others))
            joined = [b"".join(flat[begin:end]) for begin, end in pairwise(bounds)]
            texts[name] = list(map(add, first, joined))
        return texts, last

    def _with_local_parts(
        self, texts: list[bytes], users: NDArray[np.int64], international: NDArray[np.bool_]
    ) -> list[bytes]:
        parts = self._local_parts
        return [
            parts[pick] + text for pick, text in zip(self._picked_local_parts(users, international), texts, strict=True)
        ]

    def _check_enough_addresses(self) -> None:
        most, addresses = int(self._counts.max()), self._book.size
        if most > addresses and not self._book.tagged:
            all_of_them = number_of(addresses, "recipient")
            text = f"expected at most {all_of_them} a message, as there are no more addresses, got {most}"
            raise PlanError(text, field="recipients_per_message", flag="--recipients")


def _given_sender(given: WeightedAddress) -> Sender:
    domain = a_label(given.domain)
    return Sender("", f"{given.local_part}@{domain}" if given.local_part.isascii() else given.address, domain)
