"""Plans refuse what makes no sense, and units read what people write."""

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen import (
    Header,
    LongTail,
    OpenLoop,
    Plan,
    PlanError,
    SessionPlan,
    Stage,
    TcpTarget,
    UnixTarget,
    Users,
    WeightedDomain,
    Workload,
    parse_target,
)
from trafficgen.units import format_duration, parse_duration, parse_rate

S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90 * S), ("90s", 90 * S), ("5m", 300 * S), ("1h30m", 5_400 * S), ("250ms", S // 4), ("1.5s", 3 * S // 2),
        ("10us", 10_000), ("7ns", 7), ("1d", 86_400 * S), (" 2M ", 120 * S), ("0", 0),
    ],
)  # fmt: skip
def test_durations(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1h30", "s", "1 h", "1e3", "nan", "inf", "1,5s", "9" * 400])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 90, 90s, 5m or 1h30m, got"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100/s", 100.0), ("6000/m", 100.0), ("3600/h", 1.0), ("50/10s", 5.0), ("250", 250.0), ("0.5/s", 0.5)],
)
def test_rates(text: str, expected: float) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0", "0/s", "-5/s", "fast", "100/", "100/0s", "100/x", "nan/s", "inf", "1/" + "9" * 400, "9" * 400]
)
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="expected a rate above zero such as 100/s, 6000/m or 50/10s, got"):
        parse_rate(text)


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_rate):
        try:
            assert 0 <= parse(text) < math.inf
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0 ns"), (850, "850 ns"), (999.9, "1.00 µs"), (12_340, "12.3 µs"), (4_560_000, "4.56 ms"),
        (123_456_789, "123 ms"), (1_200_000_000, "1.20 s"), (99_960_000_000, "1m 40s"), (725 * S, "12m 05s"),
        (3_720 * S, "1h 02m"),
    ],
)  # fmt: skip
def test_durations_for_people(ns: float, expected: str) -> None:
    assert format_duration(ns) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail.test", TcpTarget("mail.test", 25)), ("mail.test:2025", TcpTarget("mail.test", 2025)),
        ("127.0.0.1:25", TcpTarget("127.0.0.1", 25)), ("[::1]:2025", TcpTarget("::1", 2025)),
        ("[::1]", TcpTarget("::1", 25)), ("::1", TcpTarget("::1", 25)), ("fe80::1%eth0", TcpTarget("fe80::1%eth0", 25)),
        ("unix:/run/sink", UnixTarget("/run/sink")),
    ],
)  # fmt: skip
def test_targets_and_the_way_back(text: str, expected: TcpTarget | UnixTarget) -> None:
    assert parse_target(text) == expected
    assert parse_target(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":25", "a:", "a:0", "a:65536", "a:-1", "a:25x", "[::1", "[::1]25", "[]:25", "a b", "a\n:25", "unix:", "a:٢٥"],
)
def test_anything_else_is_no_target(text: str) -> None:
    with pytest.raises(PlanError, match=r"\(--target\)"):
        parse_target(text)


@pytest.mark.parametrize(
    ("make", "flag"),
    [
        (lambda: WeightedDomain("a.com", 0.0), "--domain"),
        (lambda: WeightedDomain("a.com", -1.0), "--domain"),
        (lambda: WeightedDomain("a.com", math.nan), "--domain"),
        (lambda: WeightedDomain("a.com", math.inf), "--domain"),
        (lambda: WeightedDomain(""), "--domain"),
        (lambda: WeightedDomain("a..com"), "--domain"),
        (lambda: WeightedDomain("a.com\r\nRCPT TO:<x@y>"), "--domain"),
        (lambda: Workload(domains=()), "--domain"),
        (lambda: Workload(domains=(WeightedDomain("a.com"), WeightedDomain("a.com"))), "--domain"),
        (lambda: Workload(domain_suffix="no good"), "--domain-suffix"),
        (lambda: Workload(recipients_per_message=((0, 1.0),)), "--recipients"),
        (lambda: Workload(senders=0), "--senders"),
        (lambda: LongTail(0, 1.0), "--long-tail"),
        (lambda: Users(zipf=0.0), "--users"),
        (lambda: Header("X A", (("b", 1.0),)), "--header"),
        (lambda: Header("X-A", (("b\r\nBcc: c@c.test", 1.0),)), "--header"),
        (lambda: Header("X-A", (("b\0", 1.0),)), "--header"),
        (lambda: OpenLoop(0.0), "--rate"),
        (lambda: OpenLoop(math.nan), "--rate"),
        (lambda: OpenLoop(0.0, (Stage(0, 100.0),)), "--stage"),
        (lambda: SessionPlan(ehlo_name="a b"), "--ehlo-name"),
        (lambda: SessionPlan(max_messages=-1), "--messages-per-session"),
        (lambda: Plan(), "--message-count"),
        (lambda: Plan(max_messages=0), "--message-count"),
        (lambda: Plan(duration_ns=0), "--duration"),
        (lambda: Plan(max_messages=1, sessions=0), "--concurrency"),
        (lambda: Plan(max_messages=1, workers=0), "--workers"),
        (lambda: Plan(max_messages=1, seed=-1), "--seed"),
        (lambda: Plan(max_messages=1, run_id="xyz"), "--run-id"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_flag(make: Any, flag: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert caught.value.flag == flag
    assert str(caught.value).endswith(f" ({flag})")
    assert "\n" not in str(caught.value)
    assert "\r" not in str(caught.value)


def test_an_error_survives_the_way_home_from_a_worker() -> None:
    error = PlanError("expected an mbox", field="content", flag="--mbox")
    home = pickle.loads(pickle.dumps(error))
    assert (str(home), home.field, home.flag) == ("expected an mbox (--mbox)", "content", "--mbox")


def test_a_plan_survives_the_way_to_a_worker() -> None:
    plan = Plan(target=UnixTarget("/run/sink"), max_messages=1, load=OpenLoop(0.0, (Stage(S, 5.0),)))
    assert pickle.loads(pickle.dumps(plan)) == plan
