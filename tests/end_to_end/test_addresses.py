"""Everywhere a server may listen: IPv4, IPv6, a name with several addresses, a UNIX socket."""

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, ScriptedServer
from trafficgen import PlanError, SetupError, TcpTarget, UnixTarget, run
from trafficgen.guard import Route, resolve
from trafficgen.plan import Security, Target


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def send_to(target: Target) -> tuple[str, ...]:
    with private_sink(target) as sink:
        results = send(sink.target, messages=50, sessions=3, session={"max_messages": 10})
        assert counts(results) == Counts(accepted=50)
        assert sink.arrivals(results.run.id).messages == 50
    return results.run.addresses


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "sink"
    assert send_to(UnixTarget(str(path))) == (f"unix:{path}",)
    assert not path.exists()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6() -> None:
    (address,) = send_to(TcpTarget("::1", 0))
    assert address.startswith("[::1]:")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("security", [Security.PLAIN, Security.STARTTLS_IF_OFFERED])
def test_ehlo_over_ipv6_says_an_ipv6_literal(security: Security) -> None:
    said: list[str] = []

    class Noting(Script):
        def ehlo(self, line: str) -> None:
            said.append(line)
            super().ehlo(line)

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        server = ScriptedServer(Noting, listener)
        server.start()
        try:
            target = TcpTarget("::1", listener.getsockname()[1])
            send(target, messages=2, session={"max_messages": 1, "security": security})
        finally:
            server.stop()
    assert said == ["EHLO [IPv6:::1]"] * 2


@pytest.mark.parametrize("security", [Security.PLAIN, Security.STARTTLS_IF_OFFERED])
def test_a_name_whose_first_addresses_do_not_answer(several_addresses: str, security: Security) -> None:
    """Many sessions find that out at the same time, and none of them takes another's word for its own address."""
    with private_sink() as sink:
        target = TcpTarget(several_addresses, sink.port)
        said: list[str] = []
        plan = plan_for(target, messages=60, sessions=20, session={"security": security})
        results = run(plan, notice=said.append)
    assert counts(results) == Counts(accepted=60)
    assert len(results.run.addresses) == 4
    assert said[:1] == [f"target {target} is at {', '.join(results.run.addresses)}"]


def test_a_name_of_both_versions_is_connected_to_over_the_one_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up = socket.getaddrinfo

    def both(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        if host != "both.test":
            return look_up(host, port, *rest, **more)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with private_sink() as sink:
        target = TcpTarget("both.test", sink.port)
        results = run(plan_for(target, messages=20, ip_version=4))
        sixes = resolve(target).of_version(6)
    assert counts(results) == Counts(accepted=20)
    assert results.run.addresses == (f"127.0.0.1:{sink.port}",)
    assert sixes.addresses == (TcpTarget("::1", target.port),)
    with pytest.raises(
        SetupError, match=r'^"127\.0\.0\.1" has no IPv6 address, it is at 127\.0\.0\.1:25: .*--ip-version'
    ):
        resolve(TcpTarget("127.0.0.1", 25)).of_version(6)


def test_the_best_exchangers_of_a_version_stay_the_first() -> None:
    one, two, three = (TcpTarget(host, 25) for host in ("192.0.2.1", "2001:db8::1", "192.0.2.3"))
    route = Route("lab.test", (one, two, three), hosts=("a.test", "a.test", "b.test"), equal=2)
    assert route.of_version(4) == Route("lab.test", (one, three), hosts=("a.test", "b.test"), equal=1)
    assert route.of_version(6) == Route("lab.test", (two,), hosts=("a.test",), equal=1)
    assert route.of_version(0) == route


@pytest.mark.parametrize("target", [UnixTarget("sink"), None])
def test_what_has_no_name_has_no_version(target: Target | None) -> None:
    with pytest.raises(PlanError, match="expected hosts"):
        plan_for(target, messages=1, ip_version=4)


def test_an_address_in_use_is_one_line() -> None:
    with (
        private_sink() as sink,
        pytest.raises(SetupError, match=rf"cannot listen on 127\.0\.0\.1:{sink.port}: .*in use"),
        private_sink(sink.target),
    ):
        pass
