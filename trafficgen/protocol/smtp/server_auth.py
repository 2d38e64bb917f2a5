"""AUTH on the receiving side: PLAIN (RFC 4616), LOGIN, XOAUTH2; any name and any password are right.

    > AUTH PLAIN < 334 > credentials < 235        or the credentials right behind the mechanism (RFC 4954 section 4)
    > AUTH LOGIN < 334 > name < 334 > password < 235
    at any 334:  > * < 501

Takes     the AUTH line and the lines that follow it
Gives     the reply to each; `mechanism` once the credentials are complete and well formed
Not here  whether they are accepted: the judge
"""

import base64
import binascii
from typing import Final

MECHANISMS: Final = {b"PLAIN": (b"",), b"LOGIN": (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"), b"XOAUTH2": (b"",)}
"""And what the server asks for, base64."""

MAX_LINE_OCTETS: Final = 12_288
"""RFC 4954 section 4.3.1.2."""

_CANCELLED: Final = b"501 5.7.0 cancelled\r\n"
_MALFORMED: Final = b"501 5.5.2 expected base64\r\n"
_UNKNOWN: Final = b"504 5.5.4 mechanism not known\r\n"


class Login:
    """One exchange. `done`: nothing more is expected; `mechanism` is None unless it ended well."""

    __slots__ = ("_asked", "_questions", "_wanted", "done", "mechanism")

    def __init__(self) -> None:
        self.done = False
        self.mechanism: bytes | None = None
        self._wanted = b""
        self._questions: tuple[bytes, ...] = ()
        self._asked = 0

    def start(self, line: bytes) -> bytes:
        """The AUTH command. Returns a reply, or b"" when all is there."""
        words = line.split()
        self._wanted = words[1].upper() if len(words) > 1 else b""
        if self._wanted not in MECHANISMS or len(words) > 3:
            self.done = True
            return _UNKNOWN
        self._questions = MECHANISMS[self._wanted]
        return self.go_on(words[2]) if len(words) == 3 else self._ask()

    def go_on(self, line: bytes) -> bytes:
        """A line of the client's. Returns a reply, or b"" when all is there."""
        if line == b"*":
            self.done = True
            return _CANCELLED
        try:
            credentials = b"" if line == b"=" else base64.b64decode(line, validate=True)
        except binascii.Error:
            credentials = None
        if credentials is None or (self._wanted == b"PLAIN" and credentials.count(b"\0") != 2):
            self.done = True
            return _MALFORMED
        self._asked = max(self._asked, 1)
        if self._asked < len(self._questions):
            return self._ask()
        self.done = True
        self.mechanism = self._wanted
        return b""

    def _ask(self) -> bytes:
        question = self._questions[self._asked]
        self._asked += 1
        return b"334 " + question + b"\r\n"
