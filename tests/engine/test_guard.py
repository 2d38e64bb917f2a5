"""The guard: nothing is connected to before it is known to be the user's own network."""

import socket

import pytest

from tests.peers.running import Counts, counts, plan_for, send
from trafficgen import ExitCode, Plan, PlanError, SetupError, TcpTarget, UnixTarget, WeightedDomain, Workload, run
from trafficgen.engine.address import Route, check, is_local, resolve
from trafficgen.plan import LongTail, Target
from trafficgen.workload import Messages


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any process or connection that a run would start fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refuse)
    monkeypatch.setattr("trafficgen.engine.supervisor.Supervisor.run", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.7.7",
        "::1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%lo", "febf::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3",
    ],
)  # fmt: skip
def test_loopback_private_and_link_local_addresses_are_the_users_own(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "192.0.2.1", "203.0.113.9", "198.51.100.7", "172.15.255.255", "172.32.0.1", "192.167.1.1",
        "11.0.0.1", "128.0.0.1", "126.255.255.255", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1",
        "2001:db8::1", "2606:4700::1", "::", "fec0::1", "ff02::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)  # fmt: skip
def test_every_other_address_is_public(address: str) -> None:
    assert not is_local(address)


@pytest.mark.parametrize("host", ["192.0.2.1", "203.0.113.9", "8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8", "0.0.0.0"])
@pytest.mark.usefixtures("no_connection")
def test_a_public_target_is_refused_before_anything_starts(host: str) -> None:
    with pytest.raises(PlanError) as caught:
        send(TcpTarget(host, 25), messages=1)
    words = str(caught.value)
    assert words.startswith(f'"{host}" is at ')
    assert "is not a loopback, private or link-local address" in words
    assert "add --allow-public-target" in words
    assert words.endswith("(target)")
    assert "\n" not in words
    assert caught.value.exit_code is ExitCode.USAGE


def test_one_public_address_among_local_ones_is_enough_to_refuse() -> None:
    route = Route("mixed.test", (TcpTarget("127.0.0.1", 25), TcpTarget("192.0.2.1", 25)))
    with pytest.raises(PlanError, match=r'"mixed.test" is at 192\.0\.2\.1'):
        check(plan_for(TcpTarget("mixed.test", 25), messages=1), route)


def test_a_public_target_is_allowed_by_its_own_word_only() -> None:
    route = Route("192.0.2.1", (TcpTarget("192.0.2.1", 25),))
    check(plan_for(TcpTarget("192.0.2.1"), messages=1, allow_public_target=True), route)
    with pytest.raises(PlanError):
        check(plan_for(TcpTarget("192.0.2.1"), messages=1, allow_real_domains=True), route)


@pytest.mark.usefixtures("no_connection")
def test_real_domains_are_refused_also_towards_a_private_target() -> None:
    with pytest.raises(PlanError) as caught:
        send(25, messages=1, workload={"domain_suffix": ""})
    words = str(caught.value)
    assert 'mail for "aol.com" may be relayed to real people' in words
    assert "add --allow-real-domains" in words
    assert words.endswith("(domain_suffix)")


@pytest.mark.parametrize("suffix", ["com", "de", "co.uk", "com.au", "ORG.br", "museum"])
@pytest.mark.usefixtures("no_connection")
def test_a_suffix_that_people_have_domains_under_is_none(suffix: str) -> None:
    with pytest.raises(PlanError, match=rf'mail for "aol.com.{suffix}" may be relayed to real people'):
        send(25, messages=1, workload={"domain_suffix": suffix})
    with pytest.raises(PlanError, match="may be relayed"):
        send(25, messages=1, workload={"domain_suffix": suffix, "domains": (), "long_tail": LongTail(3, 1.0)})


@pytest.mark.parametrize("suffix", ["test", "localhost", "a.test", "example.com", "testingdomain.tld", "lab.corp.de"])
def test_any_other_suffix_keeps_mail_from_real_domains(suffix: str) -> None:
    assert Workload(domain_suffix=suffix).real_domains == ()


def test_real_domains_are_allowed_by_their_own_word_only() -> None:
    local = Route("127.0.0.1", (TcpTarget("127.0.0.1", 25),))
    without_suffix = {"domain_suffix": ""}
    check(plan_for(25, messages=1, workload=without_suffix, allow_real_domains=True), local)
    with pytest.raises(PlanError):
        check(plan_for(25, messages=1, workload=without_suffix, allow_public_target=True), local)


@pytest.mark.parametrize("name", ["a.test", "x.example", "mail.example.org", "b.invalid", "localhost", "A.TEST"])
def test_reserved_domains_need_no_suffix(name: str) -> None:
    local = Route("127.0.0.1", (TcpTarget("127.0.0.1", 25),))
    check(plan_for(25, messages=1, workload={"domains": (WeightedDomain(name),), "domain_suffix": ""}), local)


@pytest.mark.parametrize("name", ["gmail.com", "atest", "example.com.evil.org", "test.de", "notexample.org"])
def test_domains_that_only_look_reserved_are_real(name: str) -> None:
    local = Route("127.0.0.1", (TcpTarget("127.0.0.1", 25),))
    with pytest.raises(PlanError, match="--allow-real-domains"):
        check(plan_for(25, messages=1, workload={"domains": (WeightedDomain(name),), "domain_suffix": ""}), local)


def test_a_long_tail_without_a_suffix_is_reserved_all_the_same() -> None:
    plan = plan_for(25, messages=1, workload={"domains": (), "long_tail": LongTail(50, 1.0), "domain_suffix": ""})
    check(plan, Route("127.0.0.1", (TcpTarget("127.0.0.1", 25),)))
    for message in Messages(plan, date="").block(0, 50):
        assert all(address.endswith(b".example") for address in message.envelope.split(b"\n"))


def test_the_embedded_sink_needs_no_word_for_real_domains() -> None:
    results = send(None, messages=20, workload={"domain_suffix": ""})
    assert counts(results) == Counts(accepted=20)
    assert results.ledger is not None
    assert results.ledger.clean


# -- addresses ------------------------------------------------------------------------------------------


def test_a_literal_address_resolves_to_itself() -> None:
    assert resolve(TcpTarget("8.8.8.8", 2525)) == Route("8.8.8.8", (TcpTarget("8.8.8.8", 2525),))
    assert resolve(TcpTarget("::1", 2525)) == Route("::1", (TcpTarget("::1", 2525),))


def test_a_name_is_resolved_once_to_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::7", port, 0, 3)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    route = resolve(TcpTarget("mail.test", 25))
    assert route.addresses == (TcpTarget("10.0.0.7", 25), TcpTarget("fe80::7%3", 25))
    assert str(route) == "10.0.0.7:25, [fe80::7%3]:25"
    assert asked == ["mail.test"]


def test_a_unix_socket_is_always_local() -> None:
    target: Target = UnixTarget("/run/mail.sock")
    route = resolve(target)
    assert route == Route("localhost", (target,))
    check(plan_for(target, messages=1), route)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".test", "..", "x" * 300])
def test_a_name_that_does_not_resolve_is_one_line(host: str) -> None:
    with pytest.raises(SetupError) as caught:
        resolve(TcpTarget(host, 25))
    assert str(caught.value).startswith(f'cannot resolve "{host}": ')
    assert "\n" not in str(caught.value)


def test_the_addresses_used_are_said_and_kept() -> None:
    lines: list[str] = []
    with pytest.raises(PlanError):
        run(plan_for(TcpTarget("192.0.2.1"), messages=1), notice=lines.append)
    assert lines == []
    plan = Plan(max_messages=1, workers=1)
    results = run(plan, notice=lines.append)
    (address,) = results.run.addresses
    assert lines == [f"no --target given: sending to the embedded sink at {address}"]
    assert address.startswith("127.0.0.1:")
