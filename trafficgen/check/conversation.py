"""One connection to a mail server, a line at a time, with a transcript.

Takes     an address that the guard has allowed; lines, or octets as they are
Gives     replies of SMTP (RFC 5321 4.2), lines of POP3 and IMAP; the transcript, secrets masked
Limits    every read and write has the same limit; a line of 64 KiB, a reply of 1,000 lines
Fails     with `ConnectionEnded`: closed, reset, timed out, or a server that asks us to come again later (421)
"""

import socket
import ssl
import time
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from trafficgen.errors import reason_of
from trafficgen.plan import Target, UnixTarget
from trafficgen.printable import printable

_MAX_LINE: Final = 65_536
_MAX_LINES: Final = 1_000
_SHOWN: Final = 200
_PIECE: Final = 16_384
NO_ANSWER: Final = "no answer in time"
SECRET: Final = "(secret)"  # noqa: S105  (what stands in its place)


class ConnectionEnded(Exception):  # noqa: N818  (what the server did, not an error of ours)
    """The conversation is over before it was at its end. The text says how."""


class NotOffered(ConnectionEnded):
    """The service has no TLS: what happens inside it cannot be looked at."""


class TlsFailed(ConnectionEnded):
    """No handshake; the text has OpenSSL's words."""


class SmtpReply(NamedTuple):
    """A reply of SMTP. `code` 0: it was none."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it stood on the wire, lines joined."""
        return " / ".join(self.lines)

    @property
    def good(self) -> bool:
        """2xx or 3xx: not refused. Where one code alone is success, ask for that one."""
        return 200 <= self.code < 400

    @property
    def takes_recipient(self) -> bool:
        """What RCPT is answered when it is taken (RFC 5321 4.3.2)."""
        return self.code in (250, 251)


class TextConnection:
    """Use as a context manager: the connection is closed at its end."""

    def __init__(self, address: Target, timeout_s: float, transcript: list[str]) -> None:
        self.transcript = transcript
        self.tls: ssl.SSLSocket | None = None
        self._unread = b""
        self._timeout_s = timeout_s
        try:
            if isinstance(address, UnixTarget):
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(timeout_s)
                self._socket.connect(address.path)
            else:
                self._socket = socket.create_connection((address.host, address.port), timeout_s)
        except OSError as error:
            raise ConnectionEnded(f"no connection: {_words(error)}") from error
        self.note(f"connected to {address}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def seen_from(self) -> str:
        """Our own address, as the server sees it unless something between changes it."""
        return str(self._socket.getsockname()[0]) if self._socket.family != socket.AF_UNIX else "a UNIX socket"

    def note(self, words: str) -> None:
        """A line of the transcript that nobody said."""
        self.transcript.append(f"   {words}")

    # -- to the server ----------------------------------------------------------------------------------

    def say(self, line: str, shown: str | None = None) -> None:
        """Send a line; `shown` stands in the transcript in place of one that holds a secret."""
        self.send(line.encode() + b"\r\n", line if shown is None else shown)

    def send(self, octets: bytes, shown: str) -> None:
        """Send octets as they are."""
        self.transcript.append(f"C: {printable(shown[:_SHOWN])}")
        try:
            self._socket.sendall(octets)
        except OSError as error:
            raise ConnectionEnded(_words(error)) from error

    # -- from the server --------------------------------------------------------------------------------

    def line(self) -> str:
        """The next line, without its end."""
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > _MAX_LINE:
                raise ConnectionEnded(f"a line of more than {_MAX_LINE} octets")
            self._unread += self._received()
        line, self._unread = self._unread[:end].removesuffix(b"\r"), self._unread[end + 1 :]
        text = line.decode("utf-8", "replace")
        self.transcript.append(f"S: {printable(text[:_SHOWN])}")
        return text

    def octets(self, count: int) -> bytes:
        """So many octets, as an IMAP literal has."""
        while len(self._unread) < count:
            self._unread += self._received()
        found, self._unread = self._unread[:count], self._unread[count:]
        self.note(f"({count} octets)")
        return found

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing comes in this time. What comes is kept for the next read."""
        if self._unread:
            return False
        self._socket.settimeout(seconds)
        try:
            more = self._socket.recv(_PIECE)
        except TimeoutError:
            return True
        except OSError as error:
            raise ConnectionEnded(_words(error)) from error
        finally:
            self._socket.settimeout(self._timeout_s)
        if not more:
            raise ConnectionEnded("closed by the server")
        self._unread = more
        return False

    def reply(self, *, goodbye: bool = False) -> SmtpReply:
        """A whole reply of SMTP. A 421 ends the conversation, unless a `goodbye` is what is waited for."""
        lines = []
        while True:
            lines.append(self.line())
            if len(lines) > _MAX_LINES:
                raise ConnectionEnded(f"a reply of more than {_MAX_LINES} lines")
            if lines[-1][3:4] != "-" or not _is_code(lines[-1][:3]):  # SSH-2.0-… ends with its line
                break
        code = int(lines[0][:3]) if _is_code(lines[0][:3]) else 0
        found = SmtpReply(code, tuple(lines))
        if code == 421 and not goodbye:
            raise ConnectionEnded(f"the server wants no more now: {found.text}")
        return found

    def command(self, line: str, shown: str | None = None) -> SmtpReply:
        """Say it, and read the reply."""
        self.say(line, shown)
        return self.reply()

    # -- TLS --------------------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
        """Shake hands. What came before and was not read stays in clear, and is dropped (RFC 3207 4.2)."""
        self._unread = b""
        began = time.monotonic()
        try:
            self.tls = context.wrap_socket(self._socket, server_hostname=name)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise TlsFailed(_tls_words(error)) from error
        self._socket = self.tls
        cipher = self.tls.cipher()
        self.note(f"{self.tls.version()} {cipher[0] if cipher else ''} in {(time.monotonic() - began) * 1e3:.0f} ms")
        return self.tls

    def _received(self) -> bytes:
        try:
            more = self._socket.recv(_PIECE)
        except OSError as error:
            raise ConnectionEnded(_words(error)) from error
        if not more:
            raise ConnectionEnded("closed by the server")
        return more


def capabilities(reply: SmtpReply) -> dict[str, str]:
    """What EHLO's reply offers: keyword in capitals → its parameters (RFC 5321 4.1.1.1). Nothing unless it is 250."""
    offered: dict[str, str] = {}
    if reply.code != 250:
        return offered
    for line in reply.lines[1:]:
        keyword, _, parameters = line[4:].partition(" ")
        offered[keyword.upper()] = parameters
    return offered


def joined(lines: Sequence[str]) -> bytes:
    """A message, ready for DATA but for its end."""
    return "".join(f"{line}\r\n" for line in lines).encode()


def _is_code(digits: str) -> bool:
    return digits.isascii() and digits.isdigit()


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return "closed by the server"
    return reason_of(error)


def _tls_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return _words(error) if isinstance(error, OSError) else str(error)
