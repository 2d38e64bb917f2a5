"""A mail store, its users and their clock in one thread, where a tape of numbers decides what happens next.

Real parts: `Worker`, its director, programs and account. In place of sockets and an event loop: messages that are on
their way, IMAP and POP3 sessions of a server that does one thing at a time, octets that wait to be read. Whatever the
protocols leave open (when a server tells of new mail, in which order it lists, what has come between two words of one
answer) is drawn from the tape.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from trafficgen.mailbox.account import MailboxAccount
from trafficgen.mailbox.mail import Mail
from trafficgen.mailbox.plan import MailboxPlan, MailboxService
from trafficgen.mailbox.pop3_program import Pop3Program
from trafficgen.mailbox.population import User, populate
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.reading import parse_profile
from trafficgen.mailbox.visit import Visit
from trafficgen.mailbox.worker import Routes, Worker
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.outcomes import Outcome
from trafficgen.plan import TcpTarget

if TYPE_CHECKING:
    from trafficgen.guard import Route

RUN_ID = "0123456789abcdef"
MS = 1_000_000
FOREIGN = b"Subject: nothing of ours\r\n\r\nx\r\n"


class Tape:
    """Choices, then always the first of what there is."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = deque(numbers)

    @property
    def over(self) -> bool:
        return not self._numbers

    def below(self, number: int) -> int:
        return self._numbers.popleft() % number if self._numbers and number > 1 else 0

    def maybe(self) -> bool:
        return bool(self.below(2))


class Inbox:
    """One mailbox as the store has it."""

    def __init__(self) -> None:
        self.mail: list[tuple[int, bytes]] = []
        self.next_uid = 1

    def add(self, octets: bytes) -> None:
        self.mail.append((self.next_uid, octets))
        self.next_uid += 1

    def remove(self, uids: set[int]) -> None:
        self.mail = [each for each in self.mail if each[0] not in uids]


class ServerSession:
    """One session at the server: a transport to the program, and what both have written."""

    def __init__(self, world: "World", user: User) -> None:
        self.world, self.inbox = world, world.inboxes[user.mailbox]
        self.said: deque[bytes] = deque()  # to the program
        self.asked: deque[bytes] = deque()  # by the program, whole lines
        self.open = True

    def write(self, octets: bytes) -> None:
        if self.open:
            self.asked += octets.splitlines(keepends=True)

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def abort(self) -> None:
        self.open = False

    close = abort

    def say(self, line: bytes) -> None:
        self.said.append(line + b"\r\n")

    def hang_up(self) -> None:
        """The server closes the connection."""
        self.said.append(b"")
        self.asked.clear()
        self.open = False

    def serve(self) -> None:
        """Answer the next line."""
        raise NotImplementedError


