"""AUTH on the server side: PLAIN (RFC 4616), LOGIN, XOAUTH2; any name and password are accepted.

    > AUTH PLAIN < 334 > credentials < 235        or the credentials right behind the mechanism (RFC 4954 section 4)
    > AUTH LOGIN < 334 > name < 334 > password < 235
    at any 334:  > * < 501

Takes     the AUTH line and the lines that follow it
Gives     the reply to each; `mechanism` once the credentials are complete and well formed
Not here  whether they are accepted (policy hooks)
"""

import base64
import binascii
from typing import Final

MECHANISMS: Final = {b"PLAIN": (b"",), b"LOGIN": (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"), b"XOAUTH2": (b"",)}
"""The challenges of each mechanism, in base64."""

MAX_LINE_OCTETS: Final = 12_288
"""RFC 4954 section 4.3.1.2."""

_CANCELLED: Final = b"501 5.7.0 cancelled\r\n"
_MALFORMED: Final = b"501 5.5.2 expected base64\r\n"
_UNKNOWN: Final = b"504 5.5.4 mechanism not known\r\n"


class AuthExchange:
    """One AUTH exchange. `done`: it has ended; `mechanism` is None unless it succeeded."""

    __slots__ = ("_challenges", "_requested", "_sent", "done", "mechanism")

    def __init__(self) -> None:
        self.done = False
        self.mechanism: bytes | None = None
        self._requested = b""
        self._challenges: tuple[bytes, ...] = ()
        self._sent = 0

    def start(self, line: bytes) -> bytes:
        """The AUTH command. Returns a reply, or b"" when the credentials are complete."""
        words = line.split()
        self._requested = words[1].upper() if len(words) > 1 else b""
        if self._requested not in MECHANISMS or len(words) > 3:
            self.done = True
            return _UNKNOWN
        self._challenges = MECHANISMS[self._requested]
        return self.next_line(words[2]) if len(words) == 3 else self._challenge()

    def next_line(self, line: bytes) -> bytes:
        """The client's next line. Returns a reply, or b"" when the credentials are complete."""
        if line == b"*":
            self.done = True
            return _CANCELLED
        try:
            credentials = b"" if line == b"=" else base64.b64decode(line, validate=True)
        except binascii.Error:
            credentials = None
        if credentials is None or (self._requested == b"PLAIN" and credentials.count(b"\0") != 2):
            self.done = True
            return _MALFORMED
        self._sent = max(self._sent, 1)
        if self._sent < len(self._challenges):
            return self._challenge()
        self.done = True
        self.mechanism = self._requested
        return b""

    def _challenge(self) -> bytes:
        challenge = self._challenges[self._sent]
        self._sent += 1
        return b"334 " + challenge + b"\r\n"
