"""Who the client is: source addresses, names, PROXY, XCLIENT and XFORWARD, to our sink, scripts and Postfix."""

import asyncio
import ipaddress
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.end_to_end.identities import DOC, session
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, scripted
from trafficgen.engine.identity import Identities
from trafficgen.engine.opening import address_literal
from trafficgen.errors import PlanError, SetupError
from trafficgen.plan import (
    AddressRange,
    ClientAttribute,
    ClientPlan,
    Pipelining,
    ProxyProtocol,
    Security,
    SessionPlan,
    TcpTarget,
    WeightedName,
)
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.policy import Policy, PolicyConfig, SessionPolicy

JOE = ClientAttribute("LOGIN", "joe")
IPV6 = AddressRange("2001:db8::", "2001:db8::ffff")


# -- what is drawn ---------------------------------------------------------------------------------------


def drawn(plan: ClientPlan, count: int, *, seed: int = 5, index: int = 0, step: int = 1) -> list[Any]:
    made = Identities.of(
        plan_for(25, messages=1, session={"client": plan}, seed=seed), SessionOptions(), TcpTarget("127.0.0.1", 25),
        index=index, step=step,
    )  # fmt: skip
    assert made is not None
    return [made.next() for _ in range(count)]


EVERYTHING = ClientPlan(
    sources=(AddressRange("127.0.0.2", "127.0.0.4"),),
    ehlo_names=(WeightedName("a.test", 3.0), WeightedName("b.test")),
    proxy=ProxyProtocol.V2,
    proxy_from=(DOC, IPV6),
    xclient_from=(DOC, IPV6),
)


def test_the_same_seed_gives_the_same_sessions_whatever_the_number_of_workers() -> None:
    alone = drawn(EVERYTHING, 9000)
    assert drawn(EVERYTHING, 100) == alone[:100]
    assert [drawn(EVERYTHING, 3000, index=w, step=3) for w in range(3)] == [alone[w::3] for w in range(3)]
    assert drawn(EVERYTHING, 100, seed=6) != alone[:100]


def test_names_and_ranges_are_drawn_by_weight_and_sources_in_turn() -> None:
    found = drawn(EVERYTHING, 4000)
    names = Counter(one.options.ehlo_name for one in found)
    assert 2900 < names[b"a.test"] < 3100
    assert [one.source for one in found[:4]] == ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2"]
    strangers = [one.options.xclient for one in found]
    assert 1900 < sum(":" in one.address for one in strangers) < 2100
    assert all(
        one.name == (one.address.replace(".", "-") + ".dyn.test" if "." in one.address else "") for one in strangers
    )
    assert len({one.address for one in strangers if "." in one.address}) == 256
    assert all(1024 <= one.port < 65536 for one in strangers)


def test_each_attribute_has_one_of_its_values_by_weight_beside_an_address_or_without() -> None:
    logins = (ClientAttribute("LOGIN", "ann", 3.0), ClientAttribute("LOGIN", "bob"))
    said = (*logins, ClientAttribute("PROTO", "SMTP"))
    alone = [one.options.xclient for one in drawn(ClientPlan(xclient=said), 4000)]
    assert all(one.address == "" and one.attributes[1] == ("PROTO", "SMTP") for one in alone)
    found = Counter(dict(one.attributes)["LOGIN"] for one in alone)
    assert 2900 < found["ann"] < 3100
    assert found.total() == 4000
    beside = [one.options.xclient for one in drawn(ClientPlan(xclient=said, xclient_from=(DOC,)), 100)]
    assert [one.attributes for one in beside] == [one.attributes for one in alone[:100]]
    assert all(one.address.startswith("192.0.2.") for one in beside)


def test_sources_of_different_weights_are_drawn() -> None:
    plan = ClientPlan(
        sources=(AddressRange("127.0.0.2", "127.0.0.2", weight=9.0), AddressRange("127.0.0.3", "127.0.0.3"))
    )
    found = Counter(one.source for one in drawn(plan, 2000))
    assert 1740 < found["127.0.0.2"] < 1860
    assert found.total() == 2000


def test_a_plan_without_pools_computes_nothing() -> None:
    assert Identities.of(plan_for(25, messages=1), SessionOptions(), None, index=0, step=1) is None


# -- sources and names -----------------------------------------------------------------------------------


@dataclass
class Seen:
    peers: list[str] = field(default_factory=list)
    hellos: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def noting(**changes: Any) -> tuple[type[Script], Seen]:
    seen = Seen()

    class Noting(Script):
        def greet(self) -> None:
            seen.peers.append(self.peer.getpeername()[0])
            super().greet()

        def ehlo(self, line: str) -> None:
            seen.hellos.append(line.removeprefix("EHLO "))
            super().ehlo(line)

    for name, value in changes.items():
        setattr(Noting, name, value)
    return Noting, seen


