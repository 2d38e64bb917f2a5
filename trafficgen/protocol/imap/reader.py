"""Responses of an IMAP server (RFC 9051 section 7, grammar in section 9).

Takes     octets in any pieces; for each literal, somebody who takes its octets
Gives     whole responses, their words in order: atoms, strings, lists, and literals as those who took them
Limits    `MAX_LINE_OCTETS` a response without its literals, `MAX_LITERALS` and `MAX_DEPTH` in one. A literal is passed
          on by its length, as views of what came, and never copied or searched here
Fails     never: what is no response sets `fault` to a plain sentence, and nothing more is read
Not here  what a response means: `client`
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

MAX_LINE_OCTETS: Final = 256 * 1024
"""Room for the BODYSTRUCTURE of any message and a SEARCH over 30,000. RFC 9051 names no limit."""

MAX_LITERALS: Final = 1000
MAX_LITERAL_OCTETS: Final = 2**63 - 1
MAX_DEPTH: Final = 100

KEPT_OCTETS: Final = 64 * 1024
"""Of a literal that nobody wanted: enough for header fields and names."""

_LITERAL: Final = re.compile(rb"~?\{([0-9]{1,20})\+?\}$")
_TOKEN: Final = re.compile(
    rb"""[ ]*(?:
        (?P<open>\() | (?P<close>\))
      | "(?P<quoted>(?:[^"\\]|\\.)*)"
      | (?P<atom>(?:[^\s()"\[]|\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


class LiteralReceiver(Protocol):
    """Who takes the octets of one literal, piece by piece."""

    def feed(self, octets: memoryview) -> None: ...


class Kept:
    """A literal of which the first `KEPT_OCTETS` are kept, and all are counted."""

    __slots__ = ("_pieces", "octets")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.octets = 0

    def feed(self, octets: memoryview) -> None:
        """The next piece."""
        if self.octets < KEPT_OCTETS:
            self._pieces.append(bytes(octets[: KEPT_OCTETS - self.octets]))
        self.octets += len(octets)

    @property
    def text(self) -> bytes:
        """What was kept."""
        return b"".join(self._pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept) and (self.octets, self.text) == (other.octets, other.text)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"<Kept {self.octets} octets, {self.text[:40]!r}>"


class Quoted(bytes):
    """A quoted string; as bytes, without quotes. "NIL" in quotes is not NIL."""

    __slots__ = ()


Value = bytes | LiteralReceiver | tuple["Value", ...] | None
"""An atom or a string, a literal, a list, or NIL."""


class ImapResponse(NamedTuple):
    """One response: its first word (a tag, "*" or "+") and the octets up to the first literal; `values` reads all."""

    tag: bytes
    line: bytes
    """Without the tag; a literal is where `literals` has one, and its `{n}` ends the fragment before it."""
    more: tuple[tuple[LiteralReceiver, bytes], ...]
    """Literals, each with the fragment that follows it."""

    def values(self, skip: int = 0) -> tuple[Value, ...]:
        """The words after the first `skip` octets of the line. Raises ValueError for what is not well formed."""
        stack: list[list[Value]] = [[]]
        _tokens(self.line[skip:], stack)
        for content, fragment in self.more:
            stack[-1].append(content)
            _tokens(fragment, stack)
        if len(stack) != 1:
            raise ValueError("a list that does not end")
        return tuple(stack[0])


class ResponseReader:
    """Turns a stream of octets into responses. `content(line)` is asked who takes the next literal, whose fragment of
    line, tag and all, is given."""

    __slots__ = ("_content", "_done", "_into", "_left", "_line_octets", "_rest", "fault")

    def __init__(self, content: Callable[[bytes], LiteralReceiver] = lambda _line: Kept()) -> None:
        self._content = content
        self._rest = bytearray()  # of a line that has not ended
        self._done: list[tuple[bytes, LiteralReceiver]] = []  # fragments and literals of the response under way
        self._line_octets = 0
        self._into: LiteralReceiver | None = None  # who takes the literal under way
        self._left = 0  # octets of it that are still to come
        self.fault: str | None = None

    @property
    def literal_left(self) -> int:
        """Octets of the literal under way that are still to come."""
        return self._left

    @property
    def empty(self) -> bool:
        """Whether all that has come are whole responses."""
        return not (self._rest or self._done)

    def feed(self, data: bytes) -> list[ImapResponse]:
        """The responses that `data` completes, in order."""
        found: list[ImapResponse] = []
        begin = 0
        while begin < len(data) and not self.fault:
            begin = self._take_literal(data, begin) if self._left else self._take_line(data, begin, found)
        return found

    def _take_literal(self, data: bytes, begin: int) -> int:
        assert self._into is not None
        end = min(begin + self._left, len(data))
        self._into.feed(memoryview(data)[begin:end])
        self._left -= end - begin
        return end

    def _take_line(self, data: bytes, begin: int, found: list[ImapResponse]) -> int:
        newline = data.find(b"\n", begin)
        end = newline if newline >= 0 else len(data)
        if self._line_octets + len(self._rest) + end - begin > MAX_LINE_OCTETS + 1:
            self.fault = f"response line over {MAX_LINE_OCTETS} octets"
            return len(data)
        if newline < 0:
            self._rest += data[begin:]
            return len(data)
        line = data[begin:end]
        if self._rest:
            line = bytes(self._rest) + line
            self._rest.clear()
        line = line.removesuffix(b"\r")
        self._line_octets += len(line)
        if line.endswith(b"}") and (literal := _LITERAL.search(line)):
            self._begin_literal(line[: literal.start()], int(literal[1]))
        else:
            self._end(line, found)
        return newline + 1

    def _begin_literal(self, fragment: bytes, octets: int) -> None:
        if len(self._done) >= MAX_LITERALS or octets > MAX_LITERAL_OCTETS:
            self.fault = f"response with over {MAX_LITERALS} literals, or one over {MAX_LITERAL_OCTETS} octets"
            return
        self._into = self._content(fragment)
        self._done.append((fragment, self._into))
        self._left = octets

    def _end(self, line: bytes, found: list[ImapResponse]) -> None:
        fragments = [fragment for fragment, _ in self._done]
        contents = [content for _, content in self._done]
        fragments.append(line)
        self._done.clear()
        self._into = None
        self._line_octets = 0
        tag, _, first = fragments[0].partition(b" ")
        if not tag or not tag.isascii():
            self.fault = f'expected a response, got "{fragments[0][:80].decode("ascii", "backslashreplace")}"'
            return
        found.append(ImapResponse(tag, first, tuple(zip(contents, fragments[1:], strict=True))))


def _tokens(text: bytes, stack: list[list[Value]]) -> None:
    """Add the words of `text` to the lists that are open."""
    at, end = 0, len(text)
    match = _TOKEN.match
    while at < end:
        found = match(text, at)
        if found is None:
            if text[at:].strip(b" "):
                raise ValueError(f'no word of IMAP: "{text[at : at + 40].decode("ascii", "backslashreplace")}"')
            return
        at = found.end()
        kind = found.lastgroup
        if kind == "atom":
            atom = found["atom"]
            stack[-1].append(None if atom in (b"NIL", b"nil") else atom)
        elif kind == "quoted":
            quoted = found["quoted"]
            stack[-1].append(Quoted(_ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted))
        elif kind == "open":
            if len(stack) > MAX_DEPTH:
                raise ValueError(f"lists more than {MAX_DEPTH} deep")
            stack.append([])
        else:
            if len(stack) == 1:
                raise ValueError("a list that does not begin")
            inner = tuple(stack.pop())
            stack[-1].append(inner)
