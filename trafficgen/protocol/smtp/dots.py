"""The end of data and the dots before it (RFC 5321 section 4.5.2).

Takes     octets after a 354, in any chunking
Gives     the message with dot-stuffing undone, piece by piece, and what follows the end of data
Refuses   every other line end: only CRLF "." CRLF ends a message, so nothing can be smuggled in after a bare LF
Counts    non-standard ends of data: a dot alone between line ends that are not both CRLF, which other servers took for
          the end (SMTP smuggling: CVE-2023-51764, CVE-2023-51765, CVE-2023-51766)
Not here  writing: messages are stuffed when they are built, see `stuff`
"""

from typing import Final

from stringzilla import find

END_OF_DATA: Final = b"\r\n.\r\n"

# Dots are looked for behind LF, then behind CR: two passes of a search that takes many octets at a time, in a third
# (5 KB) to a fifth (100 KB) of the time that one pass of a regular expression takes (benchmarks/sink.py --only dots).
_BEHIND_LF: Final = b"\n."
_BEHIND_CR: Final = b"\r."

_LARGE: Final = 16_384
_NEAR_END: Final = 2_048


def stuff(canonical: bytes) -> bytes:
    """`canonical` with a dot put before every line that begins with one; starts at a line's beginning."""
    stuffed = canonical if find(canonical, _BEHIND_LF) < 0 else canonical.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def unstuff(stuffed: bytes) -> bytes:
    """`stuffed` without the dot that stands before every line that begins with one (RFC 5321 section 4.5.2)."""
    canonical = stuffed if find(stuffed, _BEHIND_LF) < 0 else stuffed.replace(b"\r\n.", b"\r\n")
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
    dot = find(data, _BEHIND_LF) + 1
    while dot:
        if data[dot - 2 : dot + 3] == END_OF_DATA:
            return dot - 2, smuggled + _behind_cr(data, dot)
        smuggled += data[dot + 1 : dot + 2] in (b"\r", b"\n")
        dot = find(data, _BEHIND_LF, dot + 1) + 1
    return -1, 0


def _behind_cr(text: bytes, end: int) -> int:
    """Dots between a CR and a line end in `text[:end]`."""
    alone = 0
    dot = find(text, _BEHIND_CR, 0, end) + 1
    while dot:
        alone += text[dot + 1 : dot + 2] in (b"\r", b"\n")
        dot = find(text, _BEHIND_CR, dot + 1, end) + 1
    return alone


class DotReader:
    """Finds the end of one message and undoes its stuffing; holds back at most four octets that may belong to it.

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
        dot = find(text, _BEHIND_LF) + 1
        while dot:
            follows = text[dot + 1 : dot + 3]
            stuffed = text[dot - 2 : dot] == b"\r\n"
            if stuffed and follows == b"\r\n":
                pieces.append(text[begin:dot])
                self.smuggled += _behind_cr(text, dot)
                return pieces, text[dot + 3 :]
            if not follows or (stuffed and follows == b"\r"):
                hold = dot - 1 - stuffed
                break
            self.smuggled += follows[0] in b"\r\n"
            if stuffed:
                pieces.append(text[begin:dot])
                begin = dot + 1
            dot = find(text, _BEHIND_LF, dot + 1) + 1
        else:
            if text.endswith(_BEHIND_CR):
                hold = len(text) - 2
        self.smuggled += _behind_cr(text, hold)
        hold = max(hold, begin)
        pieces.append(text[begin:hold])
        self._held = text[hold:]
        return pieces, None


def _line_end_octets(text: bytes) -> int:
    """How many octets at the end of `text` may be the line end before a dot."""
    return 2 if text.endswith(b"\r\n") else int(text.endswith((b"\r", b"\n")))