def test_sessions_come_from_each_source_in_turn_and_say_their_names() -> None:
    script, seen = noting()
    names = (WeightedName("a.test"), WeightedName("b.test"))
    with scripted(script) as server:
        identity = session(sources=(AddressRange("127.0.0.2", "127.0.0.4"),), ehlo_names=names)
        results = send(server.port, messages=30, session=identity)
    assert counts(results) == Counts(accepted=30)
    assert Counter(seen.peers) == {"127.0.0.2": 10, "127.0.0.3": 10, "127.0.0.4": 10}
    assert set(seen.hellos) == {"a.test", "b.test"}


@pytest.mark.parametrize("sessions", [{}, {"pipelining": Pipelining.OFF}])
def test_ehlo_says_the_address_that_the_session_comes_from(sessions: dict[str, Any]) -> None:
    script, seen = noting()
    sources = (AddressRange("127.0.0.2", "127.0.0.4"),)
    with scripted(script) as server:
        send(server.port, messages=3, session={**session(), **sessions})
        send(server.port, messages=3, session={**session(sources=sources), **sessions})
    assert Counter(seen.hellos) == Counter([f"[{peer}]" for peer in seen.peers])
    assert set(seen.hellos) == {"[127.0.0.1]", "[127.0.0.2]", "[127.0.0.3]", "[127.0.0.4]"}


@pytest.mark.parametrize(
    ("host", "literal"),
    [("192.0.2.7", b"[192.0.2.7]"), ("2001:db8::7", b"[IPv6:2001:db8::7]"), ("fe80::1%eth0", b"[IPv6:fe80::1]")],
)
def test_an_address_as_ehlo_says_it(host: str, literal: bytes) -> None:
    assert address_literal(host) == literal


def test_a_protected_session_has_its_own_name_source_and_header_as_well() -> None:
    heard: list[tuple[bytes, str]] = []

    class Proxied(Script):
        def greet(self) -> None:
            heard.append((self.lines.readline(), self.peer.getpeername()[0]))
            self.say("220 scripted.test ESMTP")

    script, seen = noting(greet=Proxied.greet)
    names = (WeightedName("a.test"), WeightedName("b.test"))
    client = ClientPlan(
        sources=(AddressRange("127.0.0.7", "127.0.0.7"),), ehlo_names=names, proxy=ProxyProtocol.V1, proxy_from=(DOC,)
    )
    with scripted(script) as server:
        protected = {"client": client, "max_messages": 1, "security": Security.STARTTLS_IF_OFFERED}
        results = send(server.port, messages=20, session=protected)
    assert counts(results) == Counts(accepted=20)
    assert set(seen.hellos) == {"a.test", "b.test"}
    assert all(line.startswith(b"PROXY TCP4 192.0.2.") and peer == "127.0.0.7" for line, peer in heard)


def test_a_source_that_is_not_ours_is_one_clear_line_before_anything_is_sent() -> None:
    with private_sink() as sink, pytest.raises(SetupError, match=r"^cannot send from 192\.0\.2\.9: .*--source-ip\)$"):
        send(sink.port, messages=1, session=session(sources=(AddressRange("192.0.2.9", "192.0.2.9"),)))


def test_a_source_of_another_kind_than_the_target_is_refused() -> None:
    with private_sink() as sink, pytest.raises(SetupError, match=r"cannot connect from ::1 to 127\.0\.0\.1"):
        send(sink.port, messages=1, session=session(sources=(AddressRange("::1", "::1"),)))


# -- our sink --------------------------------------------------------------------------------------------


