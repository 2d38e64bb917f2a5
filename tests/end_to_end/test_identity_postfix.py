"""Postfix takes clients from XCLIENT, XFORWARD and PROXY headers."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.identities import DOC, session
from tests.peers import dovecot
from tests.peers.ports import free_port
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, send
from trafficgen.plan import AddressRange, ClientAttribute, ClientPlan, ProxyProtocol
from trafficgen.protocol.smtp.capabilities import Capabilities

# -- Postfix ---------------------------------------------------------------------------------------------


def clients_in(log: str) -> list[str]:
    return re.findall(r"smtpd\[\d+\]: [0-9A-F]+: client=(\S+)", log)


def test_postfix_takes_the_client_from_xclient() -> None:
    with (
        private_sink() as sink,
        private_postfix(
            sink.port, "smtpd_authorized_xclient_hosts = 127.0.0.0/8\nmynetworks = 127.0.0.0/8, 192.0.2.0/24"
        ) as postfix,
    ):
        results = send(
            postfix.port,
            messages=20,
            sessions=2,
            session={"client": ClientPlan(xclient_from=(DOC,)), "max_messages": 4},
        )
        sink.wait_for(20)
        found = clients_in(postfix.log)
    assert counts(results) == Counts(accepted=20)
    assert len(found) == 20
    for client in found:
        name, address = client.rstrip("]").split("[")
        assert address.startswith("192.0.2.")
        assert name == address.replace(".", "-") + ".dyn.test"


@contextmanager
def logins_of_dovecot() -> Iterator[Path]:
    """A socket for logins by Dovecot: asked to use Cyrus SASL where that has no mechanisms, Postfix greets nobody."""
    with tempfile.TemporaryDirectory(prefix="traffic-gen-auth-") as folder:
        Path(folder).chmod(0o755)  # for Postfix, which works as a user of its own
        settings = f"service auth {{\n  unix_listener {folder}/auth {{\n    mode = 0666\n  }}\n}}\n"
        with dovecot.running(settings=settings):
            yield Path(folder) / "auth"


def test_postfix_takes_every_attribute_of_xclient() -> None:
    """A login that is refused, and a name that cannot be looked up for now: what XCLIENT alone can play."""
    settings = """\
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_client_port_logging = yes
smtpd_error_sleep_time = 0
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {path}
smtpd_relay_restrictions = check_sasl_access inline:{{ bob=REJECT }}
  reject_unknown_client_hostname permit_sasl_authenticated reject"""
    said = (
        ("NAME", "mx.dyn.test"), ("NAME", "[TEMPUNAVAIL]"), ("LOGIN", "ann"), ("LOGIN", "bob"), ("PORT", "40000"),
        ("REVERSE_NAME", "mx.dyn.test"), ("PROTO", "SMTP"), ("HELO", "mx.dyn.test"), ("DESTADDR", "192.0.2.25"),
        ("DESTPORT", "587"),
    )  # fmt: skip
    client = ClientPlan(
        xclient_from=(AddressRange("192.0.2.7", "192.0.2.7"),),
        xclient=tuple(ClientAttribute(name, value) for name, value in said),
    )
    with (
        private_sink() as sink,
        logins_of_dovecot() as path,
        private_postfix(sink.port, settings.format(path=path)) as postfix,
    ):
        results = send(postfix.port, messages=16, seed=3, session={"client": client, "max_messages": 1})
        found = counts(results)
        sink.wait_for(found.accepted)
        log = postfix.log
    assert found.accepted + found.rejected_permanent + found.rejected_temporary == 16
    taken = re.findall(r"client=mx\.dyn\.test\[192\.0\.2\.7\]:40000, sasl_method=XCLIENT, sasl_username=ann", log)
    assert len(taken) == found.accepted > 0
    assert len(re.findall(r"reject: RCPT .* 554 5\.7\.1 <bob>:", log)) == found.rejected_permanent > 0
    unnamed = re.findall(r"reject: RCPT from unknown\[192\.0\.2\.7\]:40000: 450 4\.7\.25", log)
    assert len(unnamed) == found.rejected_temporary > 0


def test_postfix_takes_the_origin_from_xforward() -> None:
    settings = "smtpd_authorized_xforward_hosts = 127.0.0.0/8\nsmtp_send_xforward_command = yes"
    with (
        private_sink(capabilities=Capabilities(xforward=True)) as sink,
        private_postfix(sink.port, settings) as postfix,
    ):
        results = send(postfix.port, messages=6, session=session(xforward_from=(DOC,)))
        sink.wait_for(6)
        found = re.findall(r"orig_client=(\S+)", postfix.log)
    assert counts(results) == Counts(accepted=6)
    assert len(found) == 6
    assert all(re.fullmatch(r"192-0-2-\d+\.dyn\.test\[192\.0\.2\.\d+\]", one) for one in found)


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
def test_postfix_takes_the_client_from_a_proxy_header(version: ProxyProtocol) -> None:
    settings = (
        "smtpd_upstream_proxy_protocol = haproxy\nmynetworks = 127.0.0.0/8, 192.0.2.0/24\nsmtpd_peername_lookup = no"
    )
    with private_sink() as sink, private_postfix(sink.port, settings) as postfix:
        results = send(postfix.port, messages=10, session=session(proxy=version, proxy_from=(DOC,)))
        sink.wait_for(10)
        found = clients_in(postfix.log)
    assert counts(results) == Counts(accepted=10)
    assert len(found) == 10
    assert all(re.fullmatch(r"\S+\[192\.0\.2\.\d+\]", one) for one in found)


_POSTSCREEN = """\
127.0.0.1:{port} inet n - n - 1 postscreen
smtpd     pass  -  -  n  -  -  smtpd
dnsblog   unix  -  -  n  -  0  dnsblog
tlsproxy  unix  -  -  n  -  0  tlsproxy
"""


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
def test_postscreen_takes_the_client_from_a_proxy_header_and_hands_it_on(version: ProxyProtocol) -> None:
    port = free_port()
    settings = (
        "postscreen_upstream_proxy_protocol = haproxy\npostscreen_cache_map =\n"
        "postscreen_access_list = permit_mynetworks\nmynetworks = 192.0.2.0/24\nsmtpd_peername_lookup = no"
    )
    with private_sink() as sink, private_postfix(sink.port, settings, _POSTSCREEN.format(port=port)) as postfix:
        results = send(port, messages=10, session=session(proxy=version, proxy_from=(DOC,)))
        sink.wait_for(10)
        screened = re.findall(
            r"postscreen\[\d+\]: ALLOWLISTED \[(192\.0\.2\.\d+)\]|WHITELISTED \[(192\.0\.2\.\d+)\]", postfix.log
        )
        found = clients_in(postfix.log)
    assert counts(results) == Counts(accepted=10)
    assert len(screened) == 10
    assert sorted(one or other for one, other in screened) == sorted(one.split("[")[1].rstrip("]") for one in found)


def test_postscreen_hangs_up_on_a_client_without_a_proxy_header() -> None:
    port = free_port()
    settings = (
        "postscreen_upstream_proxy_protocol = haproxy\npostscreen_upstream_proxy_timeout = 1s\npostscreen_cache_map ="
    )
    with private_sink() as sink, private_postfix(sink.port, settings, _POSTSCREEN.format(port=port)):
        results = send(port, messages=1)
    assert counts(results) == Counts(failed=1)
    assert [(one.phase, one.reason) for one in results.failures] == [("greeting", "refused by the server")]  # 421


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
def test_proxy_to_a_postfix_that_does_not_expect_it(version: ProxyProtocol) -> None:
    with private_sink() as sink, private_postfix(sink.port) as postfix:
        results = send(postfix.port, messages=3, session=session(proxy=version, proxy_from=(DOC,)))
    assert counts(results) == Counts(failed=3)
    assert [(one.phase, one.reason, one.count) for one in results.failures] == [
        ("greeting", "PROXY header not understood", 3)
    ]
