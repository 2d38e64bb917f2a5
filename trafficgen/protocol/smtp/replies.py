"""SMTP replies: the careful parser (RFC 5321 section 4.2, enhanced codes RFC 3463).

Takes     bytes in any chunking
Gives     complete replies, multi-line ones as one
Limits    `MAX_LINE_OCTETS` a line and `MAX_LINES` a reply: a peer cannot make us buffer without end
Fails     never: what is no reply sets `fault` to a plain sentence, and nothing more is read
Not here  what a reply means: `client`
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

MAX_LINE_OCTETS: Final = 2048
"""RFC 5321 section 4.5.3.1.5 asks for 512 at least; servers that explain themselves with URLs send more."""

MAX_LINES: Final = 100

_TOO_LONG: Final = f"reply line over {MAX_LINE_OCTETS} octets"

MAX_REMEMBERED: Final = 1024
"""Octets of a group of replies that is worth remembering whole."""

_LINE: Final = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
_ENHANCED: Final = re.compile(rb"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ \t]+|$)")


class Reply(NamedTuple):
    """One complete reply. `enhanced` is empty when the server gave none; `lines` are the texts after the codes."""

    code: int
    enhanced: str
    lines: tuple[bytes, ...]

    @property
    def text(self) -> str:
        """All lines as one, for people; octets outside ASCII are escaped."""
        return _joined(self.lines)

    @property
    def words(self) -> str:
        """Code, enhanced code and text, for people; at most 200 characters."""
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))[:200]


class ReplyReader:
    """Turns a stream of octets into replies."""

    __slots__ = ("_code", "_lines", "_rest", "fault")

    def __init__(self) -> None:
        self._rest = b""
        self._code = b""  # of the reply whose `_lines` have come so far
        self._lines: tuple[bytes, ...] = ()
        self.fault: str | None = None

    @property
    def empty(self) -> bool:
        """Whether all that has come are whole replies."""
        return not self._rest and not self._lines and self.fault is None

    @property
    def begun(self) -> bytes:
        """As much as has come of the code of an unfinished reply."""
        return self._code if self._lines else self._rest[:3]

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes, in order."""
        if self.fault:
            return []
        if len(data) <= MAX_REMEMBERED and self.empty and (known := _whole(data)) is not None:
            return list(known)
        return self._parse(data)

    def _parse(self, data: bytes) -> list[Reply]:
        replies: list[Reply] = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._take_line(line.removesuffix(b"\r"), replies):
                return replies
        if len(self._rest) > MAX_LINE_OCTETS + 1:  # the last one may be the CR
            self.fault = _TOO_LONG
        return replies

    def _take_line(self, line: bytes, replies: list[Reply]) -> bool:
        if len(line) > MAX_LINE_OCTETS:
            self.fault = _TOO_LONG
            return False
        match = _LINE.fullmatch(line)
        if match is None or (not match[2] and match[3]):
            shown = line[:80].decode("ascii", "backslashreplace")
            self.fault = f'expected a reply, got "{shown}"'
            return False
        if self._lines and match[1] != self._code:
            # RFC 5321 section 4.2.1: every line has the same code. Which of two to believe, nobody can tell.
            self.fault = f"reply whose lines have different codes, {self._code.decode()} and {match[1].decode()}"
            return False
        self._code = match[1]
        self._lines += (match[3],)
        if match[2] != b"-":
            replies.append(_reply(match[1], self._lines))
            self._lines = ()
        elif len(self._lines) >= MAX_LINES:
            self.fault = f"reply of over {MAX_LINES} lines"
            return False
        return True


@lru_cache(maxsize=512)
def _whole(data: bytes) -> tuple[Reply, ...] | None:
    """`data` as whole replies, None when it is not. Servers say the same words again and again: benchmarks/wire.py."""
    reader = ReplyReader()
    replies = reader._parse(data)
    return tuple(replies) if reader.empty else None


@lru_cache(maxsize=512)
def _joined(lines: tuple[bytes, ...]) -> str:
    return " / ".join(line.decode("ascii", "backslashreplace") for line in lines)


def _reply(code: bytes, lines: tuple[bytes, ...]) -> Reply:
    enhanced = b""
    texts = []
    for line in lines:
        match = _ENHANCED.match(line)
        if match and match[1][:1] == code[:1]:
            enhanced = enhanced or match[1]
            line = line[match.end() :]
        texts.append(line)
    return Reply(int(code), enhanced.decode("ascii"), tuple(texts))
