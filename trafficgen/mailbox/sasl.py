"""One login by a mechanism of SASL, as IMAP (RFC 9051 section 6.2.2) and POP3 (RFC 5034) carry it.

Takes     a mechanism, a user and a password; challenges as they stand on the wire
Gives     answers, not yet encoded; at the end, what was wrong with the server's part
Never     raises for what a server says: its answers from then on are empty, which no server takes for a login
Not here  the mechanisms (`protocol.smtp.client_auth`), base64 of what we say (imap, pop3)
"""

import binascii
from base64 import b64decode

from trafficgen.plan import Mechanism
from trafficgen.protocol.smtp.client_auth import EXCHANGES, AuthBroken


class SaslLogin:
    """`first`: what may go with the command; None when the mechanism begins with a challenge."""

    def __init__(self, mechanism: Mechanism, user: str, password: str) -> None:
        self.mechanism = mechanism
        self._exchange = EXCHANGES[mechanism](user, password)
        self.first = self._exchange.first
        self._broken: AuthBroken | None = None

    def answer(self, challenge: bytes) -> bytes:
        """The answer to a challenge, which is in base64."""
        if self._broken is None:
            try:
                return self._exchange.answer(b64decode(challenge, validate=True))
            except binascii.Error:
                self._broken = AuthBroken("malformed challenge", ascii(challenge[:80])[2:-1])
            except AuthBroken as broken:
                self._broken = broken
        return b""

    def fault(self, *, ok: bool) -> AuthBroken | None:
        """What was wrong when the server has answered; None when nothing was. `ok`: it says that we are logged in."""
        if ok and self._broken is None:
            try:
                self._exchange.accepted()
            except AuthBroken as broken:
                self._broken = broken
        return self._broken
