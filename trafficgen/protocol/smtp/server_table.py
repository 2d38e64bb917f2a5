"""Which command is legal in which state of a server session.

                          IDLE          SENDER        RECIPIENTS    CHUNKS
    EHLO HELO | LHLO      legal         legal         legal         legal           as RSET: RFC 5321 section 4.1.4
    STARTTLS              legal         503           503           503             RFC 3207 section 4
    AUTH                  legal         503           503           503             RFC 4954 section 4
    XCLIENT               legal         503           503           503             Postfix, XCLIENT_README
    XFORWARD              legal         503           503           503             Postfix, XFORWARD_README
    MAIL                  legal         503           503           503             RFC 5321 section 4.1.4
    RCPT                  503           legal         legal         503             RFC 3030 section 2
    DATA                  503           503           legal         503             RFC 2920 section 3.1, RFC 3030
    BDAT n                octets, 503   octets, 503   legal         legal           RFC 3030 section 2
    RSET NOOP VRFY HELP   legal         legal         legal         legal           RFC 5321 section 4.1.1
    QUIT                  legal         legal         legal         legal           RFC 5321 section 4.1.1.10

Not offered, or of the other protocol (LMTP has LHLO in place of EHLO and HELO, RFC 2033 section 4.1): 500.

Gives     a row for every verb: legal or which refusal, by state
Not here  what a command does (server); what it needs beyond the state: TLS, a login, an argument (server)
"""

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from mboxgen.enums import table_of
from trafficgen.protocol.smtp.capabilities import Capabilities


class ServerState(IntEnum):
    """Of the mail transaction; the places in `Row.by_state`."""

    IDLE = 0
    """No MAIL was accepted yet."""
    SENDER = 1
    RECIPIENTS = 2
    CHUNKS = 3
    """The first BDAT was accepted, the last one was not sent yet."""


class Legality(Enum):
    """What a state makes of a command."""

    LEGAL = "legal"
    OUT_OF_ORDER = "503"
    NO_RECIPIENT = "503, no error"
    """A client that pipelines has sent this before it could know that its recipients were refused (RFC 2920 3.1)."""
    DISCARD = "octets, 503"
    """What follows is read and discarded, then refused: RFC 3030 section 4.2 lets a client pipeline BDAT."""


_L, _503, _NO, _D = Legality.LEGAL, Legality.OUT_OF_ORDER, Legality.NO_RECIPIENT, Legality.DISCARD

ORDER: Final = b"503 5.5.1 not now\r\n"

Refusal = tuple[bytes, bool]
"""A reply, and whether it counts as an error."""

REFUSALS: Final[dict[Legality, Refusal | None]] = table_of(
    Legality, {_L: None, _503: (ORDER, True), _NO: (ORDER, False), _D: None}
)
"""None: the command is processed."""


class CommandRow(NamedTuple):
    """One command."""

    by_state: tuple[Legality, Legality, Legality, Legality]
    offered: Callable[[Capabilities], bool] = lambda _: True
    argument: bool = True
    """Whether it may have one (RFC 5321 section 4.1.1.4 and on)."""

    @property
    def refusals(self) -> tuple[Refusal | None, ...]:
        """By state."""
        return tuple(REFUSALS[legality] for legality in self.by_state)


_ANY: Final = (_L, _L, _L, _L)
_BETWEEN_MESSAGES: Final = (_L, _503, _503, _503)

TABLE: Final[dict[bytes, CommandRow]] = {
    b"EHLO": CommandRow(_ANY, lambda offer: not offer.lmtp),
    b"HELO": CommandRow(_ANY, lambda offer: not offer.lmtp),
    b"LHLO": CommandRow(_ANY, lambda offer: offer.lmtp),
    b"STARTTLS": CommandRow(_BETWEEN_MESSAGES, lambda offer: offer.starttls, argument=False),
    b"AUTH": CommandRow(_BETWEEN_MESSAGES, lambda offer: offer.auth),
    b"XCLIENT": CommandRow(_BETWEEN_MESSAGES, lambda offer: offer.xclient),
    b"XFORWARD": CommandRow(_BETWEEN_MESSAGES, lambda offer: offer.xforward),
    b"MAIL": CommandRow(_BETWEEN_MESSAGES),
    b"RCPT": CommandRow((_503, _L, _L, _503)),
    b"DATA": CommandRow((_503, _NO, _L, _503), argument=False),
    b"BDAT": CommandRow((_D, _D, _L, _L), lambda offer: "CHUNKING" not in offer.hidden),
    b"RSET": CommandRow(_ANY, argument=False),
    b"NOOP": CommandRow(_ANY),
    b"VRFY": CommandRow(_ANY),
    b"HELP": CommandRow(_ANY),
    b"QUIT": CommandRow(_ANY, argument=False),
}
