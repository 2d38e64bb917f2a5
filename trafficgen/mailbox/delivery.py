"""Deliver one message to one user: LMTP (RFC 2033), or SMTP, by the session machine that sends mail (`protocol.smtp`).

    connect, [greeting, LHLO, STARTTLS, LHLO again, or] greeting and LHLO, MAIL, RCPT, DATA, the message and QUIT

Takes     a message, its recipient, when it was due
Gives     its outcome, once; replies and failures to the recorder
Limits    the whole delivery has the plan's time limit (`worker` looks)
Source    one connection a message, and QUIT without waiting for its answer, as imaptest does it
Not here  what comes behind the opening (`protocol.smtp.client`), the mail itself (`mail`)
"""

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from trafficgen.mailbox.connection import Connection, Server, Tasks
from trafficgen.mailbox.plan import Delivering, MailboxPlan, Protection
from trafficgen.measure.recorder import Recorder
from trafficgen.outcomes import Outcome, Phase
from trafficgen.plan import ExtensionPlan
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import Extensions, SessionOptions, Work
from trafficgen.protocol.smtp.layout import layout_for
from trafficgen.protocol.smtp.opening import REFUSED, hello_line
from trafficgen.protocol.smtp.replies import Reply, ReplyReader
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.steps import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from trafficgen.mailbox.mail import Mail, ReadyMail

_OF_ROW: Final = Struct("=9q").unpack
_STARTTLS: Final = STEPS[Phase.TLS].command + b"\r\n"


class _MailForOne(NamedTuple):
    """A `protocol.smtp.interfaces.WireMessage` for one recipient."""

    number: int
    envelope: bytes
    head: bytes
    body: bytes
    tail: bytes
    octets: int
    eight_bit: bool
    domain: int = 0
    recipients: int = 1


class _Account:
    """Implements `protocol.smtp.interfaces.SessionAccount`: its own rows, and the recorder."""

    def __init__(self, recorder: Recorder, on_row: "Callable[[bytes], None]") -> None:
        self.rows = self
        self.frombytes = on_row
        self.phase = recorder.phase
        self.failure = recorder.failure
        self._recorder = recorder
        self.refused_recipient: str | None = None
        """What the server said to RCPT, if that was a refusal for good."""

    def reply(self, phase: Phase, reply: Reply, count: int = 1) -> None:
        if phase is Phase.RCPT and reply.code >= 500:
            self.refused_recipient = reply.words
        self._recorder.reply(phase.value, reply.code, reply.enhanced, reply.text, count)

    def recipients_differ(self, number: int, outcome: Outcome, recipients: tuple[int, ...]) -> None:
        raise AssertionError("a message to one recipient ends as he does")

    def trouble(self, words: str) -> None:
        """Its row says it."""


class _OneMessage:
    """A `protocol.smtp.interfaces.Source` of a session that has all its mail from the start."""

    def take(self, _now_ns: int) -> Work | None:
        return None

    def give_back(self, work: Work) -> None:
        raise AssertionError("nothing rides along")


class DeliverySessions:
    """What all deliveries of a worker have in common."""

    def __init__(self, plan: MailboxPlan, recorder: Recorder) -> None:
        hello = Phase.LHLO if plan.delivering is Delivering.LMTP else Phase.EHLO
        self.options = SessionOptions(b"traffic-gen.test", max_messages=1, pipelining=plan.pipelining, hello=hello)
        self.recorder = recorder
        self._layout = layout_for(0, ExtensionPlan(), "")
        self._source = _OneMessage()
        self._cache = ReplyCache()

    def account(self, on_row: "Callable[[bytes], None]") -> _Account:
        """Where a session tells what becomes of its message."""
        return _Account(self.recorder, on_row)

    def new(self, account: _Account) -> ClientSession:
        """A session that hands one message over."""
        return ClientSession(self._source, account, self.options, self._cache)

    def message(self, number: int, recipient: str, mail: "ReadyMail") -> _MailForOne:
        """The message as it goes over the wire, from the empty reverse-path, as imaptest's."""
        layout = self._layout
        to = recipient.encode()
        plain = layout.sender + layout.after_sender + layout.first_recipient + to + layout.end_of_addresses
        (envelope,) = layout.envelopes([plain], [mail.octets], [mail.eight_bit])
        return _MailForOne(number, envelope, mail.mark, mail.rest, layout.end_of_data, mail.octets, mail.eight_bit)

    def tally(self) -> None:
        """Replies that were compared and not parsed go to the recorder."""
        self._cache.tally_all(_Account(self.recorder, lambda _row: None))


