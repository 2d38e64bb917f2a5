"""Generated messages: valid mail, exact sizes, and the same bytes however they are asked for."""

import email
import email.policy
import pickle
import re
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.workload.one_run import DATE, RUN_ID, rcpts
from trafficgen.errors import PlanError
from trafficgen.plan import BodyFile, Corpus, Header, Plan, SizedBodies, Users, WeightedDomain, Workload
from trafficgen.proof import trace_header
from trafficgen.protocol.smtp.layout import BY_DATA
from trafficgen.workload import BuiltMessage, Messages, check, columns

SPEC2001 = (1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 10_000, 100_000, 1_000_000, 2_675_000)


# -- the messages ---------------------------------------------------------------------------------------


def test_message_is_valid_mail(messages_of, delivered):
    messages = messages_of()
    for message in messages.block(0, 200):
        stored = delivered(message)
        parsed = email.message_from_bytes(stored, policy=email.policy.default)
        assert not parsed.defects
        assert parsed["Date"] == DATE
        assert parsed["Message-ID"].startswith(f"<{message.number:012d}.{RUN_ID}@")
        assert parsed["From"].addresses[0].domain.endswith(".traffic-gen.test")
        assert [a.addr_spec.encode() for a in parsed["To"].addresses] == rcpts(message)
        assert parsed["Subject"]
        assert parsed.get_content_type() == "text/plain"
        assert max(map(len, stored.split(b"\r\n"))) <= 78
        assert [name for name in parsed if parsed.get_all(name)[1:]] == []


def test_mark_is_the_first_line_as_the_mark_module_renders_it(messages_of, delivered):
    for message in messages_of().block(4090, 4100):
        body = delivered(message).partition(b"\r\n\r\n")[2]
        assert message.head.startswith(trace_header.render(RUN_ID, message.number, crc32(body)))


def test_envelope_is_mail_rcpt_data(messages_of):
    message = messages_of(domains=(WeightedDomain("gmail.com"),)).block(7, 8)[0]
    domain = rb"gmail\.com\.traffic-gen\.test"
    pattern = rb"MAIL FROM:<[a-z.0-9-]+@%b>\r\nRCPT TO:<user-\d{6}@%b>\r\nDATA\r\n" % (domain, domain)
    assert re.fullmatch(pattern, message.envelope)
    assert isinstance(message, BuiltMessage)
    assert message._fields == (
        "number", "domain", "recipients", "envelope", "head", "body", "tail", "octets", "eight_bit",
    )  # fmt: skip
    assert all(type(value) is int for value in (message.number, message.domain, message.recipients, message.octets))


def test_tables_too_large_for_ready_rows_give_the_same_messages(messages_of, monkeypatch):
    ready = messages_of().block(1000, 1100)
    monkeypatch.setattr(columns, "_MAX_ROWS", 0)
    assert messages_of().block(1000, 1100) == ready


def test_no_suffix_leaves_the_domain_as_it_is(messages_of):
    message = messages_of(domains=(WeightedDomain("gmail.com"),), domain_suffix="").block(0, 1)[0]
    assert rcpts(message)[0].endswith(b"@gmail.com")


def test_bodies_of_a_run_are_all_different(messages_of):
    found = {bytes(m.body) + m.tail for m in messages_of(content=SizedBodies(("200",))).block(0, 10_000)}
    assert len(found) == 10_000


def test_bodies_share_one_buffer(messages_of):
    messages = messages_of(content=SizedBodies(("100kb",)))
    starts = {bytes(m.body[:80]) for m in messages.block(0, 4096)}
    assert len(starts) == 64
    assert len({id(m.body) for m in messages.block(0, 4096)}) == 64
    assert max(len(m.tail) for m in messages.block(0, 4096)) < 110


