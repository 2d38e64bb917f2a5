"""One message that a test's sink has received.

Takes     the envelope and the octets, as they came
Gives     what a test asks about: subject and body as text, and the parsed message for everything else
Fails     never: what cannot be decoded has U+FFFD in its place, as in a mail program
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import cached_property


@dataclass(frozen=True)
class ReceivedMail:
    """One message. `sender` and `recipients` are the envelope's (MAIL FROM, RCPT TO), not the header's."""

    sender: str
    """"" is the null sender of bounces (RFC 5321 section 4.5.5)."""
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    """The octets as they came: with CRLF, dot-stuffing undone, nothing added."""

    @cached_property
    def email(self) -> EmailMessage:
        """The parsed message: header fields by name, parts, attachments (`email.message.EmailMessage`)."""
        return BytesParser(policy=policy.default).parsebytes(self.raw)

    @property
    def subject(self) -> str:
        """Its Subject, encoded words decoded (RFC 2047); "" without one."""
        return str(self.email["subject"] or "")

    @property
    def body(self) -> str:
        """Its text with LF line ends: the plain one, or the HTML where there is no other; "" without any."""
        return self._text(("plain", "html"))

    @property
    def html(self) -> str:
        """Its HTML with LF line ends; "" without any."""
        return self._text(("html",))

    def _text(self, kinds: Iterable[str]) -> str:
        part = self.email.get_body(tuple(kinds))
        if part is None:
            return ""
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)  # of a part that is no multipart
        try:
            text = octets.decode(str(part.get_content_charset("utf-8")), "replace")
        except LookupError:  # a charset that nobody knows
            text = octets.decode("utf-8", "replace")
        return text.replace("\r\n", "\n")

    def __str__(self) -> str:
        return f"<{self.sender}> to {', '.join(f'<{one}>' for one in self.recipients)}: {self.subject!r}"
