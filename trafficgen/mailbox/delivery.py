"""Deliver one message to one user: LMTP (RFC 2033), or SMTP.

    connect, greeting, LHLO, MAIL, RCPT, DATA, the message, QUIT

Takes     a message, its recipient, when it was due
Gives     its outcome, once; replies and failures to the recorder
Limits    the whole delivery has the plan's time limit (`worker` looks)
Source    one connection a message, and QUIT without waiting for its answer, as imaptest does it
"""

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Final

from trafficgen.mailbox.connection import Connection, Server
from trafficgen.mailbox.plan import Delivering, Protection
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.replies import Reply, ReplyReader

if TYPE_CHECKING:
    from trafficgen.mailbox.worker import Worker

_ROW: Final = Struct("=9q").pack
END_OF_DATA: Final = b".\r\n"


class DeliveryConnection(Connection):
    """One message on its way."""

    def __init__(self, server: Server, worker: "Worker", number: int, recipient: str, due_ns: int) -> None:
        super().__init__(server, worker)
        self.number = number
        self._worker = worker
        self._recipient = recipient
        self._due_ns = due_ns
        self._ready_ns = self._sent_ns = -1
        self._octets = 0
        self._pending: deque[Phase] = deque()
        self._reader = ReplyReader()
        self._refusal: Reply | None = None
        self._out: list[bytes] = []
        self._sent_from_ns = self.begun_ns  # when what is waited for was sent
        self._protected = server.protection is not Protection.STARTTLS

    def opened(self, now_ns: int) -> None:
        self._pending.append(Phase.GREETING)
        self._sent_from_ns = now_ns

    def took(self, step: str, elapsed_ns: int) -> None:
        self._worker.recorder.phase(step, elapsed_ns)

    def secured(self, now_ns: int) -> None:
        self._protected = True
        self._say_hello()

    def heard(self, data: bytes, now_ns: int) -> None:
        for reply in self._reader.feed(data):
            if not self._pending:
                self.end("a reply that nothing asked for", reply.text)
                return
            phase = self._pending.popleft()
            self._worker.recorder.reply(phase.value, reply.code, reply.enhanced, reply.text)
            self._answer(phase, reply, now_ns)
            if self.over:
                return
        if self._reader.fault:
            self.end("malformed reply", self._reader.fault)

    def flush(self) -> None:
        out, self._out = self._out, []
        self.write(out)

    def lost(self, reason: str, example: str) -> None:
        phase = self._pending[0] if self._pending else Phase.CONNECT
        self._worker.recorder.failure(phase.value, reason, example)
        self._close(Outcome.IN_DOUBT if self._sent_ns >= 0 else Outcome.FAILED, self._worker.now_ns())

    # -- the conversation -------------------------------------------------------------------------------

    def _say(self, phase: Phase, line: bytes) -> None:
        self._pending.append(phase)
        self._out.append(line)

    def _say_hello(self) -> None:
        word = b"LHLO" if self._worker.plan.delivering is Delivering.LMTP else b"EHLO"
        self._say(Phase.EHLO, word + b" traffic-gen.test\r\n")
        self._sent_from_ns = self._worker.now_ns()

    def _answer(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        if phase is Phase.GREETING or phase is Phase.EHLO:
            self._open_session(phase, reply, now_ns)
        elif phase is Phase.TLS:
            if reply.code == 220:
                self.start_tls()
            else:
                self._refuse(reply, now_ns)
        elif phase is Phase.MAIL or phase is Phase.RCPT:
            if reply.code >= 300:
                self._refusal = self._refusal or reply
                if not self._pending:
                    self._refuse(self._refusal, now_ns)
            elif not self._pending:
                self._go_on(phase)
        elif phase is Phase.DATA:
            self._on_data(reply, now_ns)
        elif self._refusal is not None:
            self._refuse(self._refusal, now_ns)
        elif reply.code == 250:
            self._close(Outcome.ACCEPTED, now_ns)
        else:
            self._refuse(reply, now_ns)

    def _open_session(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        if reply.code not in (220, 250):
            self._refuse(reply, now_ns)
            return
        self._worker.recorder.phase(phase.value, now_ns - self._sent_from_ns)
        if phase is Phase.GREETING:
            self._say_hello()
        elif not self._protected:
            self._say(Phase.TLS, b"STARTTLS\r\n")
        else:
            words = {line.split(b" ", 1)[0].upper() for line in reply.lines[1:]}
            recipient = self._recipient.encode()
            self._say(Phase.MAIL, b"MAIL FROM:<>\r\n")
            if b"PIPELINING" in words and self._worker.plan.pipelining:
                self._say(Phase.RCPT, b"RCPT TO:<%s>\r\n" % recipient)
                self._say(Phase.DATA, b"DATA\r\n")

    def _go_on(self, phase: Phase) -> None:
        if phase is Phase.MAIL:
            self._say(Phase.RCPT, b"RCPT TO:<%s>\r\n" % self._recipient.encode())
        else:
            self._say(Phase.DATA, b"DATA\r\n")

    def _on_data(self, reply: Reply, now_ns: int) -> None:
        if reply.code != 354:
            self._refuse(self._refusal or reply, now_ns)
            return
        self._pending.append(Phase.END_OF_DATA)
        if self._refusal is not None:  # RFC 2920 section 3.1: nothing to send, and yet an end of data is due
            self._out.append(END_OF_DATA)
            return
        mark, rest, self._octets = self._worker.mail.of(self.number)
        self._ready_ns = self._sent_ns = now_ns
        self._out += [mark, rest, END_OF_DATA]

    def _refuse(self, reply: Reply, now_ns: int) -> None:
        temporary = reply.code < 500
        self._close(Outcome.REJECTED_TEMPORARY if temporary else Outcome.REJECTED_PERMANENT, now_ns)

    def _close(self, outcome: Outcome, now_ns: int) -> None:
        if not self.over:
            self._out.append(b"QUIT\r\n")
            self.flush()
            self.finish()
        row = (
            self.number, outcome, 0, self._due_ns, self.begun_ns, self._ready_ns, self._sent_ns, now_ns, self._octets,
        )  # fmt: skip
        self._worker.delivered(self, outcome, _ROW(*row), now_ns)
