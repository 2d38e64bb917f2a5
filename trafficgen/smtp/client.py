"""The client's side of a session: greeting, EHLO, transactions, QUIT (RFC 5321), in groups where offered (RFC 2920).

The legal paths, `>` what we send and `<` what we wait for:

    < greeting > EHLO < (> HELO <) then, for every message,
    in groups:  > MAIL RCPT… DATA < < < 354 > message, end of data, and at once the next MAIL RCPT… DATA (or QUIT)
    lock-step:  > MAIL < > RCPT < … > DATA < 354 > message, end of data <
    refused:    > RSET and the next envelope; a 354 though every recipient was refused: > a lone end of data
    at the end: > QUIT < 221

Takes     octets received and the time they came; work from `Source`
Gives     buffers to write, in order; one row in `Account.rows` for every finished message
Fails     never because of a peer: what breaks the rules ends the session as `lost`
Not here  sockets and time limits (engine), what a message holds (workload)

Two cursors over one conversation: `_pending` holds the phases whose replies are due; `message` is what the session
works on, `_next` the message whose envelope already rides behind it. A message *starts* when the session turns to it:
when its envelope is written, or, if that rode along, when the end of data before it is answered. Until then no server
has begun to work on it, so a session that dies gives it back unharmed.
"""

from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from trafficgen.outcomes import Outcome, Phase
from trafficgen.smtp.replies import Reply, ReplyReader
from trafficgen.smtp.seams import ROW, Account, Buffer, Extensions, Manners, Message, Source, Work
from trafficgen.smtp.steady import Steady, as_hoped

_ENVELOPE: Final = (Phase.MAIL, Phase.RCPT, Phase.DATA)
_OPENING: Final = (Phase.GREETING, Phase.EHLO, Phase.HELO)


