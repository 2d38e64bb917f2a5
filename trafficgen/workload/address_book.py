"""The addresses that a run may write to: people at weighted domains, or a list that was given.

Takes     the plan's domains and users, or its recipients and their file
Gives     domains and shares; addresses by draw, as pieces of a layout and as texts
Refuses   more recipients per message than there are addresses; a file with a bad row (line and reason)
Not here  how many recipients a message has (envelopes), weights (shares)

A file is CSV (RFC 4180) with a header row. One column is called `address`, one may be called `weight`; the others can
be used in headers as {name}.
"""

import csv
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from mboxgen.limited import read_limited
from trafficgen.errors import PlanError
from trafficgen.plan import Plan, WeightedAddress, Workload
from trafficgen.plan.international import a_label
from trafficgen.workload import shares
from trafficgen.workload.columns import Columns, ColumnTable, Digits, Piece, Text, decimal, strings
from trafficgen.workload.grid import NUMBER

_MAX_FILE: Final = 256 << 20
_FLAG: Final = "--recipients-from"
Picks = dict[str, NDArray[np.int64]]


class Drawn(NamedTuple):
    """Addresses by two numbers each: the index of the domain, and of the user there (of a list: in the list)."""

    domains: NDArray[np.int64]
    users: NDArray[np.int64]


class AddressBook(Protocol):
    """What envelopes draw from."""

    domains: tuple[str, ...]
    shares: NDArray[np.float64]
    on_wire: tuple[str, ...]
    """Domains, those beyond ASCII as A-labels."""
    international: tuple[str, ...]
    """Domains as they go with SMTPUTF8."""
    size: int
    """Different addresses."""

    @property
    def local_part(self) -> bytes:
        """What every local part begins with."""

    @property
    def tagged(self) -> bool:
        """Whether every draw is a new address for the same mailbox."""

    def domain_of(self, grid: int, count: int) -> NDArray[np.int64]:
        """The domains of first recipients, without the rest."""

    def draw(self, stream: tuple[str, str], grid: int, count: int) -> Drawn:
        """So many, from these two streams of the seed."""

    def beyond(self, drawn: Drawn) -> NDArray[np.bool_]:
        """Which local parts are beyond ASCII by themselves."""

    def pieces(self) -> list[Piece]:
        """The layout of the rest of one local part."""

    def columns(self, users: NDArray[np.int64]) -> tuple[Picks, dict[str, Text]]:
        """Picks and digits for `pieces`."""

    def texts(self, users: NDArray[np.int64]) -> list[bytes]:
        """The rest of each local part."""

    def number(self, drawn: Drawn) -> NDArray[np.int64]:
        """Each address as one number below `size`."""

    def at(self, number: int) -> tuple[int, int]:
        """Domain and user of an address."""


def uses_smtputf8(workload: Workload) -> bool:
    """Whether some messages need it: addresses beyond ASCII are asked for or given. Raises PlanError."""
    addresses = (*given(workload), *workload.from_addresses)
    return workload.international > 0 or any(not one.local_part.isascii() for one in addresses)


def address_book(plan: Plan) -> AddressBook:
    """The plan's. Raises PlanError."""
    workload = plan.workload
    return _Given(plan) if workload.recipients or workload.recipients_file else _People(plan)


class _People:
    """So many users at each domain."""

    local_part: Final = b"user-"

    def __init__(self, plan: Plan) -> None:
        workload = plan.workload
        self._seed, self._users = plan.seed, workload.users
        self.domains = shares.domain_names(workload)
        self.shares = shares.domain_shares(workload)
        self.international = tuple(workload.with_suffix(name) for name in self.domains)
        self.on_wire = tuple(map(a_label, self.international))
        self.size = len(self.domains) * workload.users.count
        self.tagged = workload.users.tagged
        self._domain_thresholds = shares.thresholds(self.shares)
        self._user_thresholds = shares.user_thresholds(workload.users)
        self._digits = Digits("user", max(6, len(str(workload.users.count - 1))))

    def domain_of(self, grid: int, count: int) -> NDArray[np.int64]:
        return streams.choose(streams.raw(self._seed, "workload/domain", grid, count), self._domain_thresholds)

    def draw(self, stream: tuple[str, str], grid: int, count: int) -> Drawn:
        of_domains, of_users = (streams.raw(self._seed, name, grid, count) for name in stream)
        domains = streams.choose(of_domains, self._domain_thresholds)
        if self._user_thresholds is None:
            return Drawn(domains, streams.below(of_users, self._users.count))
        return Drawn(domains, streams.choose(of_users, self._user_thresholds))

    def beyond(self, drawn: Drawn) -> NDArray[np.bool_]:
        return np.zeros(drawn.users.size, np.bool_)

    def pieces(self) -> list[Piece]:
        return [self._digits, b"+", NUMBER] if self.tagged else [self._digits]

    def columns(self, users: NDArray[np.int64]) -> tuple[Picks, dict[str, Text]]:
        return {}, {"user": decimal(users, self._digits.width)}

    def texts(self, users: NDArray[np.int64]) -> list[bytes]:
        texts: list[bytes] = strings(decimal(users, self._digits.width)).tolist()
        return texts

    def number(self, drawn: Drawn) -> NDArray[np.int64]:
        return drawn.domains * self._users.count + drawn.users

    def at(self, number: int) -> tuple[int, int]:
        return divmod(number, self._users.count)


