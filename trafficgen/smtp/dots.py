"""The end of data and the dots before it (RFC 5321 section 4.5.2).

Takes     octets after a 354, in any chunking
Gives     the message with dot-stuffing undone, piece by piece, and what follows the end of data
Refuses   every other line end: only CRLF "." CRLF ends a message, so nothing can be smuggled in behind a bare LF
Counts    what would have ended the message elsewhere: a dot between line ends that are not both CRLF (CVE-2023-51764,
          CVE-2023-51765, CVE-2023-51766: the same trick on three servers)
Not here  writing: messages are stuffed when they are built, see `stuff`
"""

import re
from typing import Final

END_OF_DATA: Final = b"\r\n.\r\n"

# Both begin with a literal, so that the search runs at memchr's speed from dot to dot: 5 KB of prose take 2.7 µs, where
# looking for END_OF_DATA itself takes 3.2, and this finds stuffed and lone dots on the way (benchmarks/sink.py).
_DOT_BEHIND_LINE_END: Final = re.compile(rb"\.(?<=[\r\n]\.)").search

_LARGE: Final = 16_384
_NEAR_END: Final = 2_048


def stuff(canonical: bytes) -> bytes:
    """`canonical` with a dot put before every line that begins with one; starts at a line's beginning."""
    stuffed = canonical.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def unstuff(stuffed: bytes) -> bytes:
    """The inverse of `stuff`."""
    canonical = stuffed.replace(b"\r\n.", b"\r\n")
    return canonical[1:] if canonical.startswith(b".") else canonical


def find_end(data: bytes) -> tuple[int, int]:
    """Where the line end before the final dot begins in `data`, and how many dots before it stood alone without ending
    the message; (-1, 0) when the end is not there.

    Also -1 when a large piece has no end of data near its own end: then a message most likely goes on in the next one,
    and looking through it here would be in vain. `DotReader` decides.
    """
    if len(data) > _LARGE and data.rfind(END_OF_DATA, len(data) - _NEAR_END) < 0:
        return -1, 0
    smuggled = 0
    found = _DOT_BEHIND_LINE_END(data)
    while found is not None:
        dot = found.start()
        if data[dot - 2 : dot + 3] == END_OF_DATA:
            return dot - 2, smuggled
        smuggled += data[dot + 1 : dot + 2] in (b"\r", b"\n")
        found = _DOT_BEHIND_LINE_END(data, dot + 1)
    return -1, 0


class DotReader:
    """Finds the end of one message and undoes its stuffing; holds back at most four octets that it cannot judge yet.

    `smuggled` counts the dots so far that stood alone without ending the message.
    """

    __slots__ = ("_held", "smuggled")

    def __init__(self) -> None:
        self._held = b"\r\n"  # as if a line had just ended: the data may begin with the final dot
        self.smuggled = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """Pieces of the message, and the octets after its end, or None when the end is not there yet.

        The first piece of a message begins with two octets too many, CRLF: see `_held`. The caller drops them.
        """
        text = self._held + data
        pieces: list[bytes] = []
        begin = 0
        hold = len(text) - _line_end_octets(text)
        found = _DOT_BEHIND_LINE_END(text)
        while found is not None:
            dot = found.start()
            follows = text[dot + 1 : dot + 3]
            stuffed = text[dot - 2 : dot] == b"\r\n"
            if stuffed and follows == b"\r\n":
                pieces.append(text[begin:dot])
                return pieces, text[dot + 3 :]
            if not follows or (stuffed and follows == b"\r"):
                hold = dot - 1 - stuffed
                break
            self.smuggled += follows[0] in b"\r\n"
            if stuffed:
                pieces.append(text[begin:dot])
                begin = dot + 1
            found = _DOT_BEHIND_LINE_END(text, dot + 1)
        hold = max(hold, begin)
        pieces.append(text[begin:hold])
        self._held = text[hold:]
        return pieces, None


def _line_end_octets(text: bytes) -> int:
    """How many octets at the end of `text` may be the line end before a dot."""
    return 2 if text.endswith(b"\r\n") else int(text.endswith((b"\r", b"\n")))