class DeliveryOwner(Tasks, Protocol):
    """What a delivery asks of the worker that began it, and tells it."""

    mail: "Mail"
    now_ns: "Callable[[], int]"

    def delivered(self, delivery: "DeliveryConnection", outcome: Outcome, row: bytes, now_ns: int) -> None: ...


class DeliveryConnection(Connection):
    """One message on its way."""

    def __init__(
        self,
        server: Server,
        worker: DeliveryOwner,
        sessions: DeliverySessions,
        number: int,
        recipient: str,
        due_ns: int,
    ) -> None:
        super().__init__(server, worker)
        self.number = number
        self._worker = worker
        self._sessions = sessions
        self._ended = False
        self.recipient = recipient
        self._account = sessions.account(self._on_row)
        self._session = sessions.new(self._account)
        self._session.greet((sessions.message(number, recipient, worker.mail.of(number)), due_ns), self.begun_ns)
        # Until the server has agreed to TLS, and has been greeted again, the session is not asked.
        hello = sessions.options.hello
        opening = (Phase.GREETING, hello, Phase.TLS, hello) if server.protection is Protection.STARTTLS else ()
        self._opening = deque(opening)
        self._reader = ReplyReader()
        self._said_ns = self.begun_ns
        self._connected = False

    @property
    def refused_recipient(self) -> str | None:
        """What the server said to its recipient, if that was a refusal for good."""
        return self._account.refused_recipient

    def opened(self, now_ns: int) -> None:
        self._connected = True
        self._said_ns = now_ns
        self._session.connected(now_ns)

    def took(self, step: str, elapsed_ns: int) -> None:
        self._sessions.recorder.phase(step, elapsed_ns)

    def secured(self, now_ns: int) -> None:
        self._say_hello(now_ns)

    def heard(self, data: bytes, now_ns: int) -> None:
        if self._opening:
            self._open_further(data, now_ns)
            return
        self.write([bytes(piece) for piece in self._session.feed(data, now_ns)])
        if self._ended and not self.over:
            self.finish()

    def lost(self, reason: str, example: str) -> None:
        phase = self._opening[0] if self._opening else None
        if not self._connected:
            phase = Phase.TLS if self.transport is not None else Phase.CONNECT
        self._session.lost(reason, example, self._worker.now_ns(), phase=phase)

    def _on_row(self, row: bytes) -> None:
        if not self._ended:
            self._ended = True
            _, outcome, *_, now_ns, _ = _OF_ROW(row)
            self._worker.delivered(self, Outcome(outcome), row, now_ns)

    # -- up to TLS --------------------------------------------------------------------------------------

    def _open_further(self, data: bytes, now_ns: int) -> None:
        for reply in self._reader.feed(data):
            phase = self._opening[0]
            self._sessions.recorder.reply(phase.value, reply.code, reply.enhanced, reply.text)
            if reply.code not in STEPS[phase].good:
                self.end(REFUSED, reply.words)
                return
            self._opening.popleft()
            self._go_on(phase, reply, now_ns)
            if phase is Phase.TLS or not self._opening:
                break
        if not self.over and (fault := self._reader.fault) is not None:
            self.end("malformed reply", fault)

    def _go_on(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        if phase is not Phase.TLS:
            step = Phase.GREETING if phase is Phase.GREETING else Phase.EHLO
            self._sessions.recorder.phase(step.value, now_ns - self._said_ns)
        if phase is Phase.GREETING:
            self._say_hello(now_ns)
        elif phase is Phase.TLS:
            if self._reader.empty:
                self.start_tls()
            else:
                self.end("TLS failed", "octets behind the answer to STARTTLS, which nobody has protected")
        elif self._opening:
            self.write([_STARTTLS])
        else:
            self.write([bytes(piece) for piece in self._session.adopt(Extensions.offered(reply.lines), now_ns)])

    def _say_hello(self, now_ns: int) -> None:
        self._said_ns = now_ns
        self.write([hello_line(self._sessions.options.hello, self._sessions.options)])
