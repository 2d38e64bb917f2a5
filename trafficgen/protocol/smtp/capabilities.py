"""What a server calls itself and EHLO offers, and which addresses and parameters MAIL and RCPT accept.

Takes     a name and the extensions to offer; the line of a MAIL or RCPT command
Gives     the greeting and the replies to HELO and EHLO; the address and its parameters, or the reply that refuses them
Fails     never
Not here  when a command is allowed (server)
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from trafficgen.printable import printable
from trafficgen.protocol.smtp.server_auth import offered as offered_mechanisms
from trafficgen.protocol.smtp.server_client import XCLIENT_NAMES, XFORWARD_NAMES

NAME: Final = b"sink.traffic-gen.test"
"""What a sink calls itself unless it is told otherwise."""

MAX_PATH_OCTETS: Final = 512
"""RFC 5321 section 4.5.3.1.3 asks for 256; with SMTPUTF8 one character may take four octets."""

MAX_DOMAIN_OCTETS: Final = 255
"""RFC 5321 section 4.5.3.1.2."""

_SYNTAX: Final = b"501 5.5.4 expected an address in angle brackets\r\n"
_AFTER_PATH: Final = b"501 5.5.4 expected a space between the address and its parameters\r\n"
_PATH_TOO_LONG: Final = b"501 5.1.7 address too long\r\n"
PARAMETER: Final = b"555 5.5.4 parameter not known\r\n"
_TWICE: Final = b"501 5.5.4 the same parameter twice\r\n"

# RFC 5321 section 4.1.2, wider: unquoted octets may be anything but controls, spaces and the four delimiters, because
# the clients under test send addresses that the grammar forbids. No address is cut short: ">" ends the path unless it
# stands in a quoted local part. A source route is accepted and ignored (appendix C).
_PLAIN: Final = rb'\x00-\x20"<>\\\x7f'
_QUOTED: Final = rb'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"'
_PATH: Final = re.compile(
    rb" *<(?:@[^:%b]+:(?!>))?((?!@)(?:(?:[^%b]|%b)*@)?[^@%b]*)>" % (_PLAIN, _PLAIN, _QUOTED, _PLAIN)
)

# RFC 1870, 6152, 3030, 6531, 3461, 4954, 8689, 6710, 2852 (a message can be returned after a positive time only);
# values are checked as far as a wrong one would change what we do.
_MAIL: Final = re.compile(
    rb"SIZE=\d{1,20}|BODY=(?:7BIT|8BITMIME|BINARYMIME)|SMTPUTF8|RET=(?:FULL|HDRS)|ENVID=[!-<>-~]{1,100}|AUTH=[!-<>-~]+"
    rb"|REQUIRETLS|MT-PRIORITY=(?:-?[1-9]|0)|BY=(?:[+-]?\d{1,9};N|\+?(?!0+;)\d{1,9};R)T?",
    re.IGNORECASE,
)
_RCPT: Final = re.compile(
    rb"NOTIFY=(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*)|ORCPT=[!-<>-~]+", re.IGNORECASE
)
_SIZE: Final = re.compile(rb" SIZE=(\d+)", re.IGNORECASE)

_KEYWORDS: Final = {
    b"SIZE": "SIZE", b"BODY": "8BITMIME", b"BODY=BINARYMIME": "BINARYMIME", b"SMTPUTF8": "SMTPUTF8", b"RET": "DSN",
    b"ENVID": "DSN", b"NOTIFY": "DSN", b"ORCPT": "DSN", b"AUTH": "AUTH", b"REQUIRETLS": "REQUIRETLS",
    b"MT-PRIORITY": "MT-PRIORITY", b"BY": "DELIVERBY",
}  # fmt: skip
"""The extension that each parameter belongs to; a whole one stands before its name."""


@dataclass(frozen=True)
class Capabilities:
    """What a server session supports. `hidden` names extensions that EHLO leaves out.

    `max_octets` is the value of SIZE, 0 for no limit. `starttls` needs a connection that can start TLS. `password`:
    of all users, b"" when any is right. `require_tls`, `require_auth`: MAIL is refused until then. LMTP (RFC 2033)
    greets with LHLO and answers the end of data once for each recipient. `name` is a domain or an address literal.
    """

    lmtp: bool = False
    starttls: bool = False
    auth: bool = False
    password: bytes = field(default=b"", repr=False)
    xclient: bool = False
    xforward: bool = False
    require_tls: bool = False
    require_auth: bool = False
    max_octets: int = 0
    hidden: frozenset[str] = frozenset()
    name: bytes = NAME

    @cached_property
    def greeting(self) -> bytes:
        """What a session begins with."""
        return b"220 " + self.name + b" ESMTP ready, everything is taken and nothing is delivered\r\n"

    @cached_property
    def helo(self) -> bytes:
        """The reply to HELO."""
        return b"250 " + self.name + b"\r\n"

    def ehlo(self, *, secure: bool) -> bytes:
        """The reply to EHLO or LHLO."""
        return self._secure if secure else self._plain

    def know(self, parameters: bytes, *, secure: bool) -> bool:
        """Whether parameters of MAIL or RCPT are of extensions that are offered (RFC 5321 section 4.1.1.11)."""
        words = parameters.upper().split()
        keywords = (_KEYWORDS.get(word) or _KEYWORDS[word.partition(b"=")[0]] for word in words)
        return self._offered[secure].keys() >= set(keywords)

    @cached_property
    def _plain(self) -> bytes:
        return self._reply(secure=False)

    @cached_property
    def _secure(self) -> bytes:
        return self._reply(secure=True)

    @cached_property
    def _offered(self) -> tuple[dict[str, None], dict[str, None]]:
        """Keywords in the order of EHLO, in a plain and in a protected session."""
        return self._keywords(secure=False), self._keywords(secure=True)

    def _keywords(self, *, secure: bool) -> dict[str, None]:
        return dict.fromkeys(name for name, on in self.offers(secure=secure).items() if on and name not in self.hidden)

    def offers(self, *, secure: bool) -> dict[str, bool]:
        """Every extension there is, in the order of EHLO: whether a session offers it where it is not hidden."""
        return {
            "PIPELINING": True,
            "SIZE": True,
            "STARTTLS": self.starttls and not secure,
            "AUTH": self.auth,
            "ENHANCEDSTATUSCODES": True,
            "8BITMIME": True,
            "SMTPUTF8": True,
            "DSN": True,
            "CHUNKING": True,
            "BINARYMIME": "CHUNKING" not in self.hidden,  # RFC 3030 section 3
            "REQUIRETLS": secure,  # RFC 8689 section 2
            "MT-PRIORITY": True,
            "DELIVERBY": True,
            "XCLIENT": self.xclient,
            "XFORWARD": self.xforward,
        }

    def _reply(self, *, secure: bool) -> bytes:
        words = {"SIZE": b"SIZE %d" % self.max_octets, "AUTH": b" ".join((b"AUTH", *offered_mechanisms(self.password)))}
        words |= {
            "XCLIENT": b" ".join((b"XCLIENT", *XCLIENT_NAMES)),
            "XFORWARD": b" ".join((b"XFORWARD", *XFORWARD_NAMES)),
        }
        listed = [words.get(name, name.encode("ascii")) for name in self._offered[secure]]
        lines = [self.name, *listed]
        return b"".join(b"250%b%b\r\n" % (b"-" if line is not lines[-1] else b" ", line) for line in lines)


def read_mail(line: bytes) -> tuple[bytes, int, bytes] | bytes:
    """Sender, declared size (0: none) and all parameters of a MAIL command, or the reply that refuses it.

    b"" is the null sender.
    """
    found = _path(line, b"FROM:", _MAIL)
    if isinstance(found, bytes):
        return found
    size = _SIZE.search(found[1]) if found[1] else None
    return found[0], int(size[1]) if size else 0, found[1]


def read_rcpt(line: bytes) -> tuple[bytes, bytes] | bytes:
    """Recipient and parameters of a RCPT command, or the reply that refuses it."""
    found = _path(line, b"TO:", _RCPT)
    if isinstance(found, bytes):
        return found
    return found if found[0] else _SYNTAX


def _path(line: bytes, keyword: bytes, parameters: re.Pattern[bytes]) -> tuple[bytes, bytes] | bytes:
    begin = 5 + len(keyword)
    found = _PATH.match(line, begin)
    if line[5:begin].upper() != keyword or found is None:
        return _SYNTAX
    address, rest = found[1], line[found.end() :]
    if len(address) > MAX_PATH_OCTETS or len(address) - address.rfind(b"@") - 1 > MAX_DOMAIN_OCTETS:
        return _PATH_TOO_LONG
    if not rest:
        return address, rest
    if not rest.startswith(b" "):
        return _AFTER_PATH
    words = [word for word in rest.split(b" ") if word]
    if not all(parameters.fullmatch(word) for word in words):
        return PARAMETER
    if len({word.partition(b"=")[0].upper() for word in words}) < len(words):
        return _TWICE  # RFC 3461 section 4; of any other parameter only one would count, too
    return address, rest


def extension(name: str) -> str:
    """The keyword that EHLO has for it. Raises ValueError for what no session offers, which hiding would not change."""
    known = Capabilities().offers(secure=False)
    if name.upper() not in known:
        raise ValueError(f'expected one of {", ".join(known)}, got "{printable(name)}"')
    return name.upper()
