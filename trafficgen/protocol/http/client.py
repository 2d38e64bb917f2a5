"""A session that injects messages by HTTP/1.1: one request a message, one after the other on a kept connection.

    > POST, head and body   < 200 with what became of each recipient   > POST …
    max_messages reached:   > POST with Connection: close   < 200   the server closes
    < 4xx, 5xx              every recipient is refused; the connection stays, unless the answer closes it

Takes     octets received and the time they came; work from `Source`
Gives     buffers to write; one row in `SessionAccount.rows` for every finished message
Fails     never because of a peer: what breaks HTTP's rules ends the session
Not here  sockets and time limits (engine), HTTP's grammar (h11), what requests and answers say (injection)

A request is answered before the next one is written, so that an answer can only be its own. One that has left this
machine and has no whole answer is in doubt: the server may have taken all of it, or a part.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

import h11

from mboxgen.counted import number_of
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.http.injection import KIND, read_answer, request_body
from trafficgen.protocol.smtp.conversation import UNASKED
from trafficgen.protocol.smtp.interfaces import ROW, Buffer, SessionAccount, Source, Work
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.steps import STEPS
from trafficgen.protocol.smtp.transaction import Transaction

REFUSED: Final = "recipients refused"
UNREADABLE: Final = "unreadable reply"
NOT_UTF_8: Final = "not UTF-8"

MAX_ANSWER_OCTETS: Final = 1 << 20
"""An answer has an address and an error for each refused recipient, of 1,000 at most."""

_TOO_BUSY: Final = (408, 425, 429)
"""What a 4xx may say that another time may change (RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4)."""

_SHOWN: Final = 150


class InjectionOptions(NamedTuple):
    """How every session of a run injects: Host and path of the target, value of the Authorization header (b"": none),
    KumoMTA's two ways of answering sooner, messages a session (0 = no limit)."""

    host: bytes
    path: bytes
    authorization: bytes = b""
    defer_spool: bool = False
    defer_generation: bool = False
    max_messages: int = 0


