"""Headers of messages, their recipients and senders."""

import email
import email.policy
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.workload.one_run import DATE, RUN_ID, rcpts
from trafficgen.errors import PlanError
from trafficgen.plan import Header, LongTail, Plan, Users, WeightedDomain, Workload
from trafficgen.workload import Messages

# -- headers --------------------------------------------------------------------------------------------


def parse(delivered, message):
    return email.message_from_bytes(delivered(message), policy=email.policy.default)


def test_users_header_is_on_every_message(messages_of, delivered):
    messages = messages_of(headers=(Header("X-Tenant", (("100% mine", 1.0),)),))
    assert all(parse(delivered, m)["X-Tenant"] == "100% mine" for m in messages.block(0, 50))


def test_weighted_values_fit_their_weights(messages_of, delivered):
    messages = messages_of(
        headers=(Header("X-Tenant", (("a", 3.0), ("b", 1.0))), Header("X-Two", (("x", 1.0), ("y", 1.0))))
    )
    found = [(b"X-Tenant: a\r\n" in m.head, b"X-Two: x\r\n" in m.head) for m in messages.block(0, 16_000)]
    counts = [found.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    assert stats.chisquare(counts, [6_000, 6_000, 2_000, 2_000]).pvalue > 0.01


@pytest.mark.parametrize("name", ["Subject", "from", "Date", "To", "Message-ID", "MIME-Version", "Content-Type"])
def test_users_header_replaces_ours(messages_of, delivered, name):
    value = {"from": "Boss <boss@example.test>", "Date": DATE, "Content-Type": "text/plain"}.get(name, "1.0")
    for message in messages_of(headers=(Header(name, ((value, 1.0),)),)).block(0, 20):
        lines = message.head.lower().split(b"\r\n")
        assert sum(line.startswith(name.lower().encode() + b":") for line in lines) == 1
        delivered(message)


def test_all_headers_replaced_still_makes_messages(messages_of, delivered):
    names = ("Subject", "From", "Date", "To", "Message-ID", "MIME-Version", "Content-Type")
    messages = messages_of(headers=tuple(Header(name, (("x", 1.0),)) for name in names))
    assert len({delivered(m) for m in messages.block(0, 20)}) == 20


def test_same_header_twice_is_two_lines(messages_of):
    headers = (Header("X-A", (("1", 1.0),)), Header("X-A", (("2", 1.0),)))
    assert b"X-A: 1\r\nX-A: 2\r\n" in messages_of(headers=headers).block(0, 1)[0].head


def test_long_header_is_folded_and_unfolds_to_itself(messages_of, delivered):
    value = " ".join(f"word{n}" for n in range(100))
    message = messages_of(headers=(Header("X-Long", ((value, 1.0),)),)).block(0, 1)[0]
    assert max(map(len, message.head.split(b"\r\n"))) <= 78
    assert parse(delivered, message)["X-Long"] == value


def test_header_without_a_place_to_fold_stays_whole(messages_of, delivered):
    message = messages_of(headers=(Header("X-Long", (("x" * 300, 1.0),)),)).block(0, 1)[0]
    assert b"X-Long: " + b"x" * 300 + b"\r\n" in message.head
    delivered(message)


def test_header_beyond_ascii_becomes_encoded_words(messages_of, delivered):
    message = messages_of(headers=(Header("Subject", (("Grüße aus Köln 📬", 1.0),)),)).block(0, 1)[0]
    assert message.head.isascii()
    assert parse(delivered, message)["Subject"] == "Grüße aus Köln 📬"


def test_mark_cannot_be_set_by_hand(messages_of):
    with pytest.raises(PlanError, match=r"X-Traffic-Gen .* cannot be set \(headers\)"):
        messages_of(headers=(Header("x-traffic-gen", (("1", 1.0),)),))


@settings(max_examples=40)
@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs", "Cc"]), max_size=200))
def test_any_header_value_leaves_the_message_sound(messages_of, delivered, value):
    message = messages_of(headers=(Header("X-Any", ((value.strip(), 1.0),)),)).block(0, 1)[0]
    stored = delivered(message)
    assert stored.count(b"X-Any:") == 1
    assert max(map(len, stored.split(b"\r\n"))) <= 998


def test_very_long_domain_still_makes_sound_headers(messages_of, delivered):
    name = ".".join(["a" * 40] * 4)
    for message in messages_of(domains=(WeightedDomain(name),)).block(0, 5):
        stored = delivered(message)
        assert max(map(len, stored.split(b"\r\n"))) <= 998
        parsed = email.message_from_bytes(stored, policy=email.policy.default)
        assert parsed["Message-ID"].strip() == f"<{message.number:012d}.{RUN_ID}@{name}.traffic-gen.test>"


# -- recipients and senders -----------------------------------------------------------------------------


def test_shares_fit_the_weights(messages_of):
    messages = messages_of(
        domains=(WeightedDomain("a.com", 67.4), WeightedDomain("b.com", 5.9), WeightedDomain("c.com", 0.2)),
        long_tail=LongTail(50, 20.0),
    )
    assert messages.domains[:4] == ("a.com", "b.com", "c.com", "tail-000001.example")
    assert messages.shares.sum() == pytest.approx(1.0)
    assert messages.shares[0] == pytest.approx(67.4 / 93.5)
    assert messages.shares[3:].sum() == pytest.approx(20 / 93.5)
    assert messages.shares[3] == pytest.approx(2 * messages.shares[4])
    counts = np.bincount(messages.domain_of(0, 200_000), minlength=53)
    assert stats.chisquare(counts, messages.shares * 200_000).pvalue > 0.01


def test_domain_is_that_of_the_first_recipient(messages_of):
    messages = messages_of(recipients_per_message=((3, 1.0),))
    for message in messages.block(0, 300):
        wanted = messages.domains[message.domain] + ".traffic-gen.test"
        assert rcpts(message)[0].decode().partition("@")[2] == wanted
        assert len(rcpts(message)) == message.recipients == 3


def test_recipients_of_one_message_are_distinct(messages_of, delivered):
    messages = messages_of(users=Users(2), recipients_per_message=((1, 1.0), (8, 1.0)))
    for message in messages.block(0, 200):
        assert len(set(rcpts(message))) == message.recipients
        parsed = email.message_from_bytes(delivered(message), policy=email.policy.default)
        assert [a.addr_spec.encode() for a in parsed["To"].addresses] == rcpts(message)


def test_every_recipient_is_drawn_by_weight(messages_of):
    messages = messages_of(
        domains=(WeightedDomain("a.com", 3.0), WeightedDomain("b.com", 1.0)), recipients_per_message=((5, 1.0),)
    )
    every = [r for m in messages.block(0, 4000) for r in rcpts(m)]
    found = [sum(b"@a.com" in r for r in every), sum(b"@b.com" in r for r in every)]
    assert stats.chisquare(found, [15_000, 5_000]).pvalue > 0.01


def test_more_recipients_than_addresses_are_refused(messages_of):
    with pytest.raises(PlanError, match=r"at most 2 recipients.*got 3 \(recipients_per_message\)"):
        messages_of(domains=(WeightedDomain("a.com"),), users=Users(2), recipients_per_message=((3, 1.0),))


def test_users_are_bounded_and_all_used(messages_of):
    every = {rcpts(m)[0] for m in messages_of(domains=(WeightedDomain("a.com"),), users=Users(50)).block(0, 3000)}
    assert every == {b"user-%06d@a.com.traffic-gen.test" % n for n in range(50)}


def test_users_are_uniform_or_zipf(messages_of):
    domains = (WeightedDomain("a.com"),)
    for users, weights in (
        (Users(20), np.ones(20)),
        (Users(20, zipf=1.0), 1 / np.arange(1, 21)),
        (Users(20, zipf=1.7), np.arange(1, 21) ** -1.7),
    ):
        found = [int(rcpts(m)[0][5:11]) for m in messages_of(domains=domains, users=users).block(0, 20_000)]
        expected = weights / weights.sum() * 20_000
        assert stats.chisquare(np.bincount(found, minlength=20), expected).pvalue > 0.01


def test_tagged_users_have_a_new_address_every_time_for_few_mailboxes(messages_of):
    messages = messages_of(
        users=Users(3, tagged=True), recipients_per_message=((1, 1.0), (4, 1.0)), domains=(WeightedDomain("a.com"),)
    )
    every = [r for m in messages.block(0, 2000) for r in rcpts(m)]
    assert len(set(every)) == len(every)
    assert {r.partition(b"+")[0] for r in every} == {b"user-000000", b"user-000001", b"user-000002"}
    assert all(len(r.partition(b"@")[0]) <= 64 for r in every)


def test_ten_million_users_have_seven_digits(messages_of):
    assert re.match(rb"user-\d{7}@", rcpts(messages_of(users=Users(10_000_000)).block(0, 1)[0])[0])


def test_senders_are_a_bounded_set_of_distinct_addresses(messages_of):
    found = {m.envelope.partition(b"\r\n")[0] for m in messages_of(senders=40).block(0, 4000)}
    assert len(found) == 40


def test_tail_alone_is_enough(messages_of):
    messages = messages_of(domains=(), long_tail=LongTail(10, 1.0), domain_suffix="")
    assert all(r.endswith(b".example") for m in messages.block(0, 100) for r in rcpts(m))


def test_default_plan_is_four_domains_equally():
    messages = Messages(Plan(max_messages=1, workload=Workload()), date=DATE)
    assert messages.domains == ("aol.com", "gmail.com", "hotmail.com", "yahoo.com")
    assert messages.shares.tolist() == [0.25] * 4