class Imap(ServerSession):
    def __init__(self, world: "World", user: User) -> None:
        super().__init__(world, user)
        self.view: list[tuple[int, bytes]] = []
        self.selected = False
        self.idle = b""
        self.say(b"* OK [CAPABILITY %s] imap" % world.capabilities)

    def tell(self, *, expunges: bool = True) -> None:
        """All there is to tell of the mailbox."""
        if expunges:
            for number in range(len(self.view), 0, -1):
                if self.view[number - 1] not in self.inbox.mail:
                    self.say(b"* %d EXPUNGE" % number)
                    del self.view[number - 1]
        known = {uid for uid, _ in self.view}
        if new := [each for each in self.inbox.mail if each[0] > max(known, default=0)]:
            self.view += new
            self.say(b"* %d EXISTS" % len(self.view))

    def serve(self) -> None:
        line = self.asked.popleft().strip()
        if line == b"DONE":
            self.maybe_tell()
            self.say(self.idle + b" OK done")
            self.idle = b""
            return
        tag, _, rest = line.partition(b" ")
        command, _, argument = rest.partition(b" ")
        if command == b"UID":
            command, _, argument = argument.partition(b" ")
            command = b"uid_" + command
        text = getattr(self, f"on_{command.decode().lower()}")(tag, argument)
        if text is not None:
            self.say(tag + b" OK " + text)

    def maybe_tell(self, *, expunges: bool = True) -> None:
        if self.selected and self.world.tape.maybe():
            self.tell(expunges=expunges)

    def on_login(self, _tag: bytes, _argument: bytes) -> bytes:
        return b"[CAPABILITY %s] in" % self.world.capabilities

    def on_list(self, _tag: bytes, _argument: bytes) -> bytes:
        self.say(b'* LIST () "/" INBOX')
        self.say(b'* LIST () "/" Spam')
        return b"listed"

    def on_select(self, _tag: bytes, _argument: bytes) -> bytes:
        self.view = list(self.inbox.mail)
        self.selected = True
        self.say(b"* %d EXISTS" % len(self.view))
        self.say(b"* OK [UIDVALIDITY 1] x")
        self.world.between()
        self.say(b"* OK [UIDNEXT %d] x" % self.inbox.next_uid)
        self.maybe_tell()
        return b"selected"

    def on_noop(self, _tag: bytes, _argument: bytes) -> bytes:
        self.tell()
        return b"done"

    def on_status(self, _tag: bytes, argument: bytes) -> bytes:
        self.maybe_tell()
        self.say(b"* STATUS %s (MESSAGES 0)" % argument.partition(b" ")[0])
        return b"done"

    def on_idle(self, tag: bytes, _argument: bytes) -> None:
        self.idle = tag
        self.say(b"+ idling")

    def fetch(self, uids: Callable[[int, int], bool], argument: bytes, *, expunges: bool) -> bytes:
        self.maybe_tell(expunges=expunges)
        found = [(number, *each) for number, each in enumerate(self.view, 1) if uids(number, each[0])]
        if b"UID" in argument and not found and b":*" in argument and self.view:
            found = [(len(self.view), *self.view[-1])]  # RFC 9051: "*" is the last, however low it is
        if self.world.tape.maybe():
            found.reverse()
        for number, uid, octets in found:
            if (uid, octets) in self.inbox.mail:
                self.say(b"* %d FETCH (UID %d %s)" % (number, uid, content(octets, argument)))
                self.maybe_tell(expunges=False)
        return b"fetched"

    def on_fetch(self, _tag: bytes, argument: bytes) -> bytes:
        first = int(argument.partition(b":")[0])
        return self.fetch(lambda number, _: number >= first, argument, expunges=False)

    def on_uid_fetch(self, _tag: bytes, argument: bytes) -> bytes:
        first, colon, _ = argument.split(b" ")[0].partition(b":")
        return self.fetch(
            lambda _, uid: uid == int(first) or (bool(colon) and uid >= int(first)), argument, expunges=False
        )

    def on_uid_store(self, _tag: bytes, _argument: bytes) -> bytes:
        self.maybe_tell(expunges=False)
        return b"stored"

    def on_uid_expunge(self, _tag: bytes, argument: bytes) -> bytes:
        self.inbox.remove({int(argument)})
        self.tell()
        return b"expunged"

    def on_uid_move(self, _tag: bytes, argument: bytes) -> bytes:
        uid = int(argument.split(b" ")[0])
        if any(uid == each[0] for each in self.inbox.mail):
            self.say(b"* OK [COPYUID 1 %d 1] moved" % uid)
        return self.on_uid_expunge(_tag, b"%d" % uid)

    def on_logout(self, _tag: bytes, _argument: bytes) -> bytes:
        self.maybe_tell()
        self.say(b"* BYE bye")
        return b"out"


class Pop3(ServerSession):
    def __init__(self, world: "World", user: User) -> None:
        super().__init__(world, user)
        self.listed: list[tuple[int, bytes]] = []
        self.deleted: set[int] = set()
        self.say(b"+OK pop3")

    def serve(self) -> None:
        command, _, argument = self.asked.popleft().strip().partition(b" ")
        getattr(self, f"on_{command.decode().lower()}")(argument)

    def on_user(self, _argument: bytes) -> None:
        self.say(b"+OK")

    def on_pass(self, _argument: bytes) -> None:
        self.listed = list(self.inbox.mail)
        self.say(b"+OK")

    def on_uidl(self, _argument: bytes) -> None:
        self.say(b"+OK")
        for number, (uid, _) in enumerate(self.listed, 1):
            self.say(b"%d u%d" % (number, uid))
        self.say(b".")

    def on_retr(self, argument: bytes) -> None:
        self.say(b"+OK\r\n%s." % re.sub(rb"(?m)^\.", b"..", self.listed[int(argument) - 1][1]))

    def on_dele(self, argument: bytes) -> None:
        self.deleted.add(self.listed[int(argument) - 1][0])
        self.say(b"+OK")

    def on_quit(self, _argument: bytes) -> None:
        self.inbox.remove(self.deleted)
        self.say(b"+OK")


def content(octets: bytes, argument: bytes) -> bytes:
    if b"X-Traffic-Gen" not in argument:
        return b"BODY[] {%d}\r\n%s" % (len(octets), octets)
    header = b"".join(re.findall(rb"X-Traffic-Gen: .*\r\n", octets)) + b"\r\n"
    return b"BODY[HEADER.FIELDS (X-Traffic-Gen)] {%d}\r\n%s" % (len(header), header)


class Coming:
    """A message on its way: begun, in the store, its 250 read."""

    def __init__(self, number: int, mailbox: int, octets: bytes) -> None:
        self.number, self.mailbox, self.octets = number, mailbox, octets
        self.stored = False


class NoFailures(MailboxAccount):
    """Of a world where all goes well."""

    def failure(self, phase: str, reason: str, example: str) -> None:
        raise AssertionError(f"{phase}: {reason}: {example}")


class SimulatedWorker(Worker):
    """A worker whose connections lead into the world."""

    world: "World"

    @property
    def inside(self) -> int:
        """Programs with a session."""
        return len(self._programs)

    def everybody_leaves(self, now_ns: int) -> None:
        self.director.stop()
        for program in list(self._programs):
            program.leave(now_ns)

    def deliver(self, user: User, spam: bool, due_ns: int, now_ns: int) -> None:
        number = self.account.deliveries.begin(user.mailbox, spam=spam)
        mail = self.mail.of(number)
        self.world.coming.append(Coming(number, user.mailbox, mail.mark + mail.rest))

    def _begin(self, program: Visit[Any]) -> None:
        kind = self.world.pop3 if isinstance(program, Pop3Program) else self.world.imap
        session = kind(self.world, program.visitor.user)
        self._programs.add(program)
        program.transport = cast("Any", session)
        program.step = None
        program.opened(self.world.now)
        self.world.sessions.append((program, session))


