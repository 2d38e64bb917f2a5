"""Limits remember: clients, sessions, domains, recipients, octets."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sink.policy.sessions import Clock, Conversation, policy_of
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.sink.policy.attempts import Attempts, Greylist
from trafficgen.sink.policy.limits import MAX_CLIENTS, Bucket, Clients, Limits, RateLimit

MINUTE_NS = 60 * 10**9


@given(st.integers(1, 50), st.integers(1, 10**9), st.lists(st.integers(0, 10**8), max_size=300))
def test_a_bucket_never_lets_more_through_than_its_size_and_what_flowed_in(
    count: int, span_ns: int, gaps_ns: list[int]
) -> None:
    bucket, now_ns, taken = Bucket(RateLimit(count, span_ns)), 10**12, 0
    began_ns = now_ns
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        taken += bucket.take(now_ns)
    assert taken <= count + (now_ns - began_ns) * count / span_ns + 1


@given(st.integers(1, 100), st.integers(10**6, 10**10))
def test_a_full_bucket_gives_its_size_at_once_and_then_one_by_one(count: int, span_ns: int) -> None:
    bucket, now_ns = Bucket(RateLimit(count, span_ns)), 10**12
    assert all(bucket.take(now_ns) for _ in range(count))
    assert not bucket.take(now_ns)
    assert bucket.take(now_ns + span_ns // count + 1)
    bucket.give_back()
    assert bucket.take(now_ns + span_ns // count + 1)


def test_a_domain_gets_its_messages_a_minute_and_the_others_are_not_touched() -> None:
    clock = Clock()
    limits = Limits(domain_rates=(("gmail.com", RateLimit(2, MINUTE_NS)),))
    policy = policy_of(limits=limits, clock=clock)
    talks = [Conversation(policy), Conversation(policy)]
    assert [talk.send(b"u@gmail.com.traffic.test")[-1] for talk in talks] == [250, 250]
    assert talks[0].send(b"u@gmail.com.traffic.test")[1] == 451
    assert talks[0].send(b"u@yahoo.com")[-1] == 250
    clock.now_ns += MINUTE_NS // 2
    assert talks[1].send(b"u@gmail.com")[-1] == 250


def test_envelopes_that_ride_along_are_counted_like_all_others() -> None:
    policy = policy_of(limits=Limits(domain_rate=RateLimit(3, MINUTE_NS)))
    talk = Conversation(policy)
    envelope = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<u@d.test>\r\nDATA\r\n"
    assert talk.codes(envelope) == [250, 250, 354]
    assert talk.codes(b"x\r\n.\r\n" + envelope) == [250, 250, 250, 354]
    assert talk.codes(b"x\r\n.\r\n" + envelope) == [250, 250, 250, 354]
    assert talk.codes(b"x\r\n.\r\n" + envelope) == [250, 250, 451, 503]


def test_an_envelope_whose_recipient_is_refused_counts_once_against_its_session() -> None:
    limits = Limits(messages_per_session=2, domain_rates=(("d.test", RateLimit(1, MINUTE_NS)),))
    talk = Conversation(policy_of(limits=limits))
    assert talk.send(b"u@d.test") == [250, 250, 354, 250]
    assert talk.send(b"u@d.test") == [250, 451, 503]
    assert talk.send(b"u@other.test") == [421]


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_message_may_be_as_large_as_the_limit(pieces: int) -> None:
    talk = Conversation(policy_of(limits=Limits(max_octets=99)))
    for octets, code in ((99, 250), (100, 552)):
        talk.say(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<u@d.test>\r\nDATA\r\n")
        message = b"x" * (octets - 2) + b"\r\n.\r\n"
        step = -(-len(message) // pieces)
        assert talk.codes(*(message[at : at + step] for at in range(0, len(message), step))) == [code]


def test_a_client_has_so_many_sessions_and_gets_them_back() -> None:
    policy = policy_of(limits=Limits(connections_per_client=2))
    first, second, third = (Conversation(policy) for _ in range(3))
    assert [talk.greet()[:3] for talk in (third,)] == [b"421"]
    assert third.session.closed
    for talk in (first, second, third):
        assert talk.policy is not None
        talk.policy.leave()
    assert Conversation(policy).greet()[:3] == b"220"
    assert Conversation(policy, address=b"192.0.2.2").greet()[:3] == b"220"


def test_a_client_sends_so_much_a_minute_from_all_its_sessions() -> None:
    policy = policy_of(limits=Limits(client_rate=RateLimit(2, MINUTE_NS)))
    talks = [Conversation(policy) for _ in range(3)]
    assert [talk.send(b"u@d.test")[-1] for talk in talks[:2]] == [250, 250]
    assert talks[2].send(b"u@d.test") == [421]
    assert Conversation(policy, address=b"192.0.2.9").send(b"u@d.test")[-1] == 250


def test_xclient_says_whose_limit_it_is() -> None:
    policy = policy_of(limits=Limits(client_rate=RateLimit(1, MINUTE_NS)))
    talk = Conversation(policy, Capabilities(xclient=True))
    assert talk.send(b"u@d.test")[-1] == 250
    assert talk.codes(b"XCLIENT ADDR=198.51.100.7 NAME=mx.example\r\n") == [220]
    assert talk.send(b"u@d.test")[-1] == 250
    assert talk.codes(b"XCLIENT ADDR=IPV6:2001:db8::1\r\n") == [220]
    assert talk.send(b"u@d.test")[-1] == 250
    assert talk.send(b"u@d.test") == [421]


def test_a_session_takes_so_many_messages() -> None:
    talk = Conversation(policy_of(limits=Limits(messages_per_session=2)))
    assert [talk.send(b"u@d.test")[-1] for _ in range(2)] == [250, 250]
    assert talk.send(b"u@d.test") == [421]
    assert talk.session.closed


def test_a_message_has_so_many_recipients() -> None:
    talk = Conversation(policy_of(limits=Limits(recipients_per_message=2)))
    assert talk.send(b"a@d.test", b"b@d.test", b"c@d.test") == [250, 250, 250, 452, 354, 250]
    assert talk.bag.messages == [(b"Subject: x\r\n\r\nhello\r\n", 2)]


def test_too_big_is_said_when_declared_and_when_it_comes() -> None:
    policy = policy_of(limits=Limits(max_octets=100))
    talk = Conversation(policy)
    assert talk.codes(b"MAIL FROM:<a@a.test> SIZE=101\r\n") == [552]
    assert talk.send(b"u@d.test", body=b"x" * 200 + b"\r\n")[-1] == 552
    talk.say(b"MAIL FROM:<a@a.test> SIZE=1\r\nRCPT TO:<u@d.test>\r\nDATA\r\n")
    assert talk.codes(*[b"x" * 50 + b"\r\n"] * 10, b".\r\n") == [552]
    assert talk.send(b"u@d.test")[-1] == 250
    assert len(talk.bag.messages) == 1


def test_a_client_is_forgotten_with_its_last_session_when_it_has_no_rate() -> None:
    clients = Clients(None)
    clients.enter(b"here")
    for number in range(1000):
        clients.enter(b"%d" % number)
        clients.leave(b"%d" % number)
    assert len(clients) == 1
    assert clients.enter(b"here").sessions == 2


def test_clients_with_a_rate_are_forgotten_before_memory_is_gone() -> None:
    clients = Clients(RateLimit(1, 10**9))
    for address in [b"kept", *(b"%d" % number for number in range(MAX_CLIENTS + 100))]:
        clients.enter(address)
        if address != b"kept":
            clients.leave(address)
    assert len(clients) == MAX_CLIENTS
    assert clients.enter(b"kept").sessions == 2


def test_a_client_that_comes_when_all_others_are_busy_is_counted() -> None:
    clients = Clients(None)
    for number in range(MAX_CLIENTS + 2):
        clients.enter(b"%d" % number)
    for number in range(MAX_CLIENTS + 2):
        clients.leave(b"%d" % number)
    assert len(clients) == 0


def test_names_of_any_length_are_remembered_in_the_same_room() -> None:
    attempts, greylist = Attempts(), Greylist()
    tracemalloc.start()
    for number in range(1000):
        name = b"%d" % number + b"x" * 2000
        assert attempts.fails(name, name, 2)
        assert greylist.defers(name, name, name, 10, 0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000
    assert not greylist.defers(b"9" + b"x" * 2000, b"9" + b"x" * 2000, b"9" + b"x" * 2000, 10, 10)


@pytest.mark.parametrize(
    "said",
    [b"", b" ADDR", b" ADDR=", b" ADDR=" + b"1" * 1000, b" ADDR=192.0.2.256", b" ADDR=mx.example", b" ADRD=192.0.2.1"],
)
def test_xclient_names_an_address_or_nothing(said: bytes) -> None:
    policy = policy_of(limits=Limits(connections_per_client=1))
    talk = Conversation(policy, Capabilities(xclient=True))
    assert talk.codes(b"XCLIENT" + said + b"\r\n") == [501]
    assert talk.codes(b"XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]\r\n") == [220]
    assert len(policy.clients) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"NAME=spike.test ADDR=192.0.2.7 PORT=1 PROTO=ESMTP HELO=me IDENT=4Bx SOURCE=REMOTE", 250),
        (b"addr=not-an-IP source=local", 250),
        (b"HELO=a+2Bb+3Dc IDENT=[UNAVAILABLE] SOURCE=[UNAVAILABLE]", 250),
        (b"", 501),
        (b"ADDR", 501),
        (b"ADDR=", 501),
        (b"LOGIN=me", 501),
        (b"HELO=a=b", 501),
        (b"HELO=a+2", 501),
        (b"SOURCE=HERE", 501),
        (b"ADDR=192.0.2.7 ADDR=192.0.2.8", 501),
    ],
)
def test_xforward_names_attributes_in_xtext(said: bytes, code: int) -> None:
    talk = Conversation(policy_of(), Capabilities(xforward=True))
    assert b"XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n" in talk.say(b"EHLO me\r\n")
    assert talk.codes(b"XFORWARD " + said + b"\r\n") == [code]
    assert Conversation(policy_of()).codes(b"XFORWARD " + said + b"\r\n") == [500]


def test_one_session_that_names_many_clients_leaves_none_behind() -> None:
    policy = policy_of(limits=Limits(connections_per_client=1))
    talk = Conversation(policy, Capabilities(xclient=True))
    for number in range(1000):
        assert talk.codes(b"XCLIENT ADDR=IPV6:2001:DB8::%x\r\n" % number) == [220]
    assert len(policy.clients) == 1
    assert talk.policy is not None
    talk.policy.leave()
    assert len(policy.clients) == 0
