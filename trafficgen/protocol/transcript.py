"""What was said in one session, a line at a time, as swaks shows it (swaks(1), TRANSCRIPT), secrets masked.

    0.000312 === Connected to 127.0.0.1:25.
    0.000801 <-  220 mail.test ESMTP              what the server says; <** where it refuses
    0.000850  -> EHLO [127.0.0.1]                 what we say; ~> and <~ once the session is protected
    0.061000 *** timed out at MAIL                how a session failed

Takes     octets written and received, and when
Gives     each line to `tell`, with the seconds since the session began; of a message the first lines and how many
          octets follow; no more than `MAX_LINES`
Masks     what AUTH sends (RFC 4954), also in the lines after a 334, and what an Authorization header says; the same,
          and what it holds in base64, wherever the server repeats it; SCRAM's signature of the server
Not here  who is shown (engine.tracing)
"""

import base64
import re
from collections.abc import Callable, Collection
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.printable import printable
from trafficgen.protocol.proxy import SIGNATURE, read_header

Octets = bytes | memoryview

MAX_LINES: Final = 1000
"""Of one session, which may carry messages for hours."""

_MESSAGE_LINES: Final = 30
_SHOWN: Final = 500  # characters of a line
_MASK: Final = "***"
_STATUS: Final = re.compile(rb"(?:HTTP/1\.\d )?([1-5])\d\d\b")
_AUTHORIZATION: Final = re.compile(rb"(?i)((?:proxy-)?authorization:\s*)(.*)")
_LENGTH: Final = re.compile(rb"(?i)content-length:\s*(\d{1,18})\s*")
_SECRET_ENDS: Final = re.compile(rb"[\0\1\s,]+")
_SIGNED: Final = re.compile(rb"\bdj[0-3][A-Za-z0-9+/]+=*")
"""What begins with "v=" in base64: SCRAM's server signature (RFC 5802 section 7), which lets others try passwords."""

_SHORT: Final = 4
"""Secrets that are shorter are masked where they stand alone: `a` stands in most words."""


