"""Mechanisms of AUTH: the examples of their RFCs, and our client against our server."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.plan import Mechanism
from trafficgen.protocol.smtp import scram
from trafficgen.protocol.smtp.client_auth import EXCHANGES, AuthBroken, ScramSha256, choose
from trafficgen.protocol.smtp.server_auth import AuthExchange

SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


def test_scram_is_that_of_rfc_7677() -> None:
    exchange = ScramSha256("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert exchange.first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert exchange.answer(SERVER_FIRST) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert exchange.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    exchange.accepted()


def test_cram_md5_is_that_of_rfc_2195() -> None:
    exchange = EXCHANGES[Mechanism.CRAM_MD5]("tim", "tanstaaftanstaaf")
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert exchange.answer(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"


@pytest.mark.parametrize(
    ("text", "octets"),
    [("I\u00adX", b"IX"), ("user", b"user"), ("\u00aa", b"a"), ("\u2168", b"IX"), ("a\u00a0b", b"a b")],
)
def test_saslprep_is_that_of_rfc_4013(text: str, octets: bytes) -> None:
    assert scram.prepared(text) == octets


def test_saslprep_refuses_control_characters() -> None:
    with pytest.raises(ValueError, match="SASLprep"):
        scram.prepared("\u0007")


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (b"", "malformed challenge"),
        (b"r=", "malformed challenge"),
        (b"r=ours,s=AA==,i=4096", "server not authenticated"),
        (b"r=another,s=AA==,i=4096", "server not authenticated"),
        (b"r=oursmore,s=*,i=4096", "malformed challenge"),
        (b"r=oursmore,s=AA==,i=99999999", "malformed challenge"),
        (b"r=oursmore,s=AA==,i=99999999999999999999", "malformed challenge"),
        (b"r=oursmore,s=AA==,i=x", "malformed challenge"),
        (b"r=oursmore,r=oursmore,s=AA==,i=1", "malformed challenge"),
        (b"m=x,r=oursmore,s=AA==,i=1", "malformed challenge"),
    ],
)
def test_a_scram_server_that_breaks_the_rules_is_not_believed(challenge: bytes, reason: str) -> None:
    with pytest.raises(AuthBroken) as found:
        ScramSha256("user", "pencil", "ours").answer(challenge)
    assert found.value.reason == reason


def test_a_scram_server_must_show_that_it_knows_the_password() -> None:
    exchange = ScramSha256("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    with pytest.raises(AuthBroken, match="server not authenticated"):
        exchange.accepted()
    exchange.answer(SERVER_FIRST)
    with pytest.raises(AuthBroken, match="server not authenticated"):
        exchange.answer(b"v=AAAA")
    with pytest.raises(AuthBroken, match="server not authenticated"):
        exchange.accepted()


def test_the_first_offered_is_chosen_and_xoauth2_only_when_asked_for() -> None:
    assert choose(["cram-md5", "login", "xoauth2"], None) is Mechanism.LOGIN
    assert choose(["xoauth2"], Mechanism.XOAUTH2) is Mechanism.XOAUTH2
    for offered, wanted, words in (
        (["xoauth2"], None, "the server offers XOAUTH2"),
        ([], None, "the server offers no AUTH"),
        (["plain"], Mechanism.LOGIN, "the server offers PLAIN, not LOGIN"),
    ):
        with pytest.raises(AuthBroken) as found:
            choose(offered, wanted)
        assert (found.value.reason, found.value.example) == ("AUTH not offered", words)


def outcome(mechanism: Mechanism, user: str, known: str, right: str) -> bytes | None:
    """The mechanism that the server ends with; None when it refuses."""
    client, server = EXCHANGES[mechanism](user, known), AuthExchange(right.encode())
    first = [] if client.first is None else [base64.b64encode(client.first)]
    reply = server.start(b" ".join([b"AUTH", mechanism.value.encode(), *first]))
    while not server.done:
        assert reply.startswith(b"334 ")
        reply = server.next_line(base64.b64encode(client.answer(base64.b64decode(reply[4:]))))
    if server.mechanism is not None:
        client.accepted()
    else:
        assert reply.startswith(b"535 ")
    return server.mechanism


_WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=1, max_size=20).filter(
    lambda text: all(not 0x7F <= ord(c) < 0xA1 and c != "\u00ad" for c in text)
)


@pytest.mark.parametrize("mechanism", Mechanism)
@given(user=_WORDS, password=_WORDS)
def test_the_right_password_is_right_and_any_other_wrong(mechanism: Mechanism, user: str, password: str) -> None:
    scram.salted_password.cache_clear()
    assert outcome(mechanism, user, password, password) == mechanism.value.encode()
    assert outcome(mechanism, user, password + "x", password) is None


@pytest.mark.parametrize("mechanism", [one for one in Mechanism if one is not Mechanism.SCRAM_SHA_256])
def test_without_a_password_of_its_own_a_server_takes_any(mechanism: Mechanism) -> None:
    assert outcome(mechanism, "anybody", "anything", "") == mechanism.value.encode()


@pytest.mark.parametrize("first", [b"p=tls-unique,,n=u,r=x", b"y,,n=u", b"n,,r=x"])
def test_a_scram_client_without_a_name_or_with_a_channel_is_refused(first: bytes) -> None:
    exchange = AuthExchange(b"secret")
    assert exchange.start(b"AUTH SCRAM-SHA-256 " + base64.b64encode(first)).startswith(b"501 ")
    assert exchange.done


def test_a_client_may_give_up_its_login() -> None:
    exchange = AuthExchange()
    assert exchange.start(b"AUTH LOGIN").startswith(b"334 ")
    assert not exchange.done
    assert exchange.next_line(b"*").startswith(b"501 ")
    assert exchange.done


def test_a_server_without_a_password_knows_no_scram() -> None:
    assert AuthExchange().start(b"AUTH SCRAM-SHA-256 bixuPXUscj1hYmM=").startswith(b"504 ")


@pytest.mark.parametrize("mechanism", Mechanism)
@given(lines=st.lists(st.binary(max_size=40).map(base64.b64encode) | st.binary(max_size=20), max_size=4))
def test_garbage_ends_in_a_refusal(mechanism: Mechanism, lines: list[bytes]) -> None:
    server = AuthExchange(b"a long and unlikely password")
    server.start(b"AUTH " + mechanism.value.encode())
    for line in lines:
        if server.done:
            break
        assert server.next_line(line)[:4] in (b"334 ", b"501 ", b"535 ")
    assert server.mechanism is None