class NotingPolicy(Policy):
    """Notes whose sessions they are said to be."""

    def __init__(self) -> None:
        super().__init__(PolicyConfig(limits=Limits(connections_per_client=1000)))
        self.told: list[str] = []

    def session(self, address: bytes) -> SessionPolicy:
        told = self.told

        class Noting(SessionPolicy):
            def client(self, address: bytes) -> None:
                told.append(address.decode())
                super().client(address)

        return Noting(self, address)


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
def test_our_sink_takes_the_client_from_the_proxy_header(version: ProxyProtocol) -> None:
    policy = NotingPolicy()
    with private_sink(policy=policy, proxied=True) as sink:
        plan = session(proxy=version, proxy_from=(DOC, IPV6))
        results = send(sink.port, messages=40, sessions=4, session=plan, run_id="5" * 16, seed=3)
        arrived = sink.arrivals("5" * 16)
    assert counts(results) == Counts(accepted=40)
    assert arrived.numbers.size == 40
    assert len(policy.told) == 40
    nets = [ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/112")]
    assert all(any(ipaddress.ip_address(one) in net for net in nets) for one in policy.told)
    assert len(set(policy.told)) > 25


def test_our_sink_hangs_up_on_a_client_without_a_header() -> None:
    with private_sink(proxied=True) as sink:

        async def talk() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
            writer.write(b"EHLO me\r\n")
            try:
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()

        assert asyncio.run(talk()) == b""


def test_our_sink_hears_xclient_and_every_message_arrives() -> None:
    policy = NotingPolicy()
    with private_sink(policy=policy, capabilities=Capabilities(xclient=True)) as sink:
        plan = {**session(xclient_from=(DOC, IPV6)), "max_messages": 5}
        results = send(sink.port, messages=40, sessions=2, session=plan, run_id="6" * 16)
        arrived = sink.arrivals("6" * 16)
    assert counts(results) == Counts(accepted=40)
    assert arrived.numbers.size == 40
    replies = {(one.phase, one.code): one.count for one in results.replies}
    assert replies["xclient", 220] == len(policy.told) == results.generator.sessions_opened
    assert replies["ehlo", 250] == 2 * replies["xclient", 220]


def test_our_sink_hears_xforward_and_every_message_arrives() -> None:
    with private_sink(capabilities=Capabilities(xforward=True)) as sink:
        results = send(sink.port, messages=12, sessions=2, session=session(xforward_from=(DOC, IPV6)), run_id="7" * 16)
        arrived = sink.arrivals("7" * 16)
    assert counts(results) == Counts(accepted=12)
    assert arrived.numbers.size == 12
    replies = {(one.phase, one.code): one.count for one in results.replies}
    assert replies["xforward", 250] == results.generator.sessions_opened == 12


# -- faults, each an exact outcome -----------------------------------------------------------------------


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
def test_proxy_to_our_sink_that_does_not_expect_it(version: ProxyProtocol) -> None:
    with private_sink() as sink:
        results = send(sink.port, messages=3, session=session(proxy=version, proxy_from=(DOC,)))
        assert sink.received == 0
    assert counts(results) == Counts(failed=3)
    assert [(one.phase, one.reason, one.count) for one in results.failures] == [
        ("greeting", "PROXY header not understood", 3)
    ]


def test_proxy_to_a_server_that_answers_it_together_with_its_greeting() -> None:
    class AtOnce(Script):
        def greet(self) -> None:
            self.lines.readline()
            self.say("220 scripted.test ESMTP\r\n502 5.5.2 Error: command not recognized")

    with scripted(AtOnce) as server:
        results = send(server.port, messages=2, session=session(proxy=ProxyProtocol.V1, proxy_from=(DOC,)))
    assert counts(results) == Counts(failed=2)
    (failure,) = results.failures
    assert (failure.phase, failure.reason) == ("greeting", "PROXY header not understood")
    assert "502 5.5.2" in failure.example


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        ("554 5.5.0 Error: SMTP protocol synchronization", "PROXY header not understood"),
        ("554 5.7.1 no service for you", "refused by the server"),
    ],
)
def test_proxy_to_a_server_that_refuses_to_greet(greeting: str, reason: str) -> None:
    class Refuses(Script):
        def greet(self) -> None:
            self.lines.readline()
            self.say(greeting)

    with scripted(Refuses) as server:
        results = send(server.port, messages=2, session=session(proxy=ProxyProtocol.V1, proxy_from=(DOC,)))
    assert [(one.phase, one.reason, one.count) for one in results.failures] == [("greeting", reason, 2)]


@pytest.mark.parametrize(
    ("plan", "extensions", "answer", "expected"),
    [
        (ClientPlan(xclient_from=(DOC,)), ("PIPELINING",), "", ("xclient", "not offered")),
        (ClientPlan(xclient_from=(DOC,)), ("XCLIENT NAME ADDR",), "501 5.5.4 no", ("xclient", "refused by the server")),
        (ClientPlan(xforward_from=(DOC,)), ("XCLIENT ADDR",), "", ("xforward", "not offered")),
        (ClientPlan(xforward_from=(DOC,)), ("XFORWARD ADDR",), "550 5.7.0 no", ("xforward", "refused by the server")),
        (ClientPlan(xforward_from=(DOC,)), ("XFORWARD ADDR",), "421 4.3.0 no", ("xforward", "refused by the server")),
        (ClientPlan(xclient=(JOE,)), (), "", ("xclient", "not offered")),
        (ClientPlan(xclient=(JOE,)), ("XCLIENT NAME ADDR",), "", ("xclient", "LOGIN not offered")),
        (ClientPlan(xclient_from=(DOC,), xclient=(JOE,)), ("XCLIENT LOGIN",), "", ("xclient", "not offered")),
    ],
)
def test_a_server_that_will_not_hear_whose_mail_it_is(
    plan: ClientPlan, extensions: tuple[str, ...], answer: str, expected: tuple[str, str]
) -> None:
    script, _ = noting(extensions=extensions, unknown=lambda self, line: self.say(answer))
    with scripted(script) as server:
        results = send(server.port, messages=2, session={"client": plan, "max_messages": 1})
    assert counts(results) == Counts(failed=2)
    assert [(one.phase, one.reason, one.count) for one in results.failures] == [(*expected, 2)]


