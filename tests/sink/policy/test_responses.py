"""Response tables: KumoMTA's files as they are, our keys, and clear words for what cannot be meant."""

import math
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.sink.policy.sessions import Clock, Conversation, policy_of
from trafficgen.errors import PlanError
from trafficgen.sink.policy.replies import render
from trafficgen.sink.policy.responses import DEFAULT_PROFILE, parse, read

KUMO = """
[default]
bounce = 10
defer  = 5

[domain."yahoo.com"]
bounce = 5
defer  = 20

[[bounce."aol.com"]]
code = 550
msg = "MAILBOX NOT FOUND"

[[defer."aol.com"]]
code = 421
msg = "421-4.7.0 slow down\\n421 4.7.0 really"

[[defer."yahoo.com"]]
code = 550
msg = "5.0.0 a permanent code in the wrong list"
"""


def test_a_table_of_kumomta_is_read_as_it_is() -> None:
    table = parse(KUMO)
    aol, yahoo = table.domains["aol.com"], table.domains["yahoo.com"]
    assert (aol.bounce, aol.defer) == (10, 5)
    assert [refusal.octets for refusal in aol.bounces] == [b"550 MAILBOX NOT FOUND\r\n"]
    assert [refusal.octets for refusal in aol.defers] == [b"421-4.7.0 slow down\r\n421 4.7.0 really\r\n"]
    assert (yahoo.bounce, yahoo.defer) == (5, 20)
    assert [refusal.octets for refusal in yahoo.bounces] == [b"550 boing!\r\n"]
    assert table.default.defers[0].octets == b"451 later!\r\n"
    assert len(table.warnings) == 1
    assert "550" in table.warnings[0]


