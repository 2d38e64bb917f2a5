"""The client's side of a session, from the connection to the goodbye (RFC 5321).

Takes     octets received and the time they came; work from `Source`
Gives     buffers to write, in order; one row in `SessionAccount.rows` for every finished message
Fails     never because of a peer: what breaks the rules ends the session as `lost`
Not here  sockets and time limits (engine), what a message holds (workload)

A session is two choices: what comes before its first message (`opening`), and how it hands messages over (`by_data`,
`by_steps`, `by_chunks`), which is made when the server has said what it offers. `steps` has the legal paths and the
table of steps, `conversation` tells which reply is whose, `transaction` what is known of the message at work.
"""

from collections.abc import Callable, Collection
from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.by_chunks import ByChunks
from trafficgen.protocol.smtp.by_data import ByData
from trafficgen.protocol.smtp.by_steps import BySteps
from trafficgen.protocol.smtp.conversation import GOODBYES, UNASKED, Answering, Conversation
from trafficgen.protocol.smtp.handover import QUIT, RSET, UNEXPECTED, Handover
from trafficgen.protocol.smtp.interfaces import (
    NOTHING_OFFERED,
    Buffer,
    Extensions,
    SessionAccount,
    SessionOptions,
    Source,
    Work,
)
from trafficgen.protocol.smtp.layout import AdaptedSource, Lacking, adapted
from trafficgen.protocol.smtp.opening import NOT_PROXY, REFUSED, Opening
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import GREETING, HELLO, ReplyCache
from trafficgen.protocol.smtp.steps import STEPS
from trafficgen.protocol.smtp.transaction import Transaction, rejection

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_END_OF_DATA: Final = Phase.END_OF_DATA
_GREETING: Final = Phase.GREETING
_IDLE: Final = Phase.IDLE
_QUIT: Final = Phase.QUIT
_RSET: Final = Phase.RSET

_SEEN: Final = table_of(
    [_GREETING, Phase.EHLO, Phase.LHLO], {_GREETING: GREETING, Phase.EHLO: HELLO, Phase.LHLO: HELLO}
)
"""Where a step before the first message is remembered."""


