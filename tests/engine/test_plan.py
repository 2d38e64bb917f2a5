"""Plans refuse what makes no sense, and units read what people write."""

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trafficgen
from trafficgen import (
    Auth,
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
from trafficgen.plan import Dialect, Target, parse_listen
from trafficgen.units import format_duration, parse_duration, parse_rate

S = 1_000_000_000

untyped: Any = trafficgen
"""For callers without a type checker."""


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
    [
        ("1,000/s", 1000.0),
        ("1_000_000/hour", 1_000_000 / 3600),
        ("100/sec", 100.0),
        ("100/second", 100.0),
        ("6000/min", 100.0),
        ("6000/minute", 100.0),
        ("36/hr", 0.01),
        ("864/day", 0.01),
        ("864/d", 0.01),
        ("local:100/s", 100.0),
        ("1,234.5/s", 1234.5),
        ("100/s", 100.0),
        ("6000/m", 100.0),
        ("3600/h", 1.0),
        ("50/10s", 5.0),
        ("250", 250.0),
        ("0.5/s", 0.5),
    ],
)
def test_rates(text: str, expected: float) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0/s",
        "-5/s",
        "fast",
        "100/",
        "100/0s",
        "100/x",
        "nan/s",
        "inf",
        "1/" + "9" * 400,
        "9" * 400,
        "1,5/s",
        "1,00/s",
        "1_0,0/s",
        "1,000_000/s",
        ",100/s",
        "100/sek",
        "local:",
        "global:5/s",
    ],
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
    [
        "",
        ":25",
        "a:",
        "a:0",
        "a:65536",
        "a:-1",
        "a:25x",
        "[::1",
        "[::1]25",
        "[]:25",
        "a b",
        "a\n:25",
        "unix:",
        "a:٢٥",
        "a:" + "2" * 5000,
        "[a:b]",
        "a:b:c",
        "1.2.3",
        "256.1.1.1",
        "127.0.0.1.5",
        "0.1",
        "a..b",
        "-a",
        "a" * 64,
        "[::1]:",
        "*:25",
        "a\\b",
        "$HOST",
        "a;b",
        "unix://run/s",
        "fe80::1%a b",
        "[::1%]",
    ],
)
def test_anything_else_is_no_target(text: str) -> None:
    with pytest.raises(PlanError, match=r"\(target\)"):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("lmtp:127.0.0.1:24", "LMTP is written lmtp://HOST[:PORT] or lmtp:unix:/path"),
        ("LMTP://127.0.0.1:24", "LMTP is written lmtp://HOST[:PORT] or lmtp:unix:/path"),
        ("lmtp://unix:/run/lmtp", "LMTP is written lmtp://HOST[:PORT] or lmtp:unix:/path"),
        ("lmtps://127.0.0.1", "add --tls; LMTP is written lmtp://HOST[:PORT]"),
        ("http://127.0.0.1:8000", "injection is written http://HOST[:PORT]/api/inject/v1"),
        ("HTTP://127.0.0.1/a", "injection is written http://HOST[:PORT]/api/inject/v1"),
        ("http://unix:/run/s", "injection is written http://HOST[:PORT]/api/inject/v1"),
        ("http://me:secret@127.0.0.1/a", "injection is written http://HOST[:PORT]/api/inject/v1"),
        ("HTTPS://127.0.0.1/a", "injection is written http://HOST[:PORT]/api/inject/v1 or https://…"),
        ("https://127.0.0.1:8000", "injection is written http://HOST[:PORT]/api/inject/v1 or https://…"),
        ("inet:127.0.0.1:25", 'write it without "inet:"'),
        ("inet:25", 'write it without "inet:"'),
        ("smtp://127.0.0.1", 'write it without "smtp:"'),
        ("smtps://a.test:465", 'add --tls and write it without "smtps:"'),
        ("gopher://a.test", "not a URL"),
        ("Unix:/run/smtp", '"unix:" in small letters'),
        ("unix=/run/smtp", "a UNIX socket is written unix:/path"),
        ("/run/smtp", "a UNIX socket is written unix:/path"),
        ("./smtp.sock", "a UNIX socket is written unix:/path"),
        ("me@mail.test", "a server and not a mailbox"),
        ("a.test,b.test", "one server"),
        ("2525", "a host before the port, such as 127.0.0.1:2525"),
    ],
)
def test_what_has_another_shape_is_refused_with_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(PlanError) as refused:
        parse_target(text, "sink", "--sink-api")
    assert advice in refused.value.text
    assert (refused.value.field, refused.value.flag) == ("sink", "--sink-api")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("lmtp://store.test", TcpTarget("store.test", 24, Dialect.LMTP)),
        ("lmtp://127.0.0.1:2424", TcpTarget("127.0.0.1", 2424, Dialect.LMTP)),
        ("lmtp://[::1]:24", TcpTarget("::1", 24, Dialect.LMTP)),
        ("lmtp:unix:/run/dovecot/lmtp", UnixTarget("/run/dovecot/lmtp", Dialect.LMTP)),
    ],
)
def test_a_target_of_lmtp_says_so(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(str(target)) == target
    with pytest.raises(PlanError):
        parse_listen(text)


@pytest.mark.parametrize("text", ["lmtp://127.0.0.1:25", "lmtp://"])
def test_lmtp_has_a_port_of_its_own_and_a_host(text: str) -> None:
    with pytest.raises(PlanError):
        parse_target(text)


def test_a_target_of_injection_says_whether_it_is_protected() -> None:
    assert parse_target("http://mta.test/a") == TcpTarget("mta.test", 80, Dialect.HTTP, "/a")
    assert parse_target("https://mta.test/a") == TcpTarget("mta.test", 443, Dialect.HTTPS, "/a")
    assert str(parse_target("https://[::1]:8443/a?b")) == "https://[::1]:8443/a?b"


def test_lmtp_goes_without_a_login() -> None:
    with pytest.raises(PlanError, match="LMTP goes without a login"):
        Plan(target=parse_target("lmtp://127.0.0.1"), max_messages=1, session=SessionPlan(auth=Auth("me", Path("p"))))


@given(st.one_of(st.text(max_size=30), st.text("[]:./%@ax1\0\n-", max_size=12)))
def test_any_text_is_a_target_or_a_plan_error(text: str) -> None:
    for parse in (parse_target, parse_listen):
        try:
            found = parse(text)
        except PlanError:
            continue
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    "host", ["smtp:25", "lmtp:24", "http:80", "mail.test.:25", "bücher.test", "a_b.test", "[mail.test]:25"]
)
def test_hosts_with_odd_names_are_hosts(host: str) -> None:
    assert isinstance(parse_target(host), TcpTarget)


