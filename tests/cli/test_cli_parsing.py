"""Texts of single options: what they mean, and that nothing else is taken."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trafficgen.cli import parsing
from trafficgen.cli.workload import merge_domains
from trafficgen.errors import PlanError
from trafficgen.plan import Header, LongTail, Stage, Users, WeightedDomain, Workload

S = 1_000_000_000


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parsing.parse_domain, "gmail.com", WeightedDomain("gmail.com", 1.0)),
        (parsing.parse_domain, "gmail.com:67.4", WeightedDomain("gmail.com", 67.4)),
        (parsing.parse_domain, "gmail.com:1e3", WeightedDomain("gmail.com", 1000.0)),
        (parsing.parse_long_tail, "1000:10.2", LongTail(1000, 10.2)),
        (parsing.parse_users, "500", Users(500)),
        (parsing.parse_users, "5000,zipf", Users(5000, 1.0)),
        (parsing.parse_users, "5000,zipf:1.2,tag", Users(5000, 1.2, tagged=True)),
        (parsing.parse_users, "5000,tag", Users(5000, None, tagged=True)),
        (parsing.parse_recipients, "3", ((3, 1.0),)),
        (parsing.parse_recipients, "1:85,2:10,20:5", ((1, 85.0), (2, 10.0), (20, 5.0))),
        (parsing.parse_recipients, "1,2,2", ((1, 1.0), (2, 2.0))),
        (parsing.parse_header, "X-Tenant: a", Header("X-Tenant", (("a", 1.0),))),
        (parsing.parse_header, "X-Url:https://a.b/c", Header("X-Url", (("https://a.b/c", 1.0),))),
        (parsing.parse_header, "X-T: {a:3|b:1}", Header("X-T", (("a", 3.0), ("b", 1.0)))),
        (parsing.parse_header, "X-T: {a|b c|d:e}", Header("X-T", (("a", 1.0), ("b c", 1.0), ("d:e", 1.0)))),
        (parsing.parse_header, "X-T: {json: 1}", Header("X-T", (("{json: 1}", 1.0),))),
        (parsing.parse_header, "X-Empty:", Header("X-Empty", (("", 1.0),))),
        (parsing.parse_stage, "30s:200", Stage(30 * S, 200.0)),
        (parsing.parse_stage, "1m:6000/m", Stage(60 * S, 100.0)),
        (parsing.parse_stage, "0s:50", Stage(0, 50.0)),
        (parsing.parse_stage, "10s:0", Stage(10 * S, 0.0)),
        (parsing.parse_stage, "10s:0/s", Stage(10 * S, 0.0)),
    ],
)
def test_text_becomes_a_piece_of_a_plan(parse, text, expected):
    assert parse(text) == expected


def recipients(text):
    return Workload(recipients_per_message=parsing.parse_recipients(text))


REFUSED = {
    "--domain": (
        parsing.parse_domain,
        (
            "a.com:0",
            "a.com:-1",
            "a.com:nan",
            "a.com:inf",
            "a.com:x",
            "a.com:",
            "",
            ":3",
            "a b",
            "a@b",
            "a..b",
            "\u200b.x",
        ),
    ),
    "--domain-preset": (parsing.parse_domain_preset, ("nosuch", "")),
    "--long-tail": (parsing.parse_long_tail, ("1000", "0:1", "-1:1", "10:0", "10:nan", "x:1", "9999999:1")),
    "--users": (
        parsing.parse_users,
        ("0", "-1", "x", "", "5,zap", "5,zipf:x", "5,zipf:0", "5,zipf:nan", "1.5", "99999999"),
    ),
    "--recipients": (recipients, ("0", "-1", "", "1:0", "1:-2", "1:nan", "2,x", "1001", "nosuch")),
    "--header": (
        parsing.parse_header,
        ("X", "X Y: a", ": a", "X: a\r\nBcc: b", "X: a\0", "X\n: a", "X: {a:0|b}", "X: {a:nan|b}", "X: " + "a" * 1000),
    ),
    "--stage": (parsing.parse_stage, ("30s", "30s:", ":20", "x:20", "30s:x", "-3s:20", "30s:-1", "30s:1/0")),
}


@pytest.mark.parametrize(
    ("flag", "parse", "text"), [(flag, parse, text) for flag, (parse, texts) in REFUSED.items() for text in texts]
)
def test_anything_else_is_refused_with_its_flag(flag, parse, text):
    with pytest.raises(PlanError) as refused:
        parse(text)
    assert refused.value.as_typed.endswith(f"({flag})")


@given(st.sampled_from([parse for parse, _ in REFUSED.values()]), st.text(max_size=40))
@example(parsing.parse_users, "0\x1f")
def test_any_text_is_a_plan_or_a_plan_error(parse, text):
    with contextlib.suppress(PlanError):
        parse(text)


@given(st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5})?", fullmatch=True), st.floats(1e-6, 1e6))
def test_domain_and_weight_survive_the_way_through_text(name, weight):
    assert parsing.parse_domain(f"{name}:{weight!r}") == WeightedDomain(name, weight)


def test_repeated_domains_add_up_and_are_told_once():
    notices = []
    named = [WeightedDomain("Gmail.com", 2.0), WeightedDomain("b.com"), WeightedDomain("gmail.com", 3.0)]
    assert merge_domains(named, notices) == (WeightedDomain("Gmail.com", 5.0), WeightedDomain("b.com"))
    assert notices == ["1 of 3 domains are named again; their weights add up: gmail.com 5"]


def test_domains_from_a_file_with_comments(tmp_path):
    file = tmp_path / "domains"
    file.write_text("# top\ngmail.com:67.4  # most\n\n  b.com\n")
    assert parsing.read_domains(file) == [WeightedDomain("gmail.com", 67.4), WeightedDomain("b.com")]


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"a.com\nb.com:x\n", "line 2: expected NAME\\[:WEIGHT\\]"),
        (b"# nothing\n", "names no domain"),
        (b"", "names no domain"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_bad_file_of_domains_is_refused(tmp_path, octets, words):
    file = tmp_path / "domains"
    file.write_bytes(octets)
    with pytest.raises(PlanError, match=rf"{words}.*\(domains\)$"):
        parsing.read_domains(file)


def test_missing_file_of_domains_is_refused(tmp_path):
    with pytest.raises(PlanError, match=r"no such file or directory \(domains\)"):
        parsing.read_domains(tmp_path / "none")
