"""What most clients send, answered past the general way: whole groups of commands, and messages in chunks.

Takes     octets received, while nothing but plain mail is under way
Gives     what the general way would, or nothing: then that has to look; tests compare the two
Never     decides: a policy is asked whether it accepts as usual, and if not, the general way asks it again
Not here  the general way (server); a message that came whole (framing: `_fast_message`)
"""

import re
from typing import TYPE_CHECKING, Final

from trafficgen.protocol.smtp import framing
from trafficgen.protocol.smtp.framing import Framing
from trafficgen.protocol.smtp.policy_hooks import PolicyHooks
from trafficgen.protocol.smtp.receiver import Receiver

if TYPE_CHECKING:
    from trafficgen.protocol.smtp.server_auth import AuthExchange

MAX_RECIPIENTS: Final = 1000
OK: Final = b"250 2.0.0 ok\r\n"

_MAIL: Final = re.compile(framing.MAIL).fullmatch
_RCPT: Final = re.compile(framing.RCPT).fullmatch
_NO_PARAMETERS: Final[tuple[list[bytes], dict[bytes, bytes]]] = ([], {})

_CHUNK: Final = re.compile(rb"RSET\r\n" + framing.MAIL + framing.RCPT + rb"BDAT ([0-9]{1,9}) LAST\r\n")
"""All that comes before the octets of a message with one recipient that follows another message."""
_BEFORE_CHUNK: Final = OK + framing.SENDER_OK + framing.RECIPIENT_OK
_CHUNK_TAKEN: Final = _BEFORE_CHUNK + framing.TAKEN


class FastPaths(Framing):
    """A session's short ways. `_open`: MAIL needs no TLS and no login first. `_plain`: chunks need no look at all."""

    __slots__ = ("_login", "_open", "_parameters", "_plain")

    def __init__(self, receiver: Receiver, policy: PolicyHooks | None, *, lmtp: bool) -> None:
        super().__init__(receiver, policy, lmtp=lmtp)
        self._login: AuthExchange | None = None
        """Under way."""
        self._parameters = _NO_PARAMETERS  # with the recipients that they belong to
        self._open = self._plain = False

    def feed(self, data: bytes) -> bytes:
        if self._open and not self._in_data and not self._rest and (reply := self._fast_commands(data)):
            return reply
        return super().feed(data)

    def _fast_commands(self, data: bytes) -> bytes:
        """The reply to one plain MAIL, RCPT or DATA, or to all three in one group, that arrived alone, is legal now and
        is accepted; b"" to anything else.

        A lock-step client sends three of them a message, at a third of the general way's cost (benchmarks/sink.py).
        """
        if self.closed or self.suspension is not None or self._login is not None or self._chunk or self._chunked:
            return b""
        if self._decision is not None:  # made before a delay that has passed
            return b""
        policy = self._policy
        if self.sender is None:
            if (mail := _MAIL(data)) is not None:
                if not (policy is None or policy.accept_mail()):
                    return b""
                self.sender = mail[1]
                return framing.SENDER_OK
            if (envelope := framing.ENVELOPE(data)) is None:
                return b""
            if not (policy is None or policy.accept_envelope(envelope[1], envelope[2])):
                return b""
            self.sender = envelope[1]
            self.recipients = [envelope[2]]
            self._in_data = True
            return framing.ENVELOPE_OK
        recipients = self.recipients
        if data == framing.DATA:
            if not recipients or self._parameters[0] is recipients or not (policy is None or policy.accept_data()):
                return b""
            self._in_data = True
            return framing.GO_AHEAD
        if (rcpt := _RCPT(data)) is None or len(recipients) >= MAX_RECIPIENTS:
            return b""
        if not (policy is None or policy.accept_rcpt(rcpt[1])):
            return b""
        recipients.append(rcpt[1])
        return framing.RECIPIENT_OK

    def _read_commands(self, data: bytes, replies: list[bytes]) -> bytes | None:
        if self._plain and not self._rest and data.startswith(b"RSET\r\nMAIL") and self._login is None:
            return super()._read_commands(rest, replies) if (rest := self._fast_chunks(data, replies)) else None
        return super()._read_commands(data, replies)

    def _fast_chunks(self, data: bytes, replies: list[bytes]) -> bytes:
        """Accept whole messages of one recipient, one after another; returns the octets after them.

        A quarter of the cost command by command (benchmarks/sink.py: 3.7 µs and 16 at 5 KB, 2026-11-22, 2-core AMD
        EPYC virtual machine).
        """
        self._reset()
        begin = 0
        while (found := _CHUNK.match(data, begin)) is not None:
            end = found.end() + int(found[3])
            if end > len(data):
                break
            self.sender = found[1]
            self.recipients = [found[2]]
            self._receiver.piece(data[found.end() : end])
            try:
                self._receiver.ended(1)
                replies.append(_CHUNK_TAKEN)
            except OSError as error:
                replies.append(_BEFORE_CHUNK + self._not_stored(error))
            self._reset()
            begin = end
        return data[begin:]