# -- purity ---------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(0, 9_000), st.lists(st.integers(0, 700), min_size=1, max_size=6), st.booleans())
def test_any_split_of_a_range_gives_equal_messages(messages_of, first, lengths, tagged):
    plan = {
        "content": SizedBodies(("lognormal:4kb,0.7,60kb",)),
        "recipients_per_message": ((1, 3.0), (3, 1.0)),
        "users": Users(1000, zipf=1.0, tagged=tagged),
        "headers": (Header("X-Tenant", (("a", 1.0), ("b", 2.0))),),
    }
    last = first + sum(lengths)
    whole = messages_of(**plan).block(first, last)
    split, other = [], messages_of(**plan)
    for length in lengths:
        split += other.block(first + len(split), first + len(split) + length)
    assert split == whole
    assert [m.number for m in whole] == list(range(first, last))
    assert other.domain_of(first, last).tolist() == [m.domain for m in whole]
    assert other.recipients_of(first, last).tolist() == [m.recipients for m in whole]


@settings(max_examples=15)
@given(st.integers(0, 3_000), st.integers(0, 3_000), st.integers(1, 1500), st.booleans())
def test_every_so_many_messages_are_those_of_the_whole_range(messages_of, first, length, step, several):
    plan = {"recipients_per_message": ((1, 3.0), (3, 1.0)) if several else ((1, 1.0),)}
    whole = messages_of(**plan).block(first, first + length)
    assert messages_of(**plan).block(first, first + length, step) == whole[::step]


@pytest.mark.parametrize("counts", [((1, 1.0),), ((1, 3.0), (3, 1.0)), ((2, 1.0),)])
def test_domains_of_recipients_are_those_of_their_rcpt_lines(messages_of, counts):
    messages = messages_of(recipients_per_message=counts)
    numbers = np.array([5, 4000, 6, 1023, 1024, 5, 99])
    owners, domains = messages.recipient_domains(numbers)
    found = [[] for _ in numbers]
    for owner, domain in zip(owners.tolist(), domains.tolist(), strict=True):
        found[owner].append(messages.domains[domain].encode())
    lines = [rcpts(messages.block(number, number + 1)[0]) for number in numbers.tolist()]
    assert found == [[line.partition(b"@")[2].removesuffix(b".traffic-gen.test") for line in each] for each in lines]
    assert [part.tolist() for part in messages.recipient_domains(np.array([], np.int64))] == [[], []]


def test_blocks_asked_for_backwards_are_the_same(messages_of):
    forward, backward = messages_of(), messages_of()
    expected = [forward.block(k * 4096, k * 4096 + 3) for k in range(5)]
    assert [backward.block(k * 4096, k * 4096 + 3) for k in reversed(range(5))][::-1] == expected


def test_seed_run_and_date_change_the_bytes(messages_of):
    one = messages_of(seed=1).block(0, 20)
    assert one != messages_of(seed=2).block(0, 20)
    assert one != messages_of(run_id="0" * 16).block(0, 20)
    assert [m.envelope for m in one] == [m.envelope for m in messages_of(run_id="0" * 16).block(0, 20)]


def test_first_message_of_a_seed_never_changes(messages_of):
    # Another value means that every seed now makes other mail: a changelog entry, and old runs cannot be repeated.
    message = messages_of(seed=42).block(0, 1)[0]
    assert rcpts(message) == [b"user-065619@yahoo.com.traffic-gen.test"]


SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "as it comes": ({}, "680962a4b4759816"),
    "whole messages of many sizes": ({"content": SizedBodies(("spec2001",))}, "63e073b34ff3e991"),
    "bodies too short for their number": ({"content": SizedBodies(("2b", "13b:2", "30b", "90b"))}, "b337dd83e30a20c8"),
    "several recipients, tagged": (
        {"recipients_per_message": ((1, 1.0), (3, 1.0)), "users": Users(100_000, tagged=True)}, "9b81b722023d2705",
    ),
    "one recipient, tagged": ({"users": Users(10_000_000, tagged=True)}, "fb87d7f55ab06f84"),
    "headers of the user's": (
        {"headers": (Header("X-T", (("a", 1.0), ("bb", 2.0))), Header("From", (("q@y.test", 1.0),)))},
        "0930b41338cc59ae",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_of_a_seed_never_change(messages_of, shape):
    # As above: another digest is other mail.
    plan, expected = SHAPES[shape]
    messages, found = messages_of(seed=7, run_id="00aa00bb00cc00dd", **plan), sha256()
    for m in (*messages.block(1000, 1100), *messages.block(999_999_999_000, 999_999_999_010)):
        found.update(repr((m.number, m.domain, m.recipients, m.octets, m.eight_bit)).encode())
        found.update(m.envelope + m.head + m.body + m.tail)
    assert found.hexdigest()[:16] == expected


def test_range_backwards_is_refused(messages_of):
    with pytest.raises(ValueError, match="first <= last"):
        messages_of().block(3, 2)
    assert messages_of().block(3, 3) == []
    assert messages_of().domain_of(3, 3).tolist() == []


def test_messages_cross_a_process_border_as_a_plan(messages_of):
    plan = pickle.loads(pickle.dumps(Plan(max_messages=1, seed=1, run_id=RUN_ID)))
    assert Messages(plan, date=DATE, layout=BY_DATA).block(0, 5) == messages_of().block(0, 5)


# -- sizes ----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(2, 20_000), st.integers(0, 10_000))
def test_body_has_exactly_the_size_asked_for(messages_of, delivered, octets, number):
    for message in messages_of(content=SizedBodies((str(octets),))).block(number, number + 3):
        assert len(message.body) + len(message.tail) - len(b".\r\n") == octets
        lines = delivered(message).split(b"\r\n")
        assert max(map(len, lines)) <= 78
        assert not any(line.endswith(b" ") for line in lines)


def test_every_small_size_is_exact(messages_of, delivered):
    found = messages_of(content=SizedBodies(tuple(str(octets) for octets in range(2, 260)))).block(0, 4096)
    assert {len(delivered(m).partition(b"\r\n\r\n")[2]) for m in found} == set(range(2, 260))


def test_preset_sizes_are_those_of_whole_messages(messages_of):
    found = messages_of(content=SizedBodies(("spec2001",))).block(0, 4096)
    assert {m.octets for m in found} == set(SPEC2001)


def test_figures_are_sizes_of_bodies(messages_of):
    message = messages_of(content=SizedBodies(("60kb",))).block(0, 1)[0]
    assert message.octets == len(message.head) + 60_000


def test_message_with_more_recipients_than_its_size_has_room_has_no_body(messages_of, delivered):
    many = messages_of(content=SizedBodies(("spec2001",)), recipients_per_message=((1, 9.0), (40, 1.0)))
    found = [m for m in many.block(0, 2000) if m.octets not in SPEC2001]
    assert found
    for message in found:
        assert message.recipients == 40
        assert delivered(message).endswith(b"\r\n\r\n")
        assert message.tail == b".\r\n"


def test_preset_smaller_than_the_headers_is_refused(messages_of):
    header = Header("X-Long", (("word " * 180, 1.0),))
    with pytest.raises(PlanError, match=r"expected messages of at least 1\d\d\d octets.*got 1000 \(content\)"):
        messages_of(content=SizedBodies(("spec2001",)), headers=(header,))


@pytest.mark.parametrize("size", ["1", "0", "-3kb", "large", "1kb:nan"])
def test_size_that_cannot_be_is_refused(messages_of, size):
    with pytest.raises(PlanError, match=r"\(content\)"):
        messages_of(content=SizedBodies((size,)))


def test_weighted_sizes_fit_their_weights(messages_of):
    found = messages_of(content=SizedBodies(("1kb:1", "2kb:3"))).block(0, 20_000)
    counts = np.bincount([len(m.body) + len(m.tail) > 1_500 for m in found])
    assert stats.chisquare(counts, [5_000, 15_000]).pvalue > 0.01


# -- refusing early -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workload", "flag"),
    [
        ({"content": SizedBodies(("1",))}, "--body-size"),
        (
            {"content": SizedBodies(("spec2001",)), "headers": (Header("X-Long", (("word " * 180, 1.0),)),)},
            "--body-size",
        ),
        ({"content": BodyFile(Path("/nonexistent"))}, "--body-file"),
        ({"content": Corpus(Path("/nonexistent"))}, "--mbox"),
        ({"headers": (Header("X-Traffic-Gen", (("1", 1.0),)),)}, "--header"),
        ({"users": Users(1), "recipients_per_message": ((9, 1.0),)}, "--recipients"),
    ],
)
def test_check_refuses_what_messages_would(workload, flag):
    with pytest.raises(PlanError) as refused:
        check(Plan(max_messages=1, workload=Workload(**workload)))
    assert refused.value.flag == flag
    check(Plan(max_messages=1))