class World:
    """Everything there is. `lose`: the number of a message that the store accepts, and does not keep. `foreign`: how
    many messages of others are there before, and that others get mail as well. `fields`: of the plan."""

    imap: type[ServerSession] = Imap
    pop3: type[ServerSession] = Pop3
    worker_type: type[SimulatedWorker] = SimulatedWorker
    account_type: type[MailboxAccount] = NoFailures

    def __init__(
        self,
        profile: str,
        tape: Iterable[int],
        *,
        capabilities: bytes,
        lose: int | None = None,
        foreign: int = 0,
        **fields: Any,
    ) -> None:
        self.tape = Tape(tape)
        self.capabilities = capabilities
        self.now = 1_000_000 * MS
        self.coming: list[Coming] = []
        self.sessions: list[tuple[Visit[Any], ServerSession]] = []
        self.accepted: list[int] = []
        self._lose, self._foreign = lose, foreign
        services = dict.fromkeys(("imap", "pop3", "delivery"), MailboxService(TcpTarget("127.0.0.1", 1)))
        parsed = parse_profile(profile).profile
        plan = MailboxPlan(profile=parsed, run_id=RUN_ID, connections=100, **{**services, **fields})
        users = list(populate(parsed, 1).users)
        self.inboxes = {user.mailbox: Inbox() for user in users}
        for inbox in self.inboxes.values():
            for _ in range(foreign):
                inbox.add(FOREIGN)
        route = cast("Route", _Route)
        self.lines: list[str] = []
        worker = self.worker_type(
            plan, users, Routes(route, route, route), Mail(None, RUN_ID),
            say=self.lines.append, on_second=lambda _: None, on_account=lambda _: None,
        )  # fmt: skip
        worker.world = self
        worker.now_ns = lambda: self.now
        worker.account = self.account_type(plan, 0, self.lines.append)
        worker.account.begin(self.now)
        self.worker = worker
        worker.director.begin(self.now)

    @property
    def counts(self) -> MailboxCounts:
        return self.worker.account.deliveries.count()

    # -- what can happen --------------------------------------------------------------------------------

    def _steps(self) -> list[Callable[[], None]]:
        """All that can happen next; what comes first happens when the tape is over."""
        steps: list[Callable[[], None]] = []
        for program, session in self.sessions:
            if session.said and not program.over:
                steps.append(lambda program=program, session=session: self._read(program, session))  # type: ignore[misc]
            if session.asked:
                steps.append(session.serve)
        steps += [lambda one=one: self._go_on(one) for one in self.coming]  # type: ignore[misc]
        for program, session in self.sessions:
            if isinstance(session, Imap) and session.selected and not program.over and not self.tape.over:
                steps.append(lambda session=session: session.tell(expunges=bool(session.idle)))  # type: ignore[misc]
        return steps

    def _read(self, program: Visit[Any], session: ServerSession) -> None:
        if octets := session.said.popleft():
            program.heard(octets, self.now)
            program.flush()
        else:
            program.eof_received()

    def _go_on(self, coming: Coming) -> None:
        if not coming.stored:
            coming.stored = True
            if coming.number != self._lose:
                self.inboxes[coming.mailbox].add(coming.octets)
        else:
            self.worker.account.deliveries.ended(coming.number, Outcome.ACCEPTED, self.now)
            self.accepted.append(coming.number)
            self.coming.remove(coming)

    def between(self) -> None:
        """Mail may come in the middle of an answer."""
        for one in self.coming:
            if not one.stored and self.tape.maybe():
                self._go_on(one)

    def step(self) -> bool:
        """One thing happens, or the clock goes on to the next deadline; whether anything could."""
        self.now += self.tape.below(2)  # things may happen at one time
        agenda = self.worker.director.agenda
        steps = self._steps()
        due = agenda.next_ns if not self.worker.director.stopping else None
        if due is not None and (due <= self.now or not steps or self.tape.below(4) == 3):
            self.now = max(self.now, due)
            agenda.run_due(self.now, 1)
            return True
        if self._foreign and self.tape.below(16) == 15:
            self.inboxes[0].add(FOREIGN)
        if steps:
            steps[self.tape.below(len(steps))]()
        return bool(steps)

    @property
    def imap_inside(self) -> bool:
        """Whether there is a program that is told of new mail when it asks."""
        return any(not program.over and program.protocol is MailProtocol.IMAP for program, _ in self.sessions)

    def leave(self) -> None:
        """Ctrl-C: nothing more is begun, everybody looks once more and logs out."""
        self.worker.everybody_leaves(self.now)


class _Route:
    name = "world"
    addresses = (TcpTarget("127.0.0.1", 1),)
