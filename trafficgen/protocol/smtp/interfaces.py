"""What a session needs from its surroundings: work to do, and an account to write into.

Gives     the structural types that `client` speaks to; workload, engine and measure provide them without knowing smtp
Not here  how a session uses them: `client`
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple, Protocol

from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.replies import Reply

_LHLO: Final = Phase.LHLO

Buffer = bytes | memoryview


class WireMessage(Protocol):
    """What a message must tell; envelope and head + body + tail are laid out for the session (layout)."""

    @property
    def number(self) -> int: ...
    @property
    def domain(self) -> int: ...
    @property
    def recipients(self) -> int: ...
    @property
    def envelope(self) -> bytes: ...
    @property
    def head(self) -> bytes: ...
    @property
    def body(self) -> Buffer: ...
    @property
    def tail(self) -> bytes: ...
    @property
    def octets(self) -> int: ...
    @property
    def eight_bit(self) -> bool: ...


Work = tuple[WireMessage, int]
"""A message and its intended start in ns, -1 in the closed loop."""


class Source(Protocol):
    """Where a session gets its work."""

    def take(self, now_ns: int) -> Work | None:
        """The next message that is due; None when there is none now."""

    def give_back(self, work: Work) -> None:
        """Return a message that was taken but never started."""


ROW: Final = Struct("=9q").pack
"""A row of `Account.rows`, for its `frombytes`: a third of what `extend` takes (benchmarks/wire.py)."""


class RowTaker(Protocol):
    """Takes rows, as an array does."""

    def frombytes(self, row: bytes, /) -> None: ...


class SessionAccount(Protocol):
    """Where a session writes down what happened."""

    @property
    def rows(self) -> RowTaker:
        """Nine integers a finished message: number, outcome, domain, due, start, ready, sent, end (ns), octets."""

    def phase(self, phase: Phase, elapsed_ns: int) -> None: ...
    def reply(self, phase: Phase, reply: Reply, count: int = 1) -> None: ...
    def failure(self, phase: Phase, reason: str, example: str, count: int = 1) -> None: ...
    def recipients_differ(self, number: int, outcome: Outcome, recipients: tuple[int, ...]) -> None:
        """Of this message not all recipients ended as it did: how many did how, in the order of `Outcome`."""

    def trouble(self, words: str) -> None: ...


class Extensions(NamedTuple):
    """What EHLO offered, as far as it changes what we send."""

    pipelining: bool = False
    eight_bit: bool = False
    chunking: bool = False
    size: bool = False
    keywords: frozenset[str] = frozenset()
    """All of them, in capitals."""
    max_octets: int = 0
    """The value of SIZE: what a message may have (RFC 1870 section 4); 0 where none is said."""

    @classmethod
    @lru_cache(maxsize=64)
    def offered(cls, lines: tuple[bytes, ...]) -> "Extensions":
        """From the text lines of an EHLO reply, the first of which is the server's name."""
        words = (line.decode("ascii", "backslashreplace").partition(" ") for line in lines[1:])
        return cls.of({keyword: parameters for keyword, _, parameters in words})

    @classmethod
    def of(cls, offered: Mapping[str, str]) -> "Extensions":
        """From what the server said: keywords in any case, each with its parameters."""
        known = {keyword.upper(): parameters.strip() for keyword, parameters in offered.items()}
        limit = known.get("SIZE", "")
        return cls(
            "PIPELINING" in known, "8BITMIME" in known, "CHUNKING" in known, "SIZE" in known, frozenset(known),
            int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= 20 else 0,
        )  # fmt: skip


NOTHING_OFFERED: Final = Extensions()
"""What every session begins with. One for all: a hundredth of a session (benchmarks/peers.py, churn-5k)."""


class Stranger(NamedTuple):
    """A client that a session says it speaks for: its address ("": none is said), host name ("" when it has none) and
    port, and the attributes that are asked for by name."""

    address: str
    name: str
    port: int
    attributes: tuple[tuple[str, str], ...] = ()


class Leaving(NamedTuple):
    """Where a session goes that hands no message over; `Phase.END_OF_DATA`: in the middle of the message.

    `quits`: with QUIT, otherwise without a word. `waits`: for the answer to that step.
    """

    step: Phase
    quits: bool = False
    waits: bool = True


class SessionOptions(NamedTuple):
    """How every session of a run behaves: name in EHLO, messages a session (0 = no limit), groups if offered, messages
    on their way at once where CHUNKING is offered (0 = DATA, one at a time), `Phase.LHLO` to speak LMTP;
    what XCLIENT and XFORWARD say, if anything, and whether the connection began with a PROXY header; whether it goes
    without a message; RSET between two messages; what EHLO has to offer, and whether envelopes declare their SIZE."""

    ehlo_name: bytes = b"[127.0.0.1]"
    max_messages: int = 0
    pipelining: bool = True
    chunks: int = 0
    hello: Phase = Phase.EHLO
    xclient: Stranger | None = None
    xforward: Stranger | None = None
    proxied: bool = False
    leaving: Leaving | None = None
    reset_between: bool = False
    needed: tuple[str, ...] = ()
    declares_size: bool = False

    @property
    def reply_each(self) -> bool:
        """Whether an end of data is answered once for each accepted recipient (RFC 2033 section 4.2)."""
        return self.hello is _LHLO