class ClientSession:
    """One session.

    `busy`: it has something to wait for. `closed`: it is over. `served`: it took at least one message. `parted`: the
    server said goodbye and will hang up.
    """

    __slots__ = (
        "_account", "_due_ns", "_enter", "_extensions", "_group", "_left", "_manners", "_next", "_pending", "_reader",
        "_ready_ns", "_recipients", "_refusal", "_rode_along", "_sent_ns", "_source", "_start_ns", "_steady",
        "_take", "_unsent", "_void",
        "busy", "closed", "message", "parted", "served", "waiting_since_ns",
    )  # fmt: skip

    def __init__(self, source: Source, account: Account, manners: Manners, steady: Steady) -> None:
        self._source = source
        self._take = source.take
        self._account = account
        self._enter = account.rows.frombytes
        self._manners = manners
        self._steady = steady
        self._left = manners.max_messages or -1  # messages this session may still take; -1: any number
        self._extensions = Extensions()
        self._reader = ReplyReader()
        self._pending: deque[Phase] = deque()
        self._unsent: deque[tuple[Phase, bytes]] = deque()  # lock-step: commands that wait for their turn
        self._group = False  # the replies due are exactly GROUP, none of them begun; one recipient before and after
        self.message: Message | None = None
        self._next: Work | None = None
        self._void = False  # the end of data that is due closes an empty message, not `message`
        self._rode_along = False  # the envelope of `message` was written behind the message before
        self._refusal: Reply | None = None
        self._recipients = 0  # accepted so far
        self._due_ns = self._start_ns = self._ready_ns = self._sent_ns = self.waiting_since_ns = -1
        self.busy = False
        self.closed = False
        self.served = False
        self.parted = False

    @property
    def in_flight(self) -> int:
        """Messages at work."""
        return int(self.message is not None)

    @property
    def held(self) -> int:
        """Messages taken from the source and not yet ended or given back."""
        return self.in_flight + (self._next is not None)

    # -- the session opens ------------------------------------------------------------------------------

    def greet(self, work: Work, now_ns: int) -> None:
        """A connection is being made for `work`, and the server will speak first."""
        self._assign(work, now_ns)
        self._pending.append(Phase.GREETING)
        self.busy = True

    def connected(self, now_ns: int) -> None:
        """The connection is up."""
        self.waiting_since_ns = now_ns

    def adopt(self, extensions: Extensions, now_ns: int) -> list[Buffer]:
        """Greeting, EHLO and whatever else are done already: go on with the first envelope."""
        out: list[Buffer] = []
        self._extensions = extensions
        self._pending.clear()
        self._open_transaction(now_ns, out)
        return out

    def _on_greeting(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        self._account.phase(Phase.GREETING, now_ns - self.waiting_since_ns)
        if reply.code != 220:
            self._lose(Phase.GREETING, "refused by the server", reply, now_ns)
            return
        self._write(Phase.EHLO, b"EHLO %s\r\n" % self._manners.ehlo_name, now_ns, out)

    def _on_ehlo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        self._account.phase(Phase.EHLO, now_ns - self.waiting_since_ns)
        if reply.code == 250:
            self._extensions = Extensions.offered(reply.lines)
        elif reply.code >= 500 and reply.code != 521:
            # RFC 5321 section 3.2: a server that does not know EHLO is greeted with HELO.
            self._write(Phase.HELO, b"HELO %s\r\n" % self._manners.ehlo_name, now_ns, out)
            return
        else:
            self._lose(Phase.EHLO, "refused by the server", reply, now_ns)
            return
        self._open_transaction(now_ns, out)

    def _on_helo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 250:
            self._open_transaction(now_ns, out)
        else:
            self._lose(Phase.HELO, "refused by the server", reply, now_ns)

    # -- one message ------------------------------------------------------------------------------------

    def start(self, work: Work, now_ns: int) -> list[Buffer]:
        """Give an idle session a message; returns what to write."""
        out: list[Buffer] = []
        self._assign(work, now_ns)
        self._open_transaction(now_ns, out)
        return out

    def _assign(self, work: Work, now_ns: int, *, rode_along: bool = False) -> None:
        self.message, self._due_ns = work
        self._rode_along = rode_along
        self._start_ns = now_ns
        self._ready_ns = self._sent_ns = -1
        self._refusal = None
        self._recipients = 0
        self._left -= self._left > 0

    def _open_transaction(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        """Write the envelope of `message`, whole or its first command."""
        message = self.message
        assert message is not None
        self._start_ns = self.waiting_since_ns = now_ns
        self.busy = True
        envelope = self._envelope(message)
        phases = _phases(message, reset=reset)
        if reset:
            envelope = b"RSET\r\n" + envelope
        if self._extensions.pipelining and self._manners.pipelining:
            out.append(envelope)
            self._pending.extend(phases)
            return
        self._unsent.extend(zip(phases, envelope.splitlines(keepends=True), strict=True))
        self._send_unsent(now_ns, out)

    def _envelope(self, message: Message) -> bytes:
        if message.eight_bit and self._extensions.eight_bit:
            return message.envelope.replace(b">\r\n", b"> BODY=8BITMIME\r\n", 1)
        return message.envelope

    def _on_mail(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 250:
            return
        self._refuse(Phase.MAIL, reply, now_ns)
        if self._unsent:  # lock-step: the rest of the envelope has no transaction to go into
            self._unsent.clear()
            self._end_refused(now_ns, out, reset=False)

    def _on_rcpt(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if 250 <= reply.code <= 259:
            self._recipients += 1
        else:
            self._refuse(Phase.RCPT, reply, now_ns)
        if self._unsent and self._unsent[0][0] is Phase.DATA and not self._recipients:
            self._unsent.clear()
            self._end_refused(now_ns, out, reset=True)

    def _on_data(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 354 and self._recipients:
            if not self._rode_along:
                self._ready_ns = now_ns
            out.extend(self._send_message(now_ns))
        elif reply.code == 354:
            # RFC 2920 section 3.1: DATA may be let through though every recipient was refused.
            self._void = True
            self._write(Phase.END_OF_DATA, b".\r\n", now_ns, out)
        else:
            self._refuse(Phase.DATA, reply, now_ns)
            self._end_refused(now_ns, out, reset=True)

    def _send_message(self, now_ns: int) -> tuple[Buffer, Buffer, Buffer]:
        """The message, and behind its end of data what may ride along; sets the replies that are due."""
        message = self.message
        assert message is not None
        self._sent_ns = self.waiting_since_ns = now_ns
        self.served = True
        pending = self._pending
        pending.append(Phase.END_OF_DATA)
        tail = message.tail
        if self._extensions.pipelining and self._manners.pipelining:
            if self._left == 0:
                tail += b"QUIT\r\n"
                pending.append(Phase.QUIT)
            elif (work := self._take(now_ns)) is not None:
                self._next = work
                tail += self._envelope(work[0])
                pending.extend(_phases(work[0]))
                self._group = self._recipients == message.recipients and self._reader.empty
                self._steady = self._steady.of(work[0].recipients)
        return message.head, message.body, tail

    def _on_end_of_data(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if self._void:
            self._void = False
            self._end_refused(now_ns, out, reset=False)
            return
        if 200 <= reply.code <= 299 and self._recipients:
            self._finish(Outcome.ACCEPTED, now_ns)
        elif reply.code >= 400:
            self._refuse(Phase.END_OF_DATA, reply, now_ns)
            self._finish(_rejection(self._refusal or reply), now_ns)
        else:
            self._lose(Phase.END_OF_DATA, "unexpected reply", reply, now_ns)
            return
        self._go_on(now_ns, out, reset=False)

    # -- a message ends ---------------------------------------------------------------------------------

    def _refuse(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        """Note why the message is refused.

        While no recipient is accepted the first no counts: those behind it follow from it. After that, the last one.
        """
        if reply.code < 400:
            self._lose(phase, "unexpected reply", reply, now_ns)
            return
        if self._refusal is None or self._recipients:
            self._refusal = reply
        self._account.trouble(f"the server answered {phase.value.upper()} with {_words(reply)}")

    def _end_refused(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        if self.closed:
            return
        assert self._refusal is not None
        self._finish(_rejection(self._refusal), now_ns)
        self._go_on(now_ns, out, reset=reset)

    def _finish(self, outcome: Outcome, now_ns: int) -> None:
        message = self.message
        assert message is not None
        self._enter(ROW(
            message.number, outcome, message.domain, self._due_ns,
            self._start_ns, self._ready_ns, self._sent_ns, now_ns, message.octets,
        ))  # fmt: skip
        if outcome is Outcome.ACCEPTED and self._recipients != message.recipients:
            self._account.partly_accepted(message.number, self._recipients)
        self.message = None

    def _go_on(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        """The session is free: turn to the message that rides along, or take another, or say goodbye, or idle."""
        if self._next is not None:
            work, self._next = self._next, None
            self._assign(work, now_ns, rode_along=True)
        elif self._left == 0:
            if Phase.QUIT not in self._pending:
                self._write(Phase.QUIT, b"QUIT\r\n", now_ns, out)
        elif (work_now := self._take(now_ns)) is not None:
            self._assign(work_now, now_ns)
            self._open_transaction(now_ns, out, reset=reset)
        elif reset:
            self._write(Phase.RSET, b"RSET\r\n", now_ns, out)
        else:
            self.busy = bool(self._pending)

    def _on_rset(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code != 250:
            self._lose(Phase.RSET, "unexpected reply", reply, now_ns)
        elif self.message is None:
            self._go_on(now_ns, out, reset=False)

    # -- the session ends -------------------------------------------------------------------------------

    def quit(self, now_ns: int) -> list[Buffer]:
        """Say goodbye on an idle session; returns what to write."""
        out: list[Buffer] = []
        self._write(Phase.QUIT, b"QUIT\r\n", now_ns, out)
        self.busy = True
        return out

    def _on_quit(self, _reply: Reply, _now_ns: int, _out: list[Buffer]) -> None:
        self.parted = True
        self._close()

    def lost(self, reason: str, example: str, now_ns: int, *, phase: Phase | None = None, unsent: bool = False) -> None:
        """The connection is gone or given up. `unsent`: octets of the message never left this machine.

        `phase` is where it happened, if not where the next reply was due.

        The message at work is in doubt when its end of data was sent, and failed before that.
        """
        if self.closed:
            return
        phase = phase or (self._pending[0] if self._pending else None)
        self._close()
        if self.message is None:
            if phase not in (None, Phase.QUIT):
                self._account.failure(phase, reason, example)
            return
        phase = phase or Phase.MAIL
        self._account.failure(phase, reason, example)
        self._account.trouble(f"{reason} at {phase.value.upper()}" + (f": {example}" if example else ""))
        in_doubt = self._sent_ns != -1 and not unsent and not self._void
        self._finish(Outcome.IN_DOUBT if in_doubt else Outcome.FAILED, now_ns)

    def withdraw(self) -> bool:
        """We stop: if no octet of the message was sent, give it back and close. Whether that was so.

        One that the server has begun to refuse stays here.
        """
        if self.closed or self.message is None or self._sent_ns != -1 or self._refusal is not None:
            return False
        work, self.message = (self.message, self._due_ns), None
        self._source.give_back(work)
        self._close()
        return True

    def _lose(self, phase: Phase, reason: str, reply: Reply, now_ns: int) -> None:
        self._pending.appendleft(phase)
        self.lost(reason, _words(reply), now_ns)

    def _close(self) -> None:
        self.closed = True
        self.busy = False
        if self._next is not None:
            self._source.give_back(self._next)
            self._next = None

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        """What the server sent. Returns the buffers to write; look at `busy` and `closed` afterwards."""
        steady = self._steady
        if self._group and self._left < 0 and (data == steady.octets or steady.repeats(data)):
            # The hot path, once for every message of a kept session: the message is accepted, and the 354 for the one
            # that rode along is here. It does what `_finish`, `_assign` and `_send_message` do, in one piece, for half
            # of what calling them costs.
            steady.hits += 1
            done: Message = self.message  # type: ignore[assignment]
            start_ns, ready_ns, sent_ns = self._start_ns, self._ready_ns, self._sent_ns
            self._enter(
                ROW(done.number, 0, done.domain, self._due_ns, start_ns, ready_ns, sent_ns, now_ns, done.octets)
            )
            message, self._due_ns = self._next  # type: ignore[misc]
            self.message = message
            self._recipients = message.recipients
            self._ready_ns = -1
            self._start_ns = self._sent_ns = self.waiting_since_ns = now_ns
            work = self._next = self._take(now_ns)
            if work is None:
                return self._send_lone(now_ns)
            rider = work[0]
            if rider.recipients != steady.recipients:
                self._steady = steady.of(rider.recipients)
                self._pending = deque(self._steady.group)
            envelope = self._envelope(rider) if rider.eight_bit else rider.envelope
            return message.head, message.body, message.tail + envelope
        return self._read(data, now_ns)

    def _send_lone(self, now_ns: int) -> Collection[Buffer]:
        """The end of the hot path when no message rides along: the careful way from here."""
        self._group = False
        self._pending.clear()
        self._rode_along = True
        return self._send_message(now_ns)

    def _read(self, data: bytes, now_ns: int) -> list[Buffer]:
        group, self._group = self._group, False
        replies = self._reader.feed(data)
        steady = self._steady
        if group and len(replies) == len(steady.group) and self._reader.empty and as_hoped(replies):
            steady.learn(data, replies, self._account, steady.group)
        return self._answer_all(replies, now_ns)

    def _answer_all(self, replies: list[Reply], now_ns: int) -> list[Buffer]:
        out: list[Buffer] = []
        for reply in replies:
            if self.closed:
                return out
            self._answer(reply, now_ns, out)
            self.waiting_since_ns = now_ns  # the next reply that is due has the whole time limit for itself
        if self._reader.fault and not self.closed:
            self.lost("malformed reply", self._reader.fault, now_ns)
        return out

    def _answer(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        phase = self._pending.popleft() if self._pending else Phase.IDLE
        self._account.reply(phase, reply)
        if phase is Phase.IDLE or reply.code == 421:
            self._on_shutdown(phase, reply, now_ns)
            return
        _HANDLERS[phase](self, reply, now_ns, out)
        if self._unsent and not self._pending:
            self._send_unsent(now_ns, out)

    def _on_shutdown(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        """421 at any moment (RFC 5321 section 3.8), or words nobody asked for: the session is over."""
        self.parted = reply.code == 421
        if self.message is None:
            self._close()
        elif phase in _OPENING:
            self._lose(phase, "refused by the server", reply, now_ns)
        else:
            if not self._void:
                self._refuse(phase, reply, now_ns)
            if not self.closed:
                self._finish(_rejection(self._refusal or reply), now_ns)
                self._close()

    # -- octets out -------------------------------------------------------------------------------------

    def _write(self, phase: Phase, command: bytes, now_ns: int, out: list[Buffer]) -> None:
        out.append(command)
        self._pending.append(phase)
        self.waiting_since_ns = now_ns

    def _send_unsent(self, now_ns: int, out: list[Buffer]) -> None:
        phase, command = self._unsent.popleft()
        self._write(phase, command, now_ns, out)


_HANDLERS: Final[dict[Phase, Callable[[ClientSession, Reply, int, list[Buffer]], None]]] = {
    Phase.GREETING: ClientSession._on_greeting,
    Phase.EHLO: ClientSession._on_ehlo,
    Phase.HELO: ClientSession._on_helo,
    Phase.MAIL: ClientSession._on_mail,
    Phase.RCPT: ClientSession._on_rcpt,
    Phase.DATA: ClientSession._on_data,
    Phase.END_OF_DATA: ClientSession._on_end_of_data,
    Phase.RSET: ClientSession._on_rset,
    Phase.QUIT: ClientSession._on_quit,
}


def _phases(message: Message, *, reset: bool = False) -> tuple[Phase, ...]:
    """The replies an envelope asks for."""
    if message.recipients == 1 and not reset:
        return _ENVELOPE
    return (Phase.RSET,) * reset + (Phase.MAIL, *[Phase.RCPT] * message.recipients, Phase.DATA)


def _rejection(reply: Reply) -> Outcome:
    return Outcome.REJECTED_PERMANENT if reply.code >= 500 else Outcome.REJECTED_TEMPORARY


def _words(reply: Reply) -> str:
    return " ".join(filter(None, (str(reply.code), reply.enhanced, reply.text)))[:200]