def test_only_attributes_that_are_offered_are_said() -> None:
    script, seen = noting(extensions=("XFORWARD NAME ADDR HELO",))

    def unknown(self: Script, line: str) -> None:
        seen.lines.append(line)
        self.say("250 2.0.0 Ok")

    script.unknown = unknown  # type: ignore[method-assign]
    one = AddressRange("2001:db8::7", "2001:db8::7", "mx.dyn.test")
    with scripted(script) as server:
        results = send(server.port, messages=1, session=session(xforward_from=(one,)))
    assert counts(results) == Counts(accepted=1)
    assert seen.lines == ["XFORWARD NAME=mx.dyn.test ADDR=IPV6:2001:db8::7 HELO=[127.0.0.1]"]


def test_attributes_that_are_asked_for_are_said_as_xtext() -> None:
    script, seen = noting(extensions=("XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME LOGIN DESTADDR DESTPORT",))

    def unknown(self: Script, line: str) -> None:
        seen.lines.append(line)
        self.say("220 scripted.test ESMTP")

    script.unknown = unknown  # type: ignore[method-assign]
    given = {
        "NAME": "[TEMPUNAVAIL]", "REVERSE_NAME": "mx.dyn.test", "PORT": "40000", "PROTO": "SMTP",
        "LOGIN": "joe + ann=x", "DESTADDR": "2001:db8::1", "DESTPORT": "587",
    }  # fmt: skip
    with scripted(script) as server:
        attributes = tuple(ClientAttribute(name, value) for name, value in given.items())
        one = (AddressRange("192.0.2.7", "192.0.2.7"),)
        results = send(server.port, messages=1, session=session(xclient_from=one, xclient=attributes))
    assert counts(results) == Counts(accepted=1)
    (said,) = seen.lines
    assert sorted(said.split()) == [
        "ADDR=192.0.2.7", "DESTADDR=IPV6:2001:db8::1", "DESTPORT=587", "LOGIN=joe+20+2B+20ann+3Dx",
        "NAME=[TEMPUNAVAIL]", "PORT=40000", "PROTO=SMTP", "REVERSE_NAME=mx.dyn.test", "XCLIENT",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ClientPlan(proxy=ProxyProtocol.V1), "add --proxy-from"),
        (lambda: ClientPlan(proxy_from=(DOC,)), "add --proxy-protocol"),
        (lambda: AddressRange("192.0.2.9", "192.0.2.1"), "from a lower to a higher address"),
        (lambda: AddressRange("192.0.2.9", "::1"), "from a lower to a higher address"),
        (lambda: AddressRange("here", "there"), "expected an IP address, FIRST-LAST, or a network"),
        (lambda: AddressRange("::1", "::1", "a b"), "expected a host name"),
        (lambda: AddressRange("::1", "::1", weight=0.0), "above zero"),
        (lambda: ClientPlan(sources=(AddressRange("10.0.0.0", "10.1.0.0"),)), "65536 addresses"),
        (lambda: ClientPlan(sources=(DOC,)), "addresses alone"),
        (lambda: SessionPlan(client=ClientPlan(xforward_from=(DOC,))), "--messages-per-session 1"),
        (lambda: SessionPlan(client=ClientPlan(xforward=(JOE,))), "expected one of NAME, PORT, PROTO, HELO, IDENT"),
        (lambda: ClientPlan(xclient=(ClientAttribute("ADDR", "192.0.2.7"),)), "--xclient-from"),
        (lambda: ClientAttribute("PORT", "65536"), "a port from 1 to 65535"),
        (lambda: ClientAttribute("DESTPORT", "smtp"), "a port from 1 to 65535"),
        (lambda: ClientAttribute("PROTO", "LMTP"), "SMTP or ESMTP"),
        (lambda: ClientAttribute("SOURCE", "here"), "LOCAL or REMOTE"),
        (lambda: ClientAttribute("DESTADDR", "mx.test"), "an IP address"),
        (lambda: ClientAttribute("LOGIN", ""), "1 to 255 printable"),
        (lambda: ClientAttribute("LOGIN", "a\rb"), "1 to 255 printable"),
        (lambda: ClientAttribute("LOGIN", "a", -1.0), "the weight of LOGIN=a"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, words: str) -> None:
    with pytest.raises(PlanError) as refused:
        make()
    assert words in refused.value.as_typed
