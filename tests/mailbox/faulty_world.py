"""A world (`world`) whose server does one thing wrong: when it is asked one command, or at moments that are drawn.

`Moment` says what it does in place of, in the middle of or behind its answer; what it does otherwise is right.
"""

from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from mboxgen.enums import table_of
from tests.mailbox.world import MS, Imap, Pop3, ServerSession, SimulatedWorker, World
from trafficgen.mailbox.account import MailboxAccount
from trafficgen.mailbox.visit import Visit
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.snapshot import Snapshot

BYE: Final = b"* BYE [UNAVAILABLE] going down"
GREETING: Final = "greeting"
CAPABILITIES: Final = b"IMAP4rev1 IDLE MOVE UIDPLUS LITERAL+ AUTH=PLAIN SASL-IR STARTTLS"

PROFILE: Final = """\
lmtp_port = 24
total_user_count = 1
user u {
  count = 100%
  username_format = u%n@example.com
  mail_inbox_delivery_interval = 200 ms
  mail_action_delay = 10 ms
  mail_action_repeat_delay = 10 ms
  mail_session_length = 1500 ms
  mail_inbox_delete_percentage = 30
  mail_inbox_move_percentage = 50
  mail_inbox_reply_percentage = 100
}
client c {
  count = 100%
  connection_max_count = 1
  protocol = imap
  login_interval = 200 ms
  imap_fetch_immediate = UID FLAGS
  imap_fetch_manual = BODY.PEEK[]
  imap_status_interval = 400 ms
}
"""


class Moment(Enum):
    """What a server does to one of its answers."""

    BYE = auto()
    """It says BYE in place of it, and hangs up (in POP3: hangs up)."""
    BYE_BEFORE_ITS_END = auto()
    """After all of it but its last line."""
    BYE_BEHIND = auto()
    """In the octets behind it."""
    CUT_OFF = auto()
    """It hangs up in place of it."""
    CUT_IN_THE_MIDDLE = auto()
    """In the middle of its octets."""
    NO = auto()
    """It refuses, and does nothing (in POP3: -ERR)."""
    BAD = auto()


BYES: Final = (Moment.BYE, Moment.BYE_BEFORE_ITS_END, Moment.BYE_BEHIND)
HANG_UPS: Final = (*BYES, Moment.CUT_OFF, Moment.CUT_IN_THE_MIDDLE)
REFUSALS: Final = (Moment.NO, Moment.BAD)