class InjectionSession:
    """One connection. `busy`, `closed`, `served`, `parted`: as those of `protocol.smtp.client.ClientSession`."""

    __slots__ = (
        "_account", "_answer", "_head", "_headers", "_http", "_left", "_options", "_source", "_transaction", "busy",
        "closed", "parted", "served", "waiting_since_ns",
    )  # fmt: skip

    def __init__(self, source: Source, account: SessionAccount, options: InjectionOptions) -> None:
        self._source = source
        self._account = account
        self._options = options
        self._left = options.max_messages or -1
        self._http = h11.Connection(h11.CLIENT)
        self._transaction = Transaction()
        self._head: h11.Response | None = None
        self._answer = bytearray()
        self._headers = [(b"Host", options.host), (b"Content-Type", KIND)]
        if options.authorization:
            self._headers.append((b"Authorization", options.authorization))
        self.busy = self.closed = self.served = self.parted = False
        self.waiting_since_ns = -1
        """Since when the answer is waited for."""

    @property
    def in_flight(self) -> int:
        """Messages at work."""
        return int(self._transaction.message is not None)

    held = in_flight

    @property
    def limit_s(self) -> int:
        """How long an answer may take where no limit is set: as SMTP's end of data."""
        return STEPS[Phase.REQUEST].limit_s

    # -- octets out -------------------------------------------------------------------------------------

    def greet(self, work: Work, now_ns: int) -> None:
        """A connection is being made for `work`."""
        self._assign(work, now_ns)
        self.waiting_since_ns = now_ns
        self.busy = True

    def connected(self, now_ns: int) -> list[Buffer]:
        """The connection is up, and the client speaks first; returns what to write."""
        out: list[Buffer] = []
        self._begin(now_ns, out)
        return out

    def start(self, work: Work, now_ns: int) -> list[Buffer]:
        """Give an idle session a message; returns what to write."""
        self._assign(work, now_ns)
        return self.connected(now_ns)

    def _assign(self, work: Work, now_ns: int) -> None:
        self._transaction.assign(work, now_ns)
        self._left -= self._left > 0

    def _begin(self, now_ns: int, out: list[Buffer]) -> None:
        """Write the message at work, or the next one that can be written."""
        while not self._write(now_ns, out):
            self._finish(Outcome.FAILED, now_ns)
            if not self._take(now_ns):
                return

    def _take(self, now_ns: int) -> bool:
        """Turn to the next message; False when there is none, or none may follow on this connection."""
        if self._left == 0:
            self._close()
        elif (work := self._source.take(now_ns)) is not None:
            self._assign(work, now_ns)
            return True
        self.busy = False
        return False

    def _write(self, now_ns: int, out: list[Buffer]) -> bool:
        """Write the request of the message at work. False when JSON cannot carry it."""
        message, options = self._transaction.message, self._options
        assert message is not None
        try:
            body = request_body(message, defer_spool=options.defer_spool, defer_generation=options.defer_generation)
        except UnicodeDecodeError:
            words = f"message {message.number} is not UTF-8, and JSON can carry nothing else"
            self._account.failure(Phase.REQUEST, NOT_UTF_8, words)
            self._account.trouble(words)
            return False
        headers = [*self._headers, (b"Content-Length", b"%d" % len(body))]
        if self._left == 0:
            headers.append((b"Connection", b"close"))
        send = self._http.send
        head = send(h11.Request(method=b"POST", target=options.path, headers=headers))
        assert head is not None
        send(h11.Data(data=body))
        send(h11.EndOfMessage())
        out += (head, body)
        self._transaction.sent_ns = self.waiting_since_ns = now_ns
        self.busy = self.served = True
        return True

    def quit(self, now_ns: int) -> list[Buffer]:
        """End an idle session: HTTP has no goodbye."""
        self._close()
        return []

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        """What the server sent; returns the buffers to write. Look at `busy` and `closed` afterwards."""
        return self.feed_unsent(data, now_ns, 0)

    def feed_unsent(self, data: bytes, now_ns: int, unsent: int) -> Collection[Buffer]:
        """`feed`, while the last `unsent` octets that were written have not left this machine."""
        out: list[Buffer] = []
        if self.closed:
            return out
        if self._transaction.message is None:
            shown = data[:_SHOWN].decode("ascii", "backslashreplace").partition("\r\n")[0]
            self._end(UNASKED, shown, now_ns, Phase.IDLE)
            return out
        try:
            self._http.receive_data(data)
            if self._read():
                self._answered(now_ns, unsent)
                self._go_on(now_ns, out, in_step=not unsent)
        except h11.RemoteProtocolError as error:
            self._end("malformed reply", str(error)[:_SHOWN], now_ns, unsent=unsent)
        return out

    def _read(self) -> bool:
        """Whether the answer is whole. Raises RemoteProtocolError."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._answer += event.data
                if len(self._answer) > MAX_ANSWER_OCTETS:
                    raise h11.RemoteProtocolError(f"an answer of over {MAX_ANSWER_OCTETS} octets")
            elif isinstance(event, h11.EndOfMessage):
                return True
            elif not isinstance(event, h11.InformationalResponse):
                return False

    def _answered(self, now_ns: int, unsent: int = 0) -> None:
        """The answer is whole: what it means."""
        head, answer = self._head, bytes(self._answer)
        assert head is not None
        self._head = None
        self._answer.clear()
        status = head.status_code
        reply = Reply(status, "", (_words(head, answer).encode("ascii"),))
        if unsent and status < 400:
            self._account.reply(Phase.REQUEST, reply)
            self._end(UNASKED, reply.words, now_ns, unsent=unsent)
            return
        self._account.reply(Phase.REQUEST, reply)
        if 200 <= status < 300:
            self._taken(answer, now_ns)
        else:
            self._account.trouble(f"the server answered the request with {reply.words}")
            temporary = status in _TOO_BUSY or status >= 500
            self._finish(Outcome.REJECTED_TEMPORARY if temporary else Outcome.REJECTED_PERMANENT, now_ns)

    def _taken(self, answer: bytes, now_ns: int) -> None:
        at, account = self._transaction, self._account
        assert at.message is not None
        recipients = at.message.recipients
        try:
            taken = read_answer(answer, recipients, deferred=self._options.defer_generation)
        except ValueError as error:
            account.failure(Phase.REQUEST, UNREADABLE, str(error))
            account.trouble(f"{UNREADABLE}: {error}")
            self._finish(Outcome.IN_DOUBT, now_ns)
            return
        if taken.refused:
            account.failure(Phase.REQUEST, REFUSED, taken.error, taken.refused)
            account.trouble(
                f"{taken.refused} of {number_of(recipients, 'recipient')} of a request refused: {taken.error}"
            )
        if not taken.accepted:
            self._finish(Outcome.REJECTED_PERMANENT, now_ns)
            return
        at.refused = (Outcome.REJECTED_PERMANENT,) * taken.refused
        self._finish(Outcome.ACCEPTED, now_ns)

    def _go_on(self, now_ns: int, out: list[Buffer], *, in_step: bool) -> None:
        """Turn to the next message, if the connection lets us."""
        http = self._http
        if self.closed:
            return
        if http.trailing_data[0]:
            shown = http.trailing_data[0][:_SHOWN].decode("ascii", "backslashreplace").partition("\r\n")[0]
            self._end(UNASKED, shown, now_ns, Phase.IDLE)
        elif not in_step:
            self._close()
        elif http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            if self._take(now_ns):
                self._begin(now_ns, out)
        else:  # one of us said that it closes
            self.parted = True
            self._close()

    # -- the session ends -------------------------------------------------------------------------------

    def lost(
        self,
        reason: str,
        example: str,
        now_ns: int,
        *,
        phase: Phase | None = None,
        unsent: int = 0,
        missing: bool = False,
    ) -> None:
        """The connection is gone or given up. The message at work is in doubt when all of its request was sent.

        An answer without a length ends with the connection (RFC 9112 section 6.3). For the rest see
        `protocol.smtp.client.ClientSession.lost`.
        """
        if self._head is not None and not (unsent or missing):
            try:
                self._http.receive_data(b"")
                if self._read():
                    self._answered(now_ns)
                    self._close()
                    return
            except h11.RemoteProtocolError:
                pass  # it is cut off
        self._end(reason, example, now_ns, phase, unsent=unsent)

    def withdraw(self) -> bool:
        """We stop: if no octet of the message was sent, give it back and close. Whether that was so."""
        at = self._transaction
        if self.closed or at.message is None or not at.untouched:
            return False
        self._source.give_back(at.take_back())
        self._close()
        return True

    def _end(self, reason: str, example: str, now_ns: int, phase: Phase | None = None, *, unsent: int = 0) -> None:
        if self.closed:
            return
        at = self._transaction
        harmed = at.message is not None
        phase = phase or (Phase.REQUEST if harmed else None)
        if phase is not None:
            self._account.failure(phase, reason, example)
        if harmed:
            assert phase is not None
            self._account.trouble(f"{reason} at {phase.value.upper()}" + (f": {example}" if example else ""))
            self._finish(Outcome.IN_DOUBT if at.sent_ns != -1 and not unsent else Outcome.FAILED, now_ns)
        self._close()

    def _finish(self, outcome: Outcome, now_ns: int) -> None:
        row, mixed = self._transaction.finish(outcome, now_ns)
        self._account.rows.frombytes(ROW(*row))
        if mixed is not None:
            self._account.recipients_differ(row[0], outcome, mixed)

    def _close(self) -> None:
        self.closed = True
        self.busy = False


def _words(head: h11.Response, answer: bytes) -> str:
    """What people should read of an answer: its reason, how long to wait, and the text of a refusal."""
    words = head.reason.decode("ascii", "backslashreplace")
    if head.status_code < 400:
        return words
    for name, value in head.headers:
        if name == b"retry-after":
            words += f" (Retry-After: {value.decode('ascii', 'backslashreplace')})"
    text = " ".join(answer[:_SHOWN].decode("ascii", "backslashreplace").split())
    return f"{words}: {text}" if text else words