class ClientSession:
    """One session.

    `busy`: it has something to wait for. `closed`: it is over. `served`: it took at least one message. `parted`: the
    server said goodbye and will hang up. `left`: messages that it may still take, -1 for any number.

    `feed(data, now_ns)` is what the server sent; returns the buffers to write. Look at `busy` and `closed` afterwards.
    """

    __slots__ = (
        "_cache", "_handover", "account", "answering", "busy", "closed", "conversation", "extensions", "feed",
        "left", "options", "parted", "served", "source", "transaction",
    )  # fmt: skip

    def __init__(self, source: Source, account: SessionAccount, options: SessionOptions, cache: ReplyCache) -> None:
        self.source = source
        self.account = account
        self.options = options
        self.left = options.max_messages or -1
        self.extensions = NOTHING_OFFERED
        self.transaction = Transaction()
        self.conversation = Conversation(account, options.chunks)
        self.answering: Answering = Opening(self)
        self.feed: Callable[[bytes, int], Collection[Buffer]] = self._read
        self._cache = cache
        self._handover: Handover | None = None
        self.busy = False
        self.closed = False
        self.served = False
        self.parted = False

    def feed_unsent(self, data: bytes, now_ns: int, unsent: int) -> Collection[Buffer]:
        """`feed`, while the last `unsent` octets that were written have not left this machine."""
        if self.closed:
            return []
        if self._handover is not None:
            self._handover.be_careful()
        return self.conversation.read(self, data, now_ns, unsent=unsent)

    def _read(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        """While the session opens: the short way for a server that says what it said to another session before."""
        conversation, pending = self.conversation, self.conversation.pending
        if len(pending) == 1 and (key := _SEEN.get(pending[0])) is not None:
            seen = self._cache.of(key)
            if data == seen.octets and conversation.reader.empty:
                seen.hits += 1
                out: list[Buffer] = []
                answering = self.answering
                answering.answers[pending.pop()](answering, seen.replies[0], now_ns, out)
                return [] if self.closed else out
        return conversation.read(self, data, now_ns, self._learn)

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        phases = tuple(self.conversation.pending)
        if len(replies) == len(phases) == 1:
            key = _SEEN.get(phases[0])
            if key is not None and replies[0].code in STEPS[phases[0]].good:
                self._cache.of(key).learn(data, replies, self.account, phases)

    @property
    def in_flight(self) -> int:
        """Messages at work, or answered and not in the account yet."""
        return self._at_work + self.conversation.held

    @property
    def _at_work(self) -> int:
        """Messages without an answer."""
        behind = self._handover.behind if self._handover is not None else 0
        return int(self.transaction.entry is not None) + behind

    @property
    def held(self) -> int:
        """Messages taken from the source and not yet ended or given back."""
        return self.in_flight + (self._handover.waiting if self._handover is not None else 0)

    @property
    def waiting_since_ns(self) -> int:
        """Since when the reply that is due first is waited for."""
        return self.conversation.waiting_since_ns

    @property
    def limit_s(self) -> int:
        """How long RFC 5321 section 4.5.3.2 has us wait for it."""
        pending = self.conversation.pending
        return STEPS[pending[0] if pending else _IDLE].limit_s

    # -- the session opens ------------------------------------------------------------------------------

    def greet(self, work: Work, now_ns: int) -> None:
        """A connection is being made for `work`, and the server will speak first."""
        self.assign(work, now_ns)
        self.conversation.pending.append(_GREETING)
        self.busy = True

    def connected(self, now_ns: int) -> Collection[Buffer]:
        """The connection is up; returns what to write, which is nothing, as the server speaks first."""
        self.conversation.waiting_since_ns = now_ns
        return ()

    def adopt(self, extensions: Extensions, now_ns: int) -> list[Buffer]:
        """Greeting, EHLO and whatever else are done already: go on with the first envelope."""
        out: list[Buffer] = []
        self.conversation.pending.clear()
        self.announced(extensions, now_ns, out)
        return out

    def announced(self, extensions: Extensions, now_ns: int, out: list[Buffer]) -> None:
        """What the server offers is known: choose how to hand over, and begin."""
        self.extensions = extensions
        needed = self.options.needed
        if needed and (missing := [keyword for keyword in needed if keyword not in extensions.keywords]):
            offered = " ".join(sorted(extensions.keywords)) or "no extensions"
            self.end(f"{missing[0]} not offered", f"the server offers {offered}", now_ns, self.options.hello)
            return
        in_chunks = self.options.chunks and self.options.pipelining and extensions.chunking and extensions.pipelining
        lacking = Lacking.of(self.options, extensions)
        if any(lacking):
            self.source = AdaptedSource(self.source, lacking)
            if self.transaction.message is not None:
                self.transaction.message = adapted(self.transaction.message, lacking)
        in_groups = self.options.pipelining and extensions.pipelining
        way = ByChunks if in_chunks else ByData if in_groups else BySteps
        handover: Handover = way(self, self._cache)
        self.answering = self._handover = handover
        self.feed = handover.feed
        handover.open(now_ns, out)

    # -- one message after another ----------------------------------------------------------------------

    def start(self, work: Work, now_ns: int) -> list[Buffer]:
        """Give an idle session a message; returns what to write."""
        out: list[Buffer] = []
        assert self._handover is not None
        if isinstance(self.source, AdaptedSource):
            work = self.source.adapt(work)
        self.assign(work, now_ns)
        self._handover.open(now_ns, out, reset=self.options.reset_between)
        return out

    def assign(self, work: Work, now_ns: int) -> None:
        """Turn to this message."""
        self.transaction.assign(work, now_ns)
        self.left -= self.left > 0

    def go_on(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        """The session is free: turn to the message that rides along, or take another, or say goodbye, or idle."""
        handover, conversation = self._handover, self.conversation
        assert handover is not None
        if handover.turn(now_ns):
            return
        if self.left == 0:
            if _QUIT not in conversation.pending:
                conversation.write(_QUIT, QUIT, now_ns, out)
        elif (work := self.source.take(now_ns)) is not None:
            self.assign(work, now_ns)
            handover.open(now_ns, out, reset=reset)
        elif reset:
            conversation.write(_RSET, RSET, now_ns, out)
        else:
            self.busy = bool(conversation.pending)

    # -- the session ends -------------------------------------------------------------------------------

    def quit(self, now_ns: int) -> list[Buffer]:
        """Say goodbye on an idle session; returns what to write."""
        out: list[Buffer] = []
        self.conversation.write(_QUIT, QUIT, now_ns, out)
        self.busy = True
        return out

    def on_quit(self, reply: Reply, now_ns: int) -> None:
        """The answer to a QUIT."""
        if reply.code == 221:
            self.part()
        else:
            self.parted = True
            self.lose(_QUIT, UNEXPECTED, reply, now_ns)

    def part(self) -> None:
        """The server has said goodbye."""
        self.parted = True
        self._close()

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
        self._end(reason, example, now_ns, phase, unsent=unsent, doubtful=missing)

    def withdraw(self) -> bool:
        """We stop: if no octet of the message was sent, give it back and close. Whether that was so.

        One that the server has begun to refuse stays here.
        """
        at = self.transaction
        if self.closed or at.message is None or not at.untouched:
            return False
        self.source.give_back(at.take_back())
        self._close()
        self.conversation.let_go(doubtful=True)  # replies are missing
        return True

    def lose(self, phase: Phase, reason: str, reply: Reply, now_ns: int) -> None:
        """End the session for a reply that cannot be the one to this command."""
        self.conversation.pending.insert(0, phase)
        self.end(reason, reply.words, now_ns, in_order=False)

    def end(
        self,
        reason: str,
        example: str,
        now_ns: int,
        phase: Phase | None = None,
        *,
        unsent: int = 0,
        in_order: bool = True,
    ) -> None:
        """End the session. Unless the replies were `in_order`, nobody knows which of them was whose."""
        if reason is UNASKED and self.options.proxied and self._handover is None:
            reason, phase = NOT_PROXY, Phase.GREETING  # the answer to its header came with the greeting
        if not in_order:
            self.transaction.forget_recipients()
        self._end(reason, example, now_ns, phase, unsent=unsent, doubtful=not in_order)

    def _end(self, reason: str, example: str, now_ns: int, phase: Phase | None, *, unsent: int, doubtful: bool) -> None:
        """`doubtful`: so is what is held."""
        if self.closed:
            return
        conversation, handover = self.conversation, self._handover
        sent = conversation.ends_sent(unsent, self) if handover is not None and not handover.void else 0
        phase = phase or (conversation.pending[0] if conversation.pending else None)
        doubtful = doubtful or (handover is not None and handover.several)
        harmed = self.in_flight if doubtful else self._at_work
        self._close()
        conversation.let_go(doubtful=doubtful)
        if harmed or phase not in (None, _QUIT):
            assert phase is not None
            self.account.failure(phase, reason, example, max(harmed, 1))
        if harmed:
            assert phase is not None
            self.account.trouble(f"{reason} at {phase.value.upper()}" + (f": {example}" if example else ""))
        if self.transaction.entry is not None:
            self._finish(Outcome.IN_DOUBT if sent else Outcome.FAILED, now_ns)
        if handover is not None:
            handover.end_behind(sent - 1, now_ns)

    def shut_down(self, phase: Phase, reply: Reply, now_ns: int, unsent: int = 0) -> None:
        """421 at any moment (RFC 5321 section 3.8), a goodbye on an idle session, or a no while we still write."""
        conversation, handover = self.conversation, self._handover
        several = handover is not None and handover.several
        self.parted = reply.code in GOODBYES
        if self.transaction.entry is None and not (conversation.held and several):
            self._close()
            conversation.let_go(doubtful=False)
        elif handover is None or several or (conversation.early and phase is _END_OF_DATA):
            conversation.pending.insert(0, phase)
            self.end(REFUSED, reply.words, now_ns, unsent=unsent)
        else:
            if not handover.void:
                handover.refuse(phase, reply, now_ns)
            self._close()
            conversation.let_go(doubtful=False)
            outcome = rejection(self.transaction.refusal or reply)
            self._finish(Outcome.ACCEPTED if self.transaction.taken else outcome, now_ns, rest=outcome)

    def _finish(self, outcome: Outcome, now_ns: int, rest: Outcome | None = None) -> None:
        """The last message of a session that is over."""
        self.conversation.enter(*self.transaction.finish(outcome, now_ns, rest), hold=False)

    def _close(self) -> None:
        self.closed = True
        self.busy = False
        self.feed = _deaf
        if self._handover is not None:
            self._handover.close()
        # Who answers knows the session, and a session a message would leave the collector of cycles 3 KB each time.
        self._handover = None
        del self.answering


def _deaf(_data: bytes, _now_ns: int) -> Collection[Buffer]:
    """What a session hears that is over."""
    return []