class _Faulty(ServerSession):
    """Asks its world before each answer whether something is to go wrong."""

    world: "FaultyWorld"
    bye = b""

    def __init__(self, world: "FaultyWorld", user: Any) -> None:
        super().__init__(world, user)
        self.spoil(GREETING, b"", lambda: None)

    def command(self) -> tuple[str, bytes]:
        """What is asked next, and its tag."""
        raise NotImplementedError

    def refuse(self, tag: bytes, moment: Moment) -> None:
        raise NotImplementedError

    def serve(self) -> None:
        command, tag = self.command()
        self.world.asked[command] += 1
        self.spoil(command, tag, super().serve)

    def spoil(self, command: str, tag: bytes, answer: Callable[[], None]) -> None:
        moment = self.world.moment_of(command)
        if moment is None:
            answer()
            return
        self.world.faults += 1
        if moment in REFUSALS:
            if command == GREETING:
                self.said.clear()
            else:
                self.take_line()
            self.refuse(tag, moment)
            return
        before = len(self.said) if command != GREETING else 0
        answer()
        octets = b"".join(list(self.said)[before:])
        while len(self.said) > before:
            self.said.pop()
        bye = self.bye + b"\r\n" if self.bye else b""
        lines = octets.splitlines(keepends=True)
        said = table_of(
            HANG_UPS,
            {
                Moment.BYE: bye,
                Moment.BYE_BEFORE_ITS_END: b"".join(lines[:-1]) + bye,
                Moment.BYE_BEHIND: octets + bye,
                Moment.CUT_OFF: b"",
                Moment.CUT_IN_THE_MIDDLE: octets[: len(octets) // 2],
            },
        )[moment]
        if said:
            self.said.append(said)
        self.hang_up()

    def take_line(self) -> None:
        """What was asked is passed over."""
        self.asked.popleft()


class FaultyImap(_Faulty, Imap):
    """With folders that must be made, and all the ways to log in."""

    bye = BYE

    def __init__(self, world: "FaultyWorld", user: Any) -> None:
        self.folders = [b"INBOX"]
        super().__init__(world, user)
        if not world.names_capabilities and not self.said[0].startswith(b"* BYE"):
            self.said[0] = self.said[0].replace(b"[CAPABILITY %s] " % world.capabilities, b"")

    def command(self) -> tuple[str, bytes]:
        tag, _, rest = self.asked[0].strip().partition(b" ")
        words = rest.split(b" ")
        return b" ".join(words[:2] if words[0] == b"UID" else words[:1]).decode() or "DONE", tag

    def refuse(self, tag: bytes, moment: Moment) -> None:
        self.say(b"%s %s [SERVERBUG] not today" % (tag, moment.name.encode()))

    def take_line(self) -> None:
        line = self.asked.popleft()
        if b"+}" in line:
            self.take_literal(line)

    def take_literal(self, line: bytes) -> None:
        left = int(line.rpartition(b"{")[2].partition(b"+")[0]) + 2
        while left > 0:
            left -= len(self.asked.popleft())

    def on_capability(self, _tag: bytes, _argument: bytes) -> bytes:
        self.say(b"* CAPABILITY " + self.world.capabilities)
        return b"done"

    def on_authenticate(self, _tag: bytes, _argument: bytes) -> bytes:
        return b"in"

    def on_starttls(self, _tag: bytes, _argument: bytes) -> bytes:
        return b"go"

    def on_list(self, _tag: bytes, _argument: bytes) -> bytes:
        for folder in self.folders:
            self.say(b'* LIST () "/" ' + folder)
        return b"listed"

    def on_create(self, _tag: bytes, argument: bytes) -> bytes:
        self.folders.append(argument)
        return b"made"

    def on_append(self, _tag: bytes, argument: bytes) -> bytes:
        self.take_literal(argument)
        return b"saved"

    def on_uid_copy(self, _tag: bytes, argument: bytes) -> bytes:
        return b"[COPYUID 1 %s 1] copied" % argument.split(b" ")[0]

    def on_expunge(self, tag: bytes, _argument: bytes) -> bytes:
        return self.on_uid_expunge(tag, b"%d" % self.flagged)

    def on_uid_store(self, tag: bytes, argument: bytes) -> bytes:
        self.flagged = int(argument.split(b" ")[0])
        return super().on_uid_store(tag, argument)


class FaultyPop3(_Faulty, Pop3):
    def command(self) -> tuple[str, bytes]:
        return self.asked[0].strip().split(b" ")[0].decode(), b""

    def refuse(self, tag: bytes, moment: Moment) -> None:
        self.say(b"-ERR [SYS/PERM] not today")

    def on_auth(self, _argument: bytes) -> None:
        self.on_pass(b"")

    def on_stls(self, _argument: bytes) -> None:
        self.say(b"+OK go")


class _Protecting(SimulatedWorker):
    """TLS begins as soon as it is agreed on."""

    def _begin(self, program: Visit[Any]) -> None:
        super()._begin(program)
        program.start_tls = lambda: program.secured(self.now_ns())  # type: ignore[method-assign]


class FaultyWorld(World):
    """`fault`: what happens to the answer to which command, always or once."""

    imap = FaultyImap
    pop3 = FaultyPop3
    worker_type = _Protecting
    account_type = MailboxAccount

    def __init__(
        self, profile: str = PROFILE, tape: bytes = b"", *, capabilities: bytes = CAPABILITIES, **fields: Any
    ) -> None:
        self.fault: tuple[str, Moment] | None = None
        self.once = True
        self.names_capabilities = True
        self.faults = 0
        self.asked: Counter[str] = Counter()
        super().__init__(profile, tape, capabilities=capabilities, **fields)

    def moment_of(self, command: str) -> Moment | None:
        """What goes wrong with the answer to this command now."""
        if self.fault is None or self.fault[0] != command or (self.once and self.faults):
            return None
        return self.fault[1]

    def play(self, duration_ms: int = 4000) -> None:
        """So long, then everybody leaves, to the end."""
        ends, left = self.now + duration_ms * MS, False
        while self.step():
            if self.now >= ends and not left:
                left = True
                self.now += 1
                self.leave()
        assert left
        assert not self.worker.inside

    @property
    def account(self) -> Snapshot:
        recorder = self.worker.account.recorder
        return recorder.snapshot(now_ns=self.now, cpu_ns=0, wall_ns=1, sessions_open=0, sessions_opened=0, in_flight=0)

    @property
    def failures(self) -> dict[tuple[str, str], int]:
        return {key: tally.count for key, tally in self.account.failures.items()}

    @property
    def commands(self) -> dict[str, CommandAccount]:
        return dict(self.account.commands)

    @property
    def errors(self) -> list[str]:
        """Lines about them."""
        return [line for line in self.lines if line.startswith("Error: ")]