def test_the_shipped_profile_is_clean() -> None:
    table = read(DEFAULT_PROFILE)
    assert table.warnings == ()
    assert "gmail.com" in table.domains
    texts = [r.octets for profile in table.domains.values() for r in (*profile.bounces, *profile.defers)]
    assert all(b"(imitated)" in text for text in texts if text not in (b"550 boing!\r\n", b"451 later!\r\n"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[default", "is no TOML"),
        ("[default]\nbounce = -1", "bounce of default"),
        ("[default]\nbounce = true", "bounce of default"),
        ("[default]\nbounce = 60\ndefer = 50", "over 100 per cent"),
        ('[[bounce."a.b"]]\ncode = 250', "code from 400 to 599"),
        ('[[bounce."a.b"]]\ncode = 550\nmsg = 5', "a text as msg"),
        ('[[bounce."a.b"]]\ncode = 550\nweight = 0', "weight above zero"),
        ('[bounce]\n"a.b" = 5', "array of tables"),
        ('[domain."a.b"]\nstage = "connect"', "one of rcpt, data, dot"),
        ('[default]\nstage = "dinner"', "one of connect"),
        ('[default]\ndelay = "soon"', "the delay of default"),
        ("[default]\nattempts = -1", "attempts of default"),
    ],
)
def test_what_cannot_be_meant_is_refused(table: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        parse(table)


def test_a_mark_of_the_octet_order_is_no_part_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_bytes(b"\xef\xbb\xbf[default]\nbounce = 5\n")
    assert read(tmp_path / "table.toml") == parse("[default]\nbounce = 5\n")


def test_what_looks_wrong_is_said() -> None:
    warnings = parse(
        '[surprise]\n[default]\nbonce = 1\n[[defer."a.b"]]\ncode = 451\n[[defer."a.b"]]\ncode = 451\ntext = "x"'
    ).warnings
    assert [words for words in ("surprise", "bonce", "text", "twice") if any(words in line for line in warnings)] == [
        "surprise", "bonce", "text", "twice",
    ]  # fmt: skip


@given(st.integers(400, 599), st.text(max_size=1200))
def test_any_text_makes_a_reply_that_a_client_can_read(code: int, text: str) -> None:
    octets = render(code, text)
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.startswith(b"%d-" % code) for line in lines[:-1])
    assert lines[-1].startswith(b"%d " % code)
    assert all(len(line) <= 510 and b"\n" not in line and b"\r" not in line and b"\0" not in line for line in lines)


values = st.sampled_from(["0", "7", "-1", "2.5", "true", '"dot"', '"50ms"', "[]", "{}", '"x"'])
keys = st.sampled_from(["bounce", "defer", "stage", "delay", "attempts", "sticky", "greylist", "code", "msg", "weight"])
heads = st.sampled_from(["[default]", '[domain."a.b"]', '[[bounce."a.b"]]', '[[defer."a.b"]]', "[bounce]", "[x]"])


@given(st.dictionaries(heads, st.dictionaries(keys, values, max_size=4), max_size=5))
def test_any_tables_are_read_or_refused_with_words(tables: dict[str, dict[str, str]]) -> None:
    lines = [line for head, rows in tables.items() for line in (head, *(f"{key} = {v}" for key, v in rows.items()))]
    with suppress(PlanError):
        table = parse("\n".join(lines))
        for profile in (table.default, *table.domains.values()):
            assert 0 <= profile.bounce + profile.defer <= 100
            assert profile.bounces
            assert profile.defers


def fits(counted: Counter[int], expected: dict[int, float], total: int) -> bool:
    """Whether the counts fit the shares, at one in ten thousand."""
    observed = [counted[code] for code in expected]
    assert sum(observed) == total
    p: float = chisquare(observed, [share * total for share in expected.values()]).pvalue
    return p > 1e-4


def draw(table: str, recipient: bytes, times: int, *, kumo_odds: bool = False, seed: int = 1) -> Counter[int]:
    talk = Conversation(policy_of(table, kumo_odds=kumo_odds, seed=seed))
    return Counter(talk.send(recipient)[-1] for _ in range(times))


def test_percentages_are_met() -> None:
    counted = draw("[default]\nbounce = 10\ndefer = 5", b"u@d.test", 20_000)
    assert fits(counted, {550: 0.10, 451: 0.05, 250: 0.85}, 20_000)


def test_kumo_odds_are_one_per_cent_short() -> None:
    counted = draw("[default]\nbounce = 10\ndefer = 5", b"u@d.test", 20_000, kumo_odds=True)
    assert fits(counted, {550: 0.09, 451: 0.05, 250: 0.86}, 20_000)
    assert 550 not in draw("[default]\nbounce = 1", b"u@d.test", 2_000, kumo_odds=True)
    assert draw("[default]\nbounce = 100", b"u@d.test", 500)[550] == 500


def test_weights_share_out_a_domains_replies() -> None:
    table = '[default]\ndefer = 40\n[[defer."d.test"]]\ncode = 421\nweight = 3\n[[defer."d.test"]]\ncode = 452'
    policy = policy_of(table)
    counted = Counter(Conversation(policy).send(b"u@d.test")[-1] for _ in range(10_000))
    assert fits(counted, {421: 0.30, 452: 0.10, 250: 0.60}, 10_000)


def test_the_same_seed_refuses_in_the_same_order_and_another_does_not() -> None:
    def codes(seed: int) -> list[int]:
        talk = Conversation(policy_of("[default]\nbounce = 50", seed=seed))
        return [talk.send(b"u@d.test")[-1] for _ in range(200)]

    assert codes(7) == codes(7) != codes(8)


def test_every_recipient_of_a_message_rolls_and_the_first_no_decides() -> None:
    talk = Conversation(policy_of("[default]\nbounce = 10"))
    counted = Counter(talk.send(b"a@d.test", b"b@d.test", b"c@d.test")[-1] for _ in range(10_000))
    assert fits(counted, {550: 1 - 0.9**3, 250: 0.9**3}, 10_000)


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
def test_a_stage_moves_the_refusal(stage: str) -> None:
    talk = Conversation(policy_of(f'[default]\nbounce = 100\nstage = "{stage}"'))
    codes = talk.send(b"u@d.test")
    assert codes.index(550) == {"rcpt": 1, "data": 2, "dot": 3}[stage]


def test_stages_of_single_replies_share_out_what_is_left() -> None:
    table = '[default]\ndefer = 40\n[[defer."d.test"]]\ncode = 450\nstage = "rcpt"\n[[defer."d.test"]]\ncode = 451'
    talk = Conversation(policy_of(table))
    counted: Counter[int] = Counter()
    for _ in range(10_000):
        codes = talk.send(b"u@d.test")
        counted[450 if 450 in codes else codes[-1]] += 1
    assert fits(counted, {450: 0.20, 451: 0.20, 250: 0.60}, 10_000)


def test_the_default_may_refuse_before_a_recipient_is_known() -> None:
    assert Conversation(policy_of('[default]\ndefer = 100\nstage = "connect"')).greet() == b"451 later!\r\n"
    assert Conversation(policy_of('[default]\ndefer = 100\nstage = "helo"')).codes(b"EHLO x\r\n") == [451]
    assert Conversation(policy_of('[default]\ndefer = 100\nstage = "mail"')).codes(b"MAIL FROM:<a@b.c>\r\n") == [451]


@pytest.mark.parametrize(
    ("local", "reply"),
    [
        (b"x-tempfail-y", b"400 tempfail requested\r\n"),
        (b"permfail", b"500 permfail requested\r\n"),
        (b"450-please", b"450 you said 450-please\r\n"),
        (b"250-please", b"250 2.0.0 taken\r\n"),
    ],
)
def test_local_parts_ask_for_an_outcome_without_any_dice(local: bytes, reply: bytes) -> None:
    talk = Conversation(policy_of("[default]\nbounce = 100"))
    talk.say(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<" + local + b"@d.test>\r\nDATA\r\n")
    assert talk.say(b"x\r\n.\r\n") == reply


@pytest.mark.parametrize(
    ("suffixes", "domain", "code"),
    [
        ((), b"gmail.com", 550),
        ((), b"GMAIL.com.testingdomain.tld", 550),
        ((), b"notgmail.com", 250),
        (("testingdomain.tld",), b"gmail.com.testingdomain.tld", 550),
        (("testingdomain.tld",), b"gmail.com.other.tld", 250),
    ],
)
def test_the_suffix_is_taken_off_before_the_table_is_asked(suffixes: tuple[str, ...], domain: bytes, code: int) -> None:
    talk = Conversation(policy_of('[domain."gmail.com"]\nbounce = 100', suffixes=suffixes))
    assert talk.send(b"u@" + domain)[-1] == code


def test_421_ends_the_session() -> None:
    talk = Conversation(policy_of('[default]\ndefer = 100\n[[defer."d.test"]]\ncode = 421'))
    assert talk.send(b"u@d.test")[-1] == 421
    assert talk.session.closed


def test_first_attempts_fail_and_then_no_more() -> None:
    talk = Conversation(policy_of("[default]\nattempts = 2"))
    assert [talk.send(b"u@d.test")[-1] for _ in range(4)] == [451, 451, 250, 250]
    assert talk.send(b"other@d.test")[-1] == 451


def test_sticky_failures_stay_with_their_recipients() -> None:
    policy = policy_of("[default]\nbounce = 20\nsticky = true")
    talk = Conversation(policy)
    users = [b"user-%d@d.test" % number for number in range(1000)]
    first = [talk.send(user)[-1] for user in users]
    assert [talk.send(user.upper())[-1] for user in users] == first
    assert fits(Counter(first), {550: 0.2, 250: 0.8}, 1000)


def test_greylisting_puts_a_triplet_off_until_it_has_waited() -> None:
    clock = Clock()
    policy = policy_of('[default]\ngreylist = "60s"\nstage = "rcpt"', clock=clock)
    talk = Conversation(policy)
    assert talk.send(b"u@d.test")[1] == 451
    clock.now_ns += 59 * 10**9
    assert talk.send(b"u@d.test")[1] == 451
    clock.now_ns += 10**9
    assert talk.send(b"u@d.test")[-1] == 250
    assert Conversation(policy, address=b"192.0.2.2").send(b"u@d.test")[1] == 451


def test_a_delay_is_waited_for_before_the_answer() -> None:
    talk = Conversation(policy_of('[default]\ndelay = "uniform:10ms-20ms"'))
    assert [talk.send(b"u@d.test")[-1] for _ in range(100)] == [250] * 100
    assert len(talk.waited_ns) == 100
    assert all(10_000_000 <= wait_ns <= 20_000_000 for wait_ns in talk.waited_ns)
    assert math.isclose(sum(talk.waited_ns) / 100, 15_000_000, rel_tol=0.1)
