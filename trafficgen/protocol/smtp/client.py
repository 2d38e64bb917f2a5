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

Replies are told apart by counting alone, so a server that breaks the rules must not shift them unnoticed. A reply
counts only for a command that had gone out before the reply came. 421 may come at any time (RFC 5321 section 3.8);
anything else that nothing asked for ends the session. What was answered to an end of data is `_held` until all replies
due behind it have come, and only such as may answer their commands (section 4.3.2): a 354 answers nothing but DATA, a
221 nothing but QUIT. If one of them cannot be right, nobody knows which reply was whose: what is held is in doubt.
"""

from collections import deque
from collections.abc import Callable, Collection
from itertools import chain, repeat
from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.interfaces import (
    ROW,
    Buffer,
    Extensions,
    SessionAccount,
    SessionOptions,
    Source,
    WireMessage,
    Work,
)
from trafficgen.protocol.smtp.replies import Reply, ReplyReader
from trafficgen.protocol.smtp.reply_cache import RECIPIENT_OK, ReplyCache, as_hoped

_ENVELOPE: Final = (Phase.MAIL, Phase.RCPT, Phase.DATA)
_MAX_HELD: Final = 16
"""A server may refuse one message after another before it says 354 again. More than these, or a batch, do not wait."""

_IN_STEP: Final = (Phase.DATA, Phase.QUIT, Phase.EHLO)
"""Whose right reply is like none before it, so that it shows all before it to have come in their places."""

_OPENING: Final = (Phase.GREETING, Phase.EHLO, Phase.HELO)
_GOODBYES: Final = (421, 221)
"""What a server may say that nothing asked for, once it has answered all that did. 221 belongs to QUIT, but is said."""

REFUSED: Final = "refused by the server"
UNASKED: Final = "a reply that nothing asked for"
UNEXPECTED: Final = "unexpected reply"

_Row = tuple[int, Outcome, int, int, int, int, int, int, int]


class ClientSession:
    """One session.

    `busy`: it has something to wait for. `closed`: it is over. `served`: it took at least one message. `parted`: the
    server said goodbye and will hang up.
    """

    __slots__ = (
        "_account", "_cache", "_due_ns", "_early", "_enter", "_extensions", "_group", "_held", "_left", "_next",
        "_options", "_pending", "_reader", "_ready_ns", "_recipients", "_refusal", "_rode_along", "_sender_refused",
        "_sent_ns", "_source", "_start_ns", "_take", "_unsent", "_void", "busy", "closed", "message", "parted",
        "served", "waiting_since_ns",
    )  # fmt: skip

    def __init__(self, source: Source, account: SessionAccount, options: SessionOptions, cache: ReplyCache) -> None:
        self._source = source
        self._take = source.take
        self._account = account
        self._enter = account.rows.frombytes
        self._options = options
        self._cache = cache
        self._left = options.max_messages or -1  # messages this session may still take; -1: any number
        self._extensions = Extensions()
        self._reader = ReplyReader()
        self._pending: deque[Phase] = deque()
        self._unsent: deque[tuple[Phase, bytes]] = deque()  # lock-step: commands that wait for their turn
        self._group = False  # the replies due are exactly GROUP, none of them begun; one recipient before and after
        self.message: WireMessage | None = None
        self._next: Work | None = None
        self._void = False  # the end of data that is due closes an empty message, not `message`
        self._rode_along = False  # the envelope of `message` was written behind the message before
        self._refusal: Reply | None = None
        self._sender_refused = False
        self._recipients = 0  # accepted so far
        self._held: list[tuple[_Row, int]] = []  # finished, while replies behind them are due; recipients if not all
        self._early = False  # a reply began while none was due: it can only be a goodbye
        self._due_ns = self._start_ns = self._ready_ns = self._sent_ns = self.waiting_since_ns = -1
        self.busy = False
        self.closed = False
        self.served = False
        self.parted = False

    @property
    def in_flight(self) -> int:
        """Messages at work, or answered and not in the account yet."""
        return self._at_work + len(self._held)

    @property
    def _at_work(self) -> int:
        """Messages without an answer."""
        return int(self.message is not None)

    @property
    def _in_chunks(self) -> bool:
        """Whether several messages are on their way at once, so that no 354 keeps their replies apart."""
        return False

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
            self._lose(Phase.GREETING, REFUSED, reply, now_ns)
            return
        self._write(Phase.EHLO, b"EHLO %s\r\n" % self._options.ehlo_name, now_ns, out)

    def _on_ehlo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if self.message is None:
            self._on_greeted_again(reply, now_ns, out)
            return
        self._account.phase(Phase.EHLO, now_ns - self.waiting_since_ns)
        if reply.code == 250:
            self._extensions = Extensions.offered(reply.lines)
        elif reply.code >= 500 and reply.code != 521:
            # RFC 5321 section 3.2: a server that does not know EHLO is greeted with HELO.
            self._write(Phase.HELO, b"HELO %s\r\n" % self._options.ehlo_name, now_ns, out)
            return
        else:
            self._lose(Phase.EHLO, REFUSED, reply, now_ns)
            return
        self._open_transaction(now_ns, out)

    def _on_helo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 250:
            self._open_transaction(now_ns, out)
        else:
            self._lose(Phase.HELO, REFUSED, reply, now_ns)

    def _on_greeted_again(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        raise NotImplementedError  # only `chunking` says EHLO twice

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
        self._sender_refused = False
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
        if self._extensions.pipelining and self._options.pipelining:
            out.append(envelope)
            self._pending.extend(phases)
            return
        self._unsent.extend(zip(phases, envelope.splitlines(keepends=True), strict=True))
        self._send_unsent(now_ns, out)

    def _envelope(self, message: WireMessage) -> bytes:
        if message.eight_bit and self._extensions.eight_bit:
            return message.envelope.replace(b">\r\n", b"> BODY=8BITMIME\r\n", 1)
        return message.envelope

    def _on_mail(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 250:
            return
        self._sender_refused = True
        self._refuse(Phase.MAIL, reply, now_ns)
        if self._unsent:  # lock-step: the rest of the envelope has no transaction to go into
            self._unsent.clear()
            self._end_refused(now_ns, out, reset=False)

    def _on_rcpt(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code in RECIPIENT_OK and not self._sender_refused:
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
        if self._extensions.pipelining and self._options.pipelining:
            if self._left == 0:
                tail += b"QUIT\r\n"
                pending.append(Phase.QUIT)
            elif (work := self._take(now_ns)) is not None:
                self._next = work
                tail += self._envelope(work[0])
                pending.extend(_phases(work[0]))
                self._group = self._recipients == message.recipients and self._reader.empty
                self._cache = self._cache.of(work[0].recipients)
        return message.head, message.body, tail

    def _on_end_of_data(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if self._void:
            self._void = False
            self._end_refused(now_ns, out, reset=False)
            return
        if reply.code == 250 and self._recipients:
            self._finish(Outcome.ACCEPTED, now_ns)
        elif reply.code >= 400:
            self._refuse(Phase.END_OF_DATA, reply, now_ns)
            self._finish(_rejection(self._refusal or reply), now_ns)
        else:
            self._lose(Phase.END_OF_DATA, UNEXPECTED, reply, now_ns)
            return
        self._go_on(now_ns, out, reset=False)

    # -- a message ends ---------------------------------------------------------------------------------

    def _refuse(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        """Note why the message is refused.

        While no recipient is accepted the first no counts: those behind it follow from it. After that, the last one.
        """
        if reply.code < 400:
            self._lose(phase, UNEXPECTED, reply, now_ns)
            return
        if self._refusal is None or self._recipients:
            self._refusal = reply
        self._account.trouble(f"the server answered {phase.value.upper()} with {_words(reply)}")

    def _end_refused(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        if self.closed:
            return
        assert self._refusal is not None
        self._finish(_rejection(self._refusal), now_ns, hold=False)
        self._go_on(now_ns, out, reset=reset)

    def _finish(self, outcome: Outcome, now_ns: int, *, hold: bool = True) -> None:
        message = self.message
        assert message is not None
        row = (
            message.number, outcome, message.domain, self._due_ns,
            self._start_ns, self._ready_ns, self._sent_ns, now_ns, message.octets,
        )  # fmt: skip
        some = self._recipients if outcome is Outcome.ACCEPTED and self._recipients != message.recipients else 0
        self.message = None
        if self.closed or not (self._held or hold):
            self._write_down(row, some)
        else:
            self._held.append((row, some))

    def _write_down(self, row: _Row, some: int) -> None:
        self._enter(ROW(*row))
        if some:
            self._account.partly_accepted(row[0], some)

    def _let_go(self, *, doubtful: bool) -> None:
        """Write down what is held: as it was answered, or, when the replies have lost their order, as in doubt."""
        for row, some in self._held:
            self._write_down((row[0], Outcome.IN_DOUBT, *row[2:]) if doubtful else row, 0 if doubtful else some)
        self._held.clear()

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
            self._lose(Phase.RSET, UNEXPECTED, reply, now_ns)
        elif self.message is None:
            self._go_on(now_ns, out, reset=False)

    # -- the session ends -------------------------------------------------------------------------------

    def quit(self, now_ns: int) -> list[Buffer]:
        """Say goodbye on an idle session; returns what to write."""
        out: list[Buffer] = []
        self._write(Phase.QUIT, b"QUIT\r\n", now_ns, out)
        self.busy = True
        return out

    def _on_quit(self, reply: Reply, now_ns: int, _out: list[Buffer]) -> None:
        self.parted = True
        if reply.code == 221:
            self._close()
        else:
            self._lose(Phase.QUIT, UNEXPECTED, reply, now_ns)

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
        """The connection is gone or given up. `unsent`: octets of the last ones written that never left this machine.

        `phase` is where it happened, if not where the next reply was due. `missing`: the connection stands, and a reply
        did not come; it may have been another one than the last.

        The message at work is in doubt when its end of data was sent, and failed before that.
        """
        self._end(reason, example, now_ns, phase, unsent=unsent, in_order=not missing)

    def withdraw(self) -> bool:
        """We stop: if no octet of the message was sent, give it back and close. Whether that was so.

        One that the server has begun to refuse stays here.
        """
        if self.closed or self.message is None or self._sent_ns != -1 or self._refusal is not None:
            return False
        work, self.message = (self.message, self._due_ns), None
        self._source.give_back(work)
        self._close()
        self._let_go(doubtful=True)  # replies are missing: see `_held`
        return True

    def _lose(self, phase: Phase, reason: str, reply: Reply, now_ns: int) -> None:
        """End the session for a reply that cannot be the one to this command."""
        self._pending.appendleft(phase)
        self._end(reason, _words(reply), now_ns, in_order=False)

    def _end(
        self,
        reason: str,
        example: str,
        now_ns: int,
        phase: Phase | None = None,
        *,
        unsent: int = 0,
        in_order: bool = True,
    ) -> None:
        """End the session. Unless the replies were `in_order`, what is held is in doubt."""
        if self.closed:
            return
        sent = self._ends_sent(unsent)
        phase = phase or (self._pending[0] if self._pending else None)
        self._close()
        doubtful = not in_order or self._in_chunks
        harmed = self.in_flight if doubtful else self._at_work
        self._let_go(doubtful=doubtful)
        if harmed or phase not in (None, Phase.QUIT):
            assert phase is not None
            self._account.failure(phase, reason, example, max(harmed, 1))
        if harmed:
            assert phase is not None
            self._account.trouble(f"{reason} at {phase.value.upper()}" + (f": {example}" if example else ""))
        if self.message is not None:
            self._finish(Outcome.IN_DOUBT if sent else Outcome.FAILED, now_ns)

    def _ends_sent(self, unsent: int) -> int:
        """Of how many messages at work the end of data has left this machine, all but the last `unsent` octets."""
        return 0 if self._void else list(self._pending)[: self._due_while(unsent)].count(Phase.END_OF_DATA)

    def _due_while(self, unsent: int) -> int:
        """How many of the replies due are to commands that are not among the last `unsent` octets written."""
        due, behind = len(self._pending), 0
        for octets in chain(reversed(self._octets_due()), repeat(1 << 62)):
            if unsent <= behind or not due:
                break
            due -= 1
            behind += octets
        return due

    def _octets_due(self) -> list[int]:
        """The octets of the commands whose replies are due, as far as there are several: the last of them."""
        if self._next is not None:
            commands = self._envelope(self._next[0])
        elif Phase.QUIT in self._pending:
            commands = b"QUIT\r\n"
        else:
            commands = self._envelope(self.message) if self.message is not None else b""
        return [len(line) for line in commands.splitlines(keepends=True)]

    def _close(self) -> None:
        self.closed = True
        self.busy = self._group = False
        if self._next is not None:
            self._source.give_back(self._next)
            self._next = None

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        """What the server sent. Returns the buffers to write; look at `busy` and `closed` afterwards."""
        cache = self._cache
        if self._group and self._left < 0 and (data == cache.octets or cache.repeats(data)):
            # The hot path, once for every message of a kept session: the message is accepted, and the 354 for the one
            # that rode along is here. It does what `_finish`, `_assign` and `_send_message` do, in one piece, for half
            # of what calling them costs.
            cache.hits += 1
            done: WireMessage = self.message  # type: ignore[assignment]
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
            if rider.recipients != cache.recipients:
                self._cache = cache.of(rider.recipients)
                self._pending = deque(self._cache.group)
            envelope = self._envelope(rider) if rider.eight_bit else rider.envelope
            return message.head, message.body, message.tail + envelope
        return self._read(data, now_ns)

    def _send_lone(self, now_ns: int) -> Collection[Buffer]:
        """The end of the hot path when no message rides along: the careful way from here."""
        self._group = False
        self._pending.clear()
        self._rode_along = True
        return self._send_message(now_ns)

    def feed_unsent(self, data: bytes, now_ns: int, unsent: int) -> Collection[Buffer]:
        """`feed`, while the last `unsent` octets that were written have not left this machine."""
        return self._read(data, now_ns, unsent)

    def _read(self, data: bytes, now_ns: int, unsent: int = 0) -> list[Buffer]:
        if self.closed:
            return []
        group, self._group = self._group, False
        due = 0 if self._early else self._due_while(unsent) if unsent else len(self._pending)
        replies = self._reader.feed(data)
        if len(replies) > due or (len(replies) == due and not self._reader.empty):
            unasked = self._find_unasked(replies, due)
            if unasked is not None:
                self._on_unasked(unasked, replies, due, now_ns, unsent)
                return []
        if group and self._reader.empty:
            self._learn(data, replies)
        return self._answer_all(replies, now_ns)

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        """`replies`, which came in one piece, begin with the first one that was due."""
        cache = self._cache
        if len(replies) == len(cache.group) and as_hoped(replies):
            cache.learn(data, replies, self._account, cache.group)

    def _find_unasked(self, replies: list[Reply], due: int) -> str | None:
        """What came first that answers nothing; None when it is, or may become, a goodbye."""
        if len(replies) > due:
            return None if replies[due].code in _GOODBYES else _words(replies[due])
        if self._reader.fault:
            return self._reader.fault
        begun = self._reader.begun
        self._early = any((b"%d" % code).startswith(begun) for code in _GOODBYES)
        return None if self._early else begun.decode("ascii", "backslashreplace")

    def _on_unasked(self, words: str, replies: list[Reply], due: int, now_ns: int, unsent: int) -> None:
        """None of the replies that came together can be told from the one too many; only a refusal ends it anyway."""
        if unsent and len(replies) > due and replies[due].code >= 400:
            self._answer_all(replies[:due], now_ns)
            if not self.closed:
                phase = self._pending.popleft()
                self._account.reply(phase, replies[due])
                self._on_shutdown(phase, replies[due], now_ns, unsent)
        else:
            phase = self._pending[0] if self._pending else Phase.IDLE
            self._end(UNASKED, words, now_ns, phase, unsent=unsent, in_order=False)

    def _answer_all(self, replies: list[Reply], now_ns: int) -> list[Buffer]:
        out: list[Buffer] = []
        for index, reply in enumerate(replies):
            if reply.code == 421 and any(later.code < 400 for later in replies[index + 1 :]):
                self._end(UNASKED, _words(replies[index + 1]), now_ns, in_order=False)
                return []
            self._answer(reply, now_ns, out)
            if self.closed:
                return []  # what an earlier one of these replies had us write has not gone out, and will not
            self.waiting_since_ns = now_ns  # the next reply that is due has the whole time limit for itself
        if self._reader.fault:
            self._end("malformed reply", self._reader.fault, now_ns, in_order=False)
            return []
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
        if self._held and (
            phase in _IN_STEP or not self._pending or _MAX_HELD < len(self._held) > self._options.chunks
        ):
            self._let_go(doubtful=False)

    def _on_shutdown(self, phase: Phase, reply: Reply, now_ns: int, unsent: int = 0) -> None:
        """421 at any moment (RFC 5321 section 3.8), a goodbye on an idle session, or a no while we still write."""
        self.parted = reply.code in _GOODBYES
        if self.message is None and not (self._held and self._in_chunks):
            self._close()
            self._let_go(doubtful=False)
        elif phase in _OPENING or self._in_chunks or (self._early and phase is Phase.END_OF_DATA):
            self._pending.appendleft(phase)
            self._end(REFUSED, _words(reply), now_ns, unsent=unsent)
        else:
            if not self._void:
                self._refuse(phase, reply, now_ns)
            self._close()
            self._let_go(doubtful=False)
            self._finish(_rejection(self._refusal or reply), now_ns)

    # -- octets out -------------------------------------------------------------------------------------

    def _write(self, phase: Phase, command: bytes, now_ns: int, out: list[Buffer]) -> None:
        out.append(command)
        self._pending.append(phase)
        self.waiting_since_ns = now_ns

    def _send_unsent(self, now_ns: int, out: list[Buffer]) -> None:
        phase, command = self._unsent.popleft()
        self._write(phase, command, now_ns, out)


_Handler = Callable[[ClientSession, Reply, int, list[Buffer]], None]
_HANDLERS: Final[dict[Phase, _Handler]] = table_of(
    [phase for phase in Phase if phase not in (Phase.CONNECT, Phase.TLS, Phase.AUTH, Phase.IDLE)],
    {
        Phase.GREETING: ClientSession._on_greeting,
        Phase.EHLO: ClientSession._on_ehlo,
        Phase.HELO: ClientSession._on_helo,
        Phase.MAIL: ClientSession._on_mail,
        Phase.RCPT: ClientSession._on_rcpt,
        Phase.DATA: ClientSession._on_data,
        Phase.END_OF_DATA: ClientSession._on_end_of_data,
        Phase.RSET: ClientSession._on_rset,
        Phase.QUIT: ClientSession._on_quit,
    },
)


def _phases(message: WireMessage, *, reset: bool = False) -> tuple[Phase, ...]:
    """The replies an envelope asks for."""
    if message.recipients == 1 and not reset:
        return _ENVELOPE
    return (Phase.RSET,) * reset + (Phase.MAIL, *[Phase.RCPT] * message.recipients, Phase.DATA)


def _rejection(reply: Reply) -> Outcome:
    return Outcome.REJECTED_PERMANENT if reply.code >= 500 else Outcome.REJECTED_TEMPORARY


def _words(reply: Reply) -> str:
    return " ".join(filter(None, (str(reply.code), reply.enhanced, reply.text)))[:200]