class _Given:
    """A list, each address with its weight; a user's number is the place in it."""

    local_part: Final = b""
    tagged: Final = False

    def __init__(self, plan: Plan) -> None:
        self._seed = plan.seed
        addresses = given(plan.workload)
        domains = [one.domain for one in addresses]
        self.domains = tuple(dict.fromkeys(domains))
        self.international, self.on_wire = self.domains, tuple(map(a_label, self.domains))
        places = {name: place for place, name in enumerate(self.domains)}
        self._domain = np.array([places[name] for name in domains], np.int64)
        self._locals = [one.local_part.encode() for one in addresses]
        self._beyond = np.array([not one.isascii() for one in self._locals])
        weights = np.array([one.weight for one in addresses])
        self.shares = np.bincount(self._domain, weights, len(self.domains)) / weights.sum()
        self.size = len(addresses)
        self._thresholds = shares.thresholds(weights)

    def domain_of(self, grid: int, count: int) -> NDArray[np.int64]:
        return self.draw(("workload/domain", "workload/user"), grid, count).domains

    def draw(self, stream: tuple[str, str], grid: int, count: int) -> Drawn:
        chosen = streams.choose(streams.raw(self._seed, stream[0], grid, count), self._thresholds)
        return Drawn(self._domain[chosen], chosen)

    def beyond(self, drawn: Drawn) -> NDArray[np.bool_]:
        beyond: NDArray[np.bool_] = self._beyond[drawn.users]
        return beyond

    def pieces(self) -> list[Piece]:
        return [ColumnTable("user", self._locals)]

    def columns(self, users: NDArray[np.int64]) -> tuple[Picks, dict[str, Text]]:
        return {"user": users}, {}

    def texts(self, users: NDArray[np.int64]) -> list[bytes]:
        return [self._locals[user] for user in users.tolist()]

    def number(self, drawn: Drawn) -> NDArray[np.int64]:
        return drawn.users

    def at(self, number: int) -> tuple[int, int]:
        return int(self._domain[number]), number


def with_tags(users: Sequence[bytes], tags: Sequence[bytes]) -> list[bytes]:
    """`user+tag` each."""
    return [user + b"+" + tag for user, tag in zip(users, tags, strict=True)]


def user_columns(book: AddressBook, users: NDArray[np.int64], picks: Picks, number: Text) -> Columns:
    """What `book.pieces` and these picks need."""
    more, digits = book.columns(users)
    return Columns({**picks, **more}, {"number": number, **digits}, {})


# -- lists --------------------------------------------------------------------------------------------------


class RecipientFile(NamedTuple):
    """`columns`: name → the value of each address, in their order."""

    addresses: tuple[WeightedAddress, ...]
    columns: dict[str, list[str]]


def given(workload: Workload) -> tuple[WeightedAddress, ...]:
    """The recipients that were given, those of the file behind the others. Raises PlanError."""
    if workload.recipients_file is None:
        return workload.recipients
    return (*workload.recipients, *read_recipients(workload.recipients_file).addresses)


@lru_cache(maxsize=1)
def read_recipients(path: Path) -> RecipientFile:
    """The file; read once by a process. Raises PlanError, which names the line of a bad row."""
    if path.is_fifo():  # every worker reads it
        raise _wrong(f'expected a file that several processes can read, got the pipe "{path}"; save it to a file first')
    try:
        text = read_limited(path, _MAX_FILE).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        words = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise _wrong(f'cannot read the recipients in "{path}": {words}') from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if names.count("address") != 1 or len(set(names)) != len(names):
            raise _wrong(f'expected a first row with one column "address" in "{path}", found "{",".join(names)[:80]}"')
        return _read_rows(path, names, rows)
    except csv.Error as error:
        raise _wrong(f'"{path}", line {rows.line_num}: {error}') from error


def _read_rows(path: Path, names: list[str], rows: Any) -> RecipientFile:
    addresses: list[WeightedAddress] = []
    columns: dict[str, list[str]] = {name: [] for name in names}
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise _wrong(f'"{path}", line {rows.line_num}: expected {len(names)} columns, found {len(row)}')
        values = dict(zip(names, row, strict=True))
        try:
            addresses.append(WeightedAddress(values["address"].strip(), float(values.get("weight") or 1)))
        except PlanError as error:
            raise _wrong(f'"{path}", line {rows.line_num}: {error.text}') from error
        except ValueError as error:
            text = f'"{path}", line {rows.line_num}: expected a number for weight, found "{values["weight"][:40]}"'
            raise _wrong(text) from error
        for name, column in columns.items():
            column.append(values[name])
    if not addresses:
        raise _wrong(f'expected rows with addresses in "{path}", found none')
    return RecipientFile(tuple(addresses), columns)


def _wrong(text: str) -> PlanError:
    return PlanError(text, field="recipients_file", flag=_FLAG)
