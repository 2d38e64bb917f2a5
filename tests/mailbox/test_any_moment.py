"""What a server does wrong, at every command that a mail program sends: one exact outcome, one line, and back again.

The commands are those of the programs' own tables, so that a new one cannot be forgotten.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mboxgen.enums import table_of
from tests.mailbox import test_orders
from tests.mailbox.faulty_world import (
    BYES,
    CAPABILITIES,
    GREETING,
    HANG_UPS,
    PROFILE,
    REFUSALS,
    FaultyWorld,
    Moment,
)
from trafficgen.mailbox import imap_opening, pop3_program
from trafficgen.mailbox.operations import PHASES, Operation
from trafficgen.mailbox.plan import MailboxService, Protection
from trafficgen.outcomes import Outcome
from trafficgen.plan import Mechanism, TcpTarget
from trafficgen.protocol.imap.commands import ImapCommand
from trafficgen.protocol.pop3.commands import Pop3Command

S = 1_000_000_000
STARTTLS = MailboxService(TcpTarget("127.0.0.1", 1), Protection.STARTTLS)
IMAP_SENT = [ImapCommand.GREETING, ImapCommand.STARTTLS, *imap_opening._OPERATIONS]
COMMANDS = {operation.value for operation in Operation}
POP3_SENT = [Pop3Command.GREETING, Pop3Command.STLS, *pop3_program._OPERATIONS]


def with_capabilities(*without: bytes) -> dict[str, Any]:
    return {"capabilities": b" ".join(word for word in CAPABILITIES.split() if word not in without)}


WAYS: Mapping[ImapCommand, dict[str, Any]] = table_of(
    IMAP_SENT,
    {
        ImapCommand.GREETING: {},
        ImapCommand.CAPABILITY: {},
        ImapCommand.STARTTLS: {"imap": STARTTLS},
        ImapCommand.AUTHENTICATE: {"login": Mechanism.PLAIN},
        ImapCommand.LOGIN: {},
        ImapCommand.LIST: {},
        ImapCommand.CREATE: {},
        ImapCommand.STATUS: {},
        ImapCommand.APPEND: {},
        ImapCommand.SELECT: {},
        ImapCommand.NOOP: {},
        ImapCommand.IDLE: {},
        ImapCommand.UID_FETCH: {},
        ImapCommand.FETCH: {"foreign": 1},
        ImapCommand.UID_STORE: {},
        ImapCommand.UID_COPY: with_capabilities(b"MOVE"),
        ImapCommand.UID_MOVE: {},
        ImapCommand.UID_EXPUNGE: {},
        ImapCommand.EXPUNGE: {**with_capabilities(b"UIDPLUS"), "delete_foreign": True},
        ImapCommand.LOGOUT: {},
    },
)
"""What makes a program send this command."""

POP3 = PROFILE.replace("protocol = imap", "protocol = pop3").replace("400 ms", "0")
POP3_WAYS: Mapping[Pop3Command, dict[str, Any]] = table_of(
    POP3_SENT,
    {
        Pop3Command.GREETING: {},
        Pop3Command.STLS: {"pop3": STARTTLS},
        Pop3Command.AUTH: {"login": Mechanism.PLAIN},
        Pop3Command.USER: {},
        Pop3Command.PASS: {},
        Pop3Command.UIDL: {},
        Pop3Command.RETR: {},
        Pop3Command.DELE: {},
        Pop3Command.QUIT: {},
    },
)


def phase_of(command: ImapCommand | Pop3Command) -> str:
    if isinstance(command, ImapCommand):
        opening = "imap_tls" if command is ImapCommand.STARTTLS else "imap_greeting"
        return imap_opening._OPERATIONS[command].value if command in imap_opening._OPERATIONS else opening
    opening = "pop3_tls" if command is Pop3Command.STLS else "pop3_greeting"
    return pop3_program._OPERATIONS[command].value if command in pop3_program._OPERATIONS else opening


def played(command: ImapCommand | Pop3Command, moment: Moment, *, once: bool) -> FaultyWorld:
    """A run in which this went wrong, whose account is right."""
    imap = isinstance(command, ImapCommand)
    ways = WAYS[command] if isinstance(command, ImapCommand) else POP3_WAYS[command]
    world = FaultyWorld(PROFILE if imap else POP3, **ways)
    world.names_capabilities = command is not ImapCommand.CAPABILITY
    world.once = once
    world.fault = (GREETING if command.value == GREETING else command.value), moment
    world.play()
    assert world.faults
    counts = world.counts
    assert counts.clean, counts
    assert counts.adds_up
    return world


def assert_it_goes_on(world: FaultyWorld, command: ImapCommand | Pop3Command) -> None:
    """The user has come again, and has seen all his mail but what came while he was out at last."""
    logins = world.commands[Operation.LOGIN if isinstance(command, ImapCommand) else Operation.POP3_LOGIN]
    assert logins.outcomes[Outcome.ACCEPTED] > 1
    assert world.counts.seen >= world.counts.delivered - 3 > 10


def one_line(world: FaultyWorld) -> tuple[str, str, str]:
    """The one failure there is (phase, reason), and the one line about it."""
    (((phase, reason), count),) = world.failures.items()
    (line,) = world.errors
    assert count == 1
    assert line.startswith(f"Error: {PHASES.phases[phase]}: {reason}")
    return phase, reason, line


@pytest.mark.parametrize("moment", [Moment.BYE, Moment.BYE_BEFORE_ITS_END, Moment.CUT_OFF, Moment.CUT_IN_THE_MIDDLE])
@pytest.mark.parametrize("command", IMAP_SENT)
def test_an_answer_that_never_comes_is_one_failure_of_its_command(command: ImapCommand, moment: Moment):
    world = played(command, moment, once=True)
    phase, reason, line = one_line(world)
    # An IDLE is not counted; after LOGOUT a BYE is what is due (RFC 9051 section 6.1.3).
    bye = moment in BYES and command is not ImapCommand.LOGOUT
    assert phase == ("imap_idle" if command is ImapCommand.IDLE else phase_of(command))
    assert reason == ("BYE [UNAVAILABLE]" if bye else "closed by the server")
    assert not bye or line.endswith(": going down")
    unanswered = {name: int(one.outcomes[Outcome.FAILED]) for name, one in world.commands.items() if one.errors}
    assert (unanswered.get(phase, 0) > 0) == (phase in COMMANDS)
    assert_it_goes_on(world, command)


@pytest.mark.parametrize("command", IMAP_SENT)
def test_a_bye_behind_an_answer_is_one_failure(command: ImapCommand):
    world = played(command, Moment.BYE_BEHIND, once=True)
    if command is ImapCommand.LOGOUT:
        assert not world.failures
        return
    _, reason, line = one_line(world)
    if command is ImapCommand.STARTTLS:
        assert reason == "not IMAP"
        assert "octets behind the answer to STARTTLS" in line
    else:
        assert reason == "BYE [UNAVAILABLE]"
    assert_it_goes_on(world, command)


@pytest.mark.parametrize("moment", REFUSALS)
@pytest.mark.parametrize("command", [command for command in IMAP_SENT if command is not ImapCommand.GREETING])
def test_a_command_that_is_always_refused_is_counted_as_itself_and_said_once(command: ImapCommand, moment: Moment):
    world = played(command, moment, once=False)
    phase, reason = phase_of(command), f"{moment.name} [SERVERBUG]"
    assert set(world.failures) <= {(phase, reason), ("body", reason)}  # UID FETCH is two kinds of command
    assert world.failures[phase, reason] > 0
    assert [line for line in world.errors if line.startswith(f"Error: {PHASES.phases[phase]}: {reason}: ")]
    assert len(world.errors) == len(world.failures)
    if phase in COMMANDS:
        refused = {name: int(one.outcomes[Outcome.REJECTED_PERMANENT]) for name, one in world.commands.items()}
        assert {name for name, count in refused.items() if count} == {name for name, _ in world.failures}
        assert refused[phase] == world.failures[phase, reason]
    if command in (ImapCommand.LOGIN, ImapCommand.AUTHENTICATE, ImapCommand.STARTTLS, ImapCommand.SELECT):
        assert world.asked[command.value] == 3  # at once, after 1 s, and after 2 s more


@pytest.mark.parametrize("moment", [Moment.CUT_OFF, Moment.CUT_IN_THE_MIDDLE])
@pytest.mark.parametrize("command", POP3_SENT)
def test_a_pop3_answer_that_never_comes_is_one_failure_of_its_command(command: Pop3Command, moment: Moment):
    world = played(command, moment, once=True)
    phase, reason, _ = one_line(world)
    assert (phase, reason) == (phase_of(command), "closed by the server")
    if phase in COMMANDS:
        in_doubt = Outcome.IN_DOUBT if command is Pop3Command.QUIT else Outcome.FAILED
        assert world.commands[phase].outcomes[in_doubt] == world.commands[phase].errors == 1
    assert_it_goes_on(world, command)


@pytest.mark.parametrize("command", POP3_SENT)
def test_a_pop3_command_that_is_always_refused_ends_each_visit_and_is_said_once(command: Pop3Command):
    world = played(command, Moment.NO, once=False)
    phase, reason = phase_of(command), "-ERR [SYS/PERM]"
    assert set(world.failures) == {(phase, reason)}
    (line,) = world.errors
    assert line.startswith(f"Error: {PHASES.phases[phase]}: {reason}: u1@example.com: -ERR [SYS/PERM] not today")
    if command in (Pop3Command.USER, Pop3Command.PASS, Pop3Command.AUTH, Pop3Command.STLS, Pop3Command.GREETING):
        assert world.failures[phase, reason] == 3  # at once, after 1 s, and after 2 s more
    if phase in COMMANDS:
        assert world.commands[phase].outcomes[Outcome.REJECTED_PERMANENT] == world.failures[phase, reason]


class Anywhere(FaultyWorld):
    """Servers that hang up when they are asked for the n-th time, for each n of a set."""

    moments: dict[int, Moment]

    def moment_of(self, command: str) -> Moment | None:
        return self.moments.get(self.asked.total()) if command != GREETING else None


@pytest.mark.parametrize("clients", test_orders.CLIENTS)
@given(
    tape=test_orders.tapes,
    moments=st.dictionaries(st.integers(1, 60), st.sampled_from(HANG_UPS), min_size=1, max_size=6),
)
@settings(max_examples=15, deadline=None)
def test_servers_that_hang_up_at_any_moment_make_no_mail_missing(clients: str, tape: bytes, moments: dict[int, Moment]):
    world = Anywhere(test_orders.PROFILE.format(clients=clients, length="100 ms"), tape)
    world.moments = moments
    world.play(3000)
    assert world.counts.clean, world.counts
    assert world.counts.adds_up
    assert sum(world.failures.values()) <= world.faults
    assert {reason for _, reason in world.failures} <= {"BYE [UNAVAILABLE]", "closed by the server"}
    assert len(world.errors) == len(world.failures)