@pytest.mark.parametrize(
    ("make", "field", "words"),
    [
        (
            lambda: untyped.Plan(target="127.0.0.1:25", max_messages=1),
            "target",
            "expected a TcpTarget or a UnixTarget or None",
        ),
        (lambda: untyped.Plan(max_messages=1.5), "max_messages", "expected a whole number or None, got 1.5"),
        (lambda: untyped.Plan(max_messages=1, seed=1.5), "seed", "expected a whole number, got 1.5"),
        (lambda: untyped.Plan(max_messages=1, seed=True), "seed", "expected a whole number, got True"),
        (lambda: untyped.Plan(max_messages=1, load="100/s"), "load", "expected an OpenLoop or None, got '100/s'"),
        (lambda: untyped.Plan(max_messages=1, session="tls"), "session", "expected a SessionPlan"),
        (lambda: untyped.Plan(max_messages=1, workload={}), "workload", "expected a Workload, got {}"),
        (lambda: untyped.OpenLoop("100/s"), "rate_per_s", "expected a number, got '100/s'"),
        (lambda: untyped.OpenLoop(1.0, [Stage(S, 1.0)]), "stages", "expected a tuple of which each is a Stage"),
        (lambda: untyped.OpenLoop(1.0, ("30s:200",)), "stages", "expected a tuple of which each is a Stage"),
        (lambda: untyped.OpenLoop(1.0, arrivals="poisson"), "arrivals", "expected an Arrivals, got 'poisson'"),
        (lambda: untyped.SessionPlan(security="tls"), "security", "expected a Security, got 'tls'"),
        (lambda: untyped.SessionPlan(auth=("me", "pw")), "auth", "expected an Auth or an AuthUsers or None"),
        (lambda: untyped.Auth("me", "secret"), "password_file", "expected a Path, got 'secret'"),
        (lambda: untyped.Workload(domains=("a.com",)), "domains", "expected a tuple of which each is a WeightedDomain"),
        (lambda: untyped.Workload(domains="a.com"), "domains", "got 'a.com'"),
        (lambda: untyped.Workload(content="a.mbox"), "content", "expected a SizedBodies or a BodyFile or a Corpus"),
        (
            lambda: untyped.Workload(recipients_per_message=(1, 2)),
            "recipients_per_message",
            "a whole number and a number",
        ),
        (lambda: untyped.Corpus("a.mbox"), "path", "expected a Path, got 'a.mbox'"),
        (lambda: untyped.SizedBodies("5kb"), "sizes", "expected a tuple of which each is a text, got '5kb'"),
        (lambda: untyped.Header("X-A", "b"), "values", "expected a tuple"),
        (lambda: untyped.TcpTarget("a", "25"), "port", "expected a whole number, got '25'"),
        (lambda: untyped.TcpTarget("a", 70_000), "port", "expected a port from 0 to 65535"),
        (lambda: untyped.UnixTarget(None), "path", "expected a text, got None"),
        (lambda: untyped.parse_target(25), "target", "as text, got"),
        (lambda: untyped.run("127.0.0.1:25"), "plan", "expected a Plan, got '127.0.0.1:25'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_field_and_without_a_flag(
    make: Any, field: str, words: str
) -> None:
    with pytest.raises(PlanError) as refused:
        make()
    assert words in str(refused.value)
    assert str(refused.value).endswith(f" ({field})")
    assert "--" not in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Plan(max_messages=10**5000),
        lambda: Plan(max_messages=10**12 + 1),
        lambda: Plan(max_messages=1, sessions=10**9),
        lambda: Plan(max_messages=1, workers=10**5),
        lambda: Plan(max_messages=1, seed=10**5000),
        lambda: Plan(duration_ns=10**5000),
        lambda: Plan(max_messages=1, grace_ns=10**18),
        lambda: SessionPlan(reply_timeout_ns=10**18),
        lambda: SessionPlan(max_messages=10**5000),
        lambda: OpenLoop(10**5000),
        lambda: OpenLoop(1e300),
        lambda: OpenLoop(1.0, (Stage(10**16, 1.0),) * 9),
        lambda: WeightedDomain("a.com", 10**5000),
        lambda: WeightedDomain("a.com", 1e300),
    ],
)
def test_a_number_that_no_run_can_have_is_refused(make: Any) -> None:
    with pytest.raises(PlanError) as refused:
        make()
    assert len(str(refused.value)) < 200


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
    assert caught.value.as_typed.endswith(f" ({flag})")
    assert "\n" not in str(caught.value)
    assert "\r" not in str(caught.value)


def test_an_error_survives_the_way_home_from_a_worker() -> None:
    error = PlanError("expected an mbox", field="content", flag="--mbox")
    home = pickle.loads(pickle.dumps(error))
    assert (str(home), home.as_typed) == ("expected an mbox (content)", "expected an mbox (--mbox)")


def test_a_plan_survives_the_way_to_a_worker() -> None:
    plan = Plan(target=UnixTarget("/run/sink"), max_messages=1, load=OpenLoop(0.0, (Stage(S, 5.0),)))
    assert pickle.loads(pickle.dumps(plan)) == plan
