"""Faults: every kind at every stage does what it says, as often as it says."""

from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import binomtest

from tests.sink.policy.sessions import Conversation, policy_of
from trafficgen.cli.sink import command
from trafficgen.errors import PlanError
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.policy_hooks import STAGES, Suspension
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import parse, read, tarpit


def talk(kind: FaultKind, text: str, capabilities: Capabilities = Capabilities()) -> Conversation:  # noqa: B008  (frozen)
    return Conversation(policy_of(faults=[parse(kind, text)]), capabilities)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in (Phase.TLS, Phase.AUTH)])
def test_every_stage_can_refuse(stage: Phase) -> None:
    conversation = talk(FaultKind.REJECT, f"{STAGES[stage]}:451")
    codes = [int(conversation.greet()[:3]), *conversation.codes(b"EHLO x\r\n"), *conversation.send(b"u@d.test")]
    codes += conversation.codes(b"QUIT\r\n")
    position = {"connect": 0, "helo": 1, "mail": 2, "rcpt": 3, "data": 4, "dot": 5, "quit": 6}[STAGES[stage]]
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


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_message_is_taken_and_its_reply_lost(lmtp: bool) -> None:
    conversation = talk(FaultKind.DROP, "dot:after", Capabilities(lmtp=lmtp))
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


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_drip_says_it_all_and_marks_the_message_until_it_has(lmtp: bool) -> None:
    conversation = talk(FaultKind.DRIP, "dot:5ms", Capabilities(lmtp=lmtp))
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
        (FaultKind.TRUNCATE, "dot:2kb", "expected one of data before"),
        (FaultKind.TRUNCATE, "data", r"expected STAGE:SIZE\[:ODDS\], got"),
        (FaultKind.TRUNCATE, "data:-1", "-1"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind: FaultKind, text: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        parse(kind, text)


ENVELOPE = b"MAIL FROM:<a@b.c>\r\nRCPT TO:<u@d.test>\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (ENVELOPE, b"DATA\r\n", b"Subject: x\r\n\r\n..hello\r\n.\r\n"),
        (ENVELOPE + b"DATA\r\n", b"Subject: x\r\n\r\n..hello\r\n.\r\n" + ENVELOPE, b"RSET\r\n"),
        (ENVELOPE + b"DATA\r\n", b"Subject: ", b"x\r\n\r\n..h", b"ello\r\n.\r\n"),
        (ENVELOPE + b"BDAT 5\r\nSubje", b"BDAT 17 LAST\r\nct: x\r\n\r\n.hello\r\n"),
        (ENVELOPE + b"BDAT 22 LAST\r\nSubject: x\r\n\r\n.hello\r\n" + ENVELOPE + b"RSET\r\n",),
    ],
)
@pytest.mark.parametrize("lmtp", [False, True])
def test_a_truncated_message_is_accepted_and_only_its_beginning_kept(pieces: tuple[bytes, ...], lmtp: bool) -> None:
    conversation = talk(FaultKind.TRUNCATE, "data:16b", Capabilities(lmtp=lmtp))
    whole = Conversation(policy_of(), Capabilities(lmtp=lmtp))
    assert conversation.say(*pieces) == whole.say(*pieces)
    assert whole.bag.messages == [(b"Subject: x\r\n\r\n.hello\r\n", 1)]
    assert conversation.bag.messages == [(b"Subject: x\r\n\r\n.h", 1)]


def test_truncation_ends_with_its_message() -> None:
    policy = policy_of(faults=[parse(FaultKind.TRUNCATE, "data:3b")])
    conversation = Conversation(policy)
    conversation.codes(ENVELOPE + b"DATA\r\n")
    policy.set_faults(())
    assert conversation.codes(b"one\r\n.\r\n" + ENVELOPE + b"DATA\r\n") == [250, 250, 250, 354]
    assert conversation.codes(b"two\r\n.\r\n") == [250]
    policy.set_faults([parse(FaultKind.TRUNCATE, "data:3b")])
    assert conversation.codes(ENVELOPE + b"BDAT 4\r\nlostRSET\r\n") == [250, 250, 250, 250]
    policy.set_faults(())
    assert conversation.codes(ENVELOPE + b"BDAT 6 LAST\r\nthree!") == [250, 250, 250]
    assert conversation.bag.messages == [(b"one", 1), (b"two\r\n", 1), (b"three!", 1)]


def test_a_short_message_is_not_truncated() -> None:
    conversation = talk(FaultKind.TRUNCATE, "data:19b")
    assert conversation.send(b"u@d.test", body=b"x\r\n") == [250, 250, 354, 250]
    assert conversation.bag.messages == [(b"Subject: x\r\n\r\nx\r\n", 1)]


def test_a_truncated_message_that_must_wait_or_is_refused() -> None:
    faults = [
        parse(kind, text)
        for kind, text in [(FaultKind.DRIP, "data:1ms"), (FaultKind.DELAY, "data:1s"), (FaultKind.TRUNCATE, "data:2b")]
    ]
    conversation = Conversation(policy_of(faults=faults))
    assert conversation.send(b"u@d.test") == [250, 250, 354, 250]
    assert conversation.bag.messages == [(b"Su", 1)]
    refused = Conversation(policy_of(faults=[*faults, parse(FaultKind.REJECT, "dot:550")]))
    assert refused.send(b"u@d.test") == [250, 250, 354, 550]
    assert refused.bag.messages == []


def test_every_kind_has_its_option_and_its_line_in_the_manual() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "reference" / "sink.md").read_text(encoding="utf-8")
    options = {name for option in command.params for name in option.opts}
    for kind in FaultKind:
        assert kind.option in options
        assert f"`{kind.option}" in manual


def test_a_tls_stall_comes_after_the_go_ahead() -> None:
    conversation = talk(FaultKind.STALL, "starttls:after", Capabilities(starttls=True))
    assert conversation.say(b"STARTTLS\r\n") == b"220 2.0.0 go ahead\r\n"
    assert conversation.session.suspension is Suspension.STALL


@pytest.mark.parametrize(
    "line",
    [
        "delay dot:50ms", "delay rcpt:uniform:10ms-2s:10%", "drip mail:20ms:12.5%", "reject rcpt:450:0.1%", "drop dot",
        "drop dot:after:1%", "reset connect", "stall data:after", "garbage helo:33.3%", "reject quit:421",
        "truncate data:2000:1%",
    ],
)  # fmt: skip
def test_a_fault_is_shown_as_it_is_read(line: str) -> None:
    assert str(read(line)) == line
