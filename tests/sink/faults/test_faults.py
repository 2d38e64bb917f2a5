"""Faults: every kind at every stage does what it says, as often as it says."""

from collections import Counter

import pytest
from scipy.stats import binomtest

from tests.sink.policy.sessions import Conversation, policy_of
from trafficgen.errors import PlanError
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.policy_hooks import SessionStage, Suspension
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import parse, read, tarpit


def talk(kind: FaultKind, text: str, capabilities: Capabilities = Capabilities()) -> Conversation:  # noqa: B008  (frozen)
    return Conversation(policy_of(faults=[parse(kind, text)]), capabilities)


@pytest.mark.parametrize(
    "stage", [stage for stage in SessionStage if stage not in (SessionStage.STARTTLS, SessionStage.AUTH)]
)
def test_every_stage_can_refuse(stage: SessionStage) -> None:
    conversation = talk(FaultKind.REJECT, f"{stage.value}:451")
    codes = [int(conversation.greet()[:3]), *conversation.codes(b"EHLO x\r\n"), *conversation.send(b"u@d.test")]
    codes += conversation.codes(b"QUIT\r\n")
    position = {"connect": 0, "helo": 1, "mail": 2, "rcpt": 3, "data": 4, "dot": 5, "quit": 6}[stage.value]
    assert codes[position] == 451
    assert all(code < 400 for code in codes[:position])


def test_starttls_and_auth_can_refuse() -> None:
    capabilities = Capabilities(starttls=True, auth=True)
    assert talk(FaultKind.REJECT, "starttls:454", capabilities).codes(b"STARTTLS\r\n") == [454]
    assert talk(FaultKind.REJECT, "auth:535", capabilities).codes(b"AUTH PLAIN AGEAYg==\r\n") == [535]


def test_421_closes_the_session() -> None:
    conversation = talk(FaultKind.REJECT, "rcpt:421")
    assert conversation.send(b"u@d.test") == [250, 421]
    assert conversation.session.closed


def test_a_message_is_taken_and_its_reply_lost() -> None:
    conversation = talk(FaultKind.DROP, "dot:after")
    assert conversation.send(b"u@d.test") == [250, 250, 354]
    assert conversation.session.suspension is Suspension.CLOSE
    assert conversation.session.unanswered
    assert len(conversation.bag.messages) == 1


def test_a_message_is_neither_taken_nor_answered() -> None:
    conversation = talk(FaultKind.RESET, "dot:before")
    assert conversation.send(b"u@d.test") == [250, 250, 354]
    assert conversation.session.suspension is Suspension.RESET
    assert not conversation.session.unanswered
    assert conversation.bag.messages == []


def test_a_stall_keeps_silent_whatever_comes() -> None:
    conversation = talk(FaultKind.STALL, "dot:after")
    assert conversation.send(b"u@d.test") == [250, 250, 354]
    assert conversation.session.suspension is Suspension.STALL
    assert conversation.say(b"NOOP\r\n" * 1000) == b""
    assert len(conversation.session._rest) == 0


def test_a_stall_in_the_middle_of_a_message_reads_nothing_more() -> None:
    conversation = talk(FaultKind.STALL, "data:after")
    assert conversation.codes(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n") == [250, 250, 354]
    assert conversation.session.suspension is Suspension.STOP_READING


def test_a_drip_says_it_all_and_marks_the_message_until_it_has() -> None:
    conversation = talk(FaultKind.DRIP, "dot:5ms")
    assert conversation.send(b"u@d.test") == [250, 250, 354, 250]
    assert conversation.session.drip_ns == 5_000_000
    assert conversation.session.unanswered


def test_a_tarpit_waits_at_every_stage() -> None:
    conversation = Conversation(policy_of(faults=tarpit("2s")))
    conversation.greet()
    assert conversation.codes(b"EHLO x\r\n") == [250]
    assert conversation.send(b"u@d.test")[-1] == 250
    assert conversation.codes(b"QUIT\r\n") == [221]
    assert conversation.waited_ns == [2 * 10**9] * 7


def test_garbage_is_no_reply() -> None:
    conversation = talk(FaultKind.GARBAGE, "mail")
    reply = conversation.say(b"MAIL FROM:<a@b.c>\r\n")
    assert reply.endswith(b"\r\n")
    assert not reply[:3].isdigit()


@pytest.mark.parametrize("odds", ["5%", "0.05", "1/20"])
def test_odds_are_met(odds: str) -> None:
    conversation = talk(FaultKind.REJECT, f"rcpt:450:{odds}")
    counted = Counter(conversation.send(b"u@d.test")[1] for _ in range(5_000))
    assert binomtest(counted[450], 5_000, 0.05).pvalue > 1e-4


def test_faults_come_on_top_of_the_table_and_delays_add_up() -> None:
    faults = [
        parse(FaultKind.DELAY, "dot:1s"),
        parse(FaultKind.DELAY, "dot:2s"),
        parse(FaultKind.REJECT, "dot:452:50%"),
    ]
    conversation = Conversation(policy_of("[default]\ndefer = 100", faults=faults))
    counted = Counter(conversation.send(b"u@d.test")[-1] for _ in range(2_000))
    assert set(counted) == {451, 452}
    assert binomtest(counted[452], 2_000, 0.5).pvalue > 1e-4
    assert set(conversation.waited_ns) == {3 * 10**9}


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (FaultKind.REJECT, "lunch:450", "expected one of connect"),
        (FaultKind.REJECT, "rcpt", "expected STAGE:CODE"),
        (FaultKind.REJECT, "rcpt:250", "400 to 599"),
        (FaultKind.REJECT, "rcpt:450:200%", "100 % at most"),
        (FaultKind.REJECT, "rcpt:450:1/0", "expected odds"),
        (FaultKind.DELAY, "dot:soon", "expected a duration"),
        (FaultKind.DELAY, "dot:uniform:2s-1s", "the shorter time first"),
        (FaultKind.DROP, "dot:during", "expected odds"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind: FaultKind, text: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        parse(kind, text)


def test_a_tls_stall_comes_after_the_go_ahead() -> None:
    conversation = talk(FaultKind.STALL, "starttls:after", Capabilities(starttls=True))
    assert conversation.say(b"STARTTLS\r\n") == b"220 2.0.0 go ahead\r\n"
    assert conversation.session.suspension is Suspension.STALL


@pytest.mark.parametrize(
    "line",
    [
        "delay dot:50ms", "delay rcpt:uniform:10ms-2s:10%", "drip mail:20ms:12.5%", "reject rcpt:450:0.1%", "drop dot",
        "drop dot:after:1%", "reset connect", "stall data:after", "garbage helo:33.3%", "reject quit:421",
    ],
)  # fmt: skip
def test_a_fault_is_shown_as_it_is_read(line: str) -> None:
    assert str(read(line)) == line