class Transcript:
    """One session's."""

    def __init__(self, began_ns: int, tell: Callable[[str], None]) -> None:
        self._began_ns = began_ns
        self._tell = tell
        self._lines = 0
        self._secrets: dict[str, None] = {}  # an ordered set
        self.connected = self._protected = False
        self._out = self._in = b""  # lines that have begun
        self._logging_in = self._challenged = False
        self._data_sent = False  # DATA, and no answer to it yet
        self._in_message = False
        self._chunk = 0  # octets due of a BDAT or a request's body
        self._body_due = 0  # those that a request has announced
        self._message_lines = self._octets_left_out = 0

    # -- what happens -----------------------------------------------------------------------------------

    def note(self, words: str, now_ns: int) -> None:
        """Something that nobody said."""
        self._show("=== ", words, now_ns)

    def fail(self, words: str, now_ns: int) -> None:
        """The session came to a bad end."""
        self._show("*** ", self._masked(words), now_ns)

    def connect(self, where: str, now_ns: int) -> None:
        """The connection is up; said once."""
        if not self.connected:
            self.connected = True
            self.note(f"Connected to {where}.", now_ns)

    def protect(self, version: str, cipher: str, now_ns: int) -> None:
        """TLS is up; said once."""
        if not self._protected:
            self._protected = True
            if self._in:
                self._reply(self._in, now_ns)
            self._out = self._in = b""
            self.note(f"TLS started with cipher {version}:{cipher}", now_ns)

    def hide(self, secret: str) -> None:
        """Never show this, nor its base64."""
        if secret:
            encoded = base64.b64encode(secret.encode("utf-8", "backslashreplace")).decode("ascii")
            self._secrets |= {secret: None, encoded: None}

    # -- we say -----------------------------------------------------------------------------------------

    def proxied(self, header: bytes, now_ns: int) -> None:
        """A PROXY header that was written; of a binary one, whom it names."""
        if header.startswith(SIGNATURE) and (found := read_header(header)):
            self._show(" -> ", f"PROXY header of version 2 for {found[0]}, {len(header)} octets", now_ns)
        else:
            self.sent((header,), now_ns)

    def sent(self, buffers: Collection[Octets], now_ns: int) -> None:
        """Octets that were written, in the order of the buffers."""
        if self._lines > MAX_LINES:
            return
        octets = self._out + b"".join(buffers)
        at = 0
        while at < len(octets):
            if self._chunk:
                end = min(at + self._chunk, len(octets))
                self._chunk -= end - at
                for line in octets[at:end].splitlines(keepends=True):
                    self._show_of_message(line, now_ns)
                if not self._chunk:
                    self._end_message(now_ns)
            else:
                end = octets.find(b"\n", at) + 1
                if not end:
                    break
                line = octets[at:end]
                if self._in_message:
                    self._message_line(line, now_ns)
                else:
                    self._command(line.rstrip(b"\r\n"), now_ns)
            at = end
        self._out = octets[at:]

    def _command(self, line: bytes, now_ns: int) -> None:
        words = line.split(None, 2)
        verb = words[0].upper() if words else b""
        shown = self._text(line)
        if self._challenged:
            self._learn(line)
            shown = _MASK
        elif verb == b"AUTH":
            self._logging_in = True
            if len(words) == 3:
                self._learn(words[2])
                shown = self._text(b" ".join(words[:2])) + f" {_MASK}"
        elif header := _AUTHORIZATION.fullmatch(line):
            self._learn(header[2])
            self._learn(header[2].partition(b" ")[2])
            shown = self._text(header[1]) + _MASK
        elif verb in (b"DATA", b"MAIL"):
            self._data_sent = verb == b"DATA"
        elif verb == b"BDAT" and len(words) > 1 and words[1].isdigit():
            self._chunk = int(words[1])
        elif length := _LENGTH.fullmatch(line):
            self._body_due = int(length[1])
        elif not line:  # the end of a request's header
            self._chunk, self._body_due = self._body_due, 0
        self._challenged = False
        self._show(self._mark(" -> ", " ~> "), shown, now_ns)

    def _message_line(self, line: bytes, now_ns: int) -> None:
        if line.rstrip(b"\r\n") != b".":
            self._show_of_message(line, now_ns)
            return
        self._in_message = False
        self._end_message(now_ns)
        self._show(self._mark(" -> ", " ~> "), ".", now_ns)

    def _show_of_message(self, line: bytes, now_ns: int) -> None:
        self._message_lines += 1
        if self._message_lines > _MESSAGE_LINES:
            self._octets_left_out += len(line)
        else:
            self._show(self._mark(" -> ", " ~> "), self._text(line.rstrip(b"\r\n")), now_ns)

    def _end_message(self, now_ns: int) -> None:
        if self._octets_left_out:
            self.note(f"{self._octets_left_out:,} octets more of the message", now_ns)
        self._message_lines = self._octets_left_out = 0

    # -- the server says --------------------------------------------------------------------------------

    def heard(self, data: bytes, now_ns: int) -> None:
        """Octets that came."""
        if self._lines > MAX_LINES:
            return
        *lines, self._in = (self._in + data).split(b"\n")
        for line in lines:
            self._reply(line.removesuffix(b"\r"), now_ns)
        if len(self._in) > MAX_LINES * _SHOWN:
            self._reply(self._in, now_ns)
            self._in = b""

    def _reply(self, line: bytes, now_ns: int) -> None:
        status = _STATUS.match(line)
        refused = status is not None and status[1] in b"45"
        mark = self._mark("<** ", "<~* ") if refused else self._mark("<-  ", "<~  ")
        code = line[:4] if status and line[:1].isdigit() else b""
        if self._logging_in:
            line = _SIGNED.sub(_MASK.encode("ascii"), line)
        self._show(mark, code.decode("ascii", "replace") + self._text(line[len(code) :], masked=True), now_ns)
        if status is None or line[3:4] == b"-":
            return
        self._challenged = self._logging_in and line.startswith(b"334")
        self._logging_in = self._challenged
        if self._data_sent and line.startswith(b"354"):
            self._in_message, self._data_sent = True, False

    # -- lines ------------------------------------------------------------------------------------------

    def end(self, now_ns: int) -> None:
        """The session is over: show what has begun and did not end."""
        if self._in:
            self._reply(self._in, now_ns)
            self._in = b""
        self._end_message(now_ns)

    def _mark(self, plain: str, protected: str) -> str:
        return protected if self._protected else plain

    def _text(self, octets: bytes, *, masked: bool = False) -> str:
        text = octets.decode("utf-8", "backslashreplace")
        text = self._masked(text) if masked else text
        more = f" … {len(text) - _SHOWN:,} characters more" if len(text) > _SHOWN else ""
        return printable(text[:_SHOWN]) + more

    def _show(self, mark: str, words: str, now_ns: int) -> None:
        self._lines += 1
        if self._lines > MAX_LINES + 1:
            return
        if self._lines > MAX_LINES:
            mark, words = "=== ", f"no more than {MAX_LINES} lines of a session are shown"
        self._tell(f"{(now_ns - self._began_ns) / NS_PER_S:9.6f} {mark}{words}".rstrip())

    # -- secrets ----------------------------------------------------------------------------------------

    def _learn(self, secret: bytes) -> None:
        """Never show this, nor what it holds in base64."""
        self.hide(secret.decode("utf-8", "backslashreplace").strip())
        try:
            decoded = base64.b64decode(secret.strip(), validate=True)
        except ValueError:
            return
        for part in _SECRET_ENDS.split(decoded):
            for one in (part, part.rpartition(b"=")[2], part.rpartition(b":")[2]):
                self.hide(one.decode("utf-8", "backslashreplace"))

    def _masked(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) < _SHORT:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _MASK, text)
            else:
                text = text.replace(secret, _MASK)
        return text
