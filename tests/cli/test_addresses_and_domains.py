"""Addresses and domains that are easily mistyped, and where a sink says that it listens."""

import re

import pytest

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.plan import Target, TcpTarget, UnixTarget
from trafficgen.plan.targets import port_hint
from trafficgen.sink.progress import announce


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("listen", "hint"), [("::1:2602", "; did you mean [::1]:2602?\n"), ("192.0.2.1:2602", "\n")])
def test_a_sink_that_cannot_listen_warns_of_nobody(
    listen: str, hint: str, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["sink", listen, "--workers", workers, "--no-ledger"]) is ExitCode.FAILED
    said = capsys.readouterr().err
    assert said.startswith("traffic-gen: cannot listen on ")
    assert said.endswith(hint)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("api", "reason"),
    [
        ("::1:2602", r"; did you mean \[::1\]:2602\?"),
        ("192.0.2.1:2602", ""),
        ("ü" * 60 + ".test:2602", ""),
    ],
)
def test_a_sink_whose_api_cannot_be_had_does_not_say_that_it_listens(
    api: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["sink", "0", "--api", api, "--no-ledger"]) is ExitCode.FAILED
    said = capsys.readouterr().err
    assert re.fullmatch(rf"traffic-gen: cannot listen on \S+: [^;]+{reason} \(--api\)\n", said)


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        (TcpTarget("127.0.0.1", 2525), False),
        (TcpTarget("127.8.0.1", 2525), False),
        (TcpTarget("::1", 2525), False),
        (UnixTarget("/run/sink.sock"), False),
        (TcpTarget("0.0.0.0", 2525), True),
        (TcpTarget("::", 2525), True),
        (TcpTarget("192.168.0.7", 2525), True),
        (TcpTarget("fe80::1%eth0", 2525), True),
    ],
)
def test_a_sink_says_where_it_listens_and_then_who_can_reach_it(address: Target, warned: bool) -> None:
    said: list[str] = []
    announce(address, said.append)
    lines = [f"sink listening on {address}; it relays nothing; Ctrl-C ends it"]
    lines += [f"warning: {address} can be reached from elsewhere; anybody may send mail to this sink"] * warned
    assert said == lines


@pytest.mark.parametrize(
    ("host", "port", "hint"),
    [
        ("::1:2602", 25, "; did you mean [::1]:2602?"),
        ("2001:db8::1:25", 25, "; did you mean [2001:db8::1]:25?"),
        ("::1:2602", 587, ""),
        ("::1:26af", 25, ""),
        ("::1:0", 25, ""),
        ("fe80::2525", 25, ""),
        ("1:2:3:4:5:6:7:25", 25, ""),
        ("::1", 25, ""),
        ("mail.test", 25, ""),
        ("127.0.0.1", 25, ""),
    ],
)
def test_an_address_that_may_end_in_a_port(host: str, port: int, hint: str) -> None:
    assert port_hint(host, port) == hint


def test_an_address_that_may_end_in_a_port_is_not_only_a_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["check", "::1:2602"], ["--target", "::1:2602", "--message-count", "1"]):
        assert call(command) is ExitCode.USAGE
        assert "--allow-public-target" in (said := capsys.readouterr().err)
        assert "; did you mean [::1]:2602?" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lab.test.", "expected a domain name without a dot at its end"),
        ("a" * 64 + ".test", "expected a domain name whose labels have at most 63 octets (RFC 1035 section 2.3.4)"),
        (".".join(["a" * 60] * 5), "expected a domain name of at most 255 octets"),
        ("lab test", "expected a domain name"),
        ("lab.test..", "expected a domain name"),
    ],
)
def test_a_domain_that_is_none_is_refused_with_the_reason(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["--domain", name, "--message-count", "1"]) is ExitCode.USAGE
    assert f'{words}, got "{name[:80]}" (--domain)' in capsys.readouterr().err


def test_a_suffix_with_a_label_that_is_too_long_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["--domain-suffix", "a" * 64, "--message-count", "1"]) is ExitCode.USAGE
    assert "labels have at most 63 octets (RFC 1035 section 2.3.4) or an empty string, got" in capsys.readouterr().err
