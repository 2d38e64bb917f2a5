"""Both verdicts of the cases, against Postfix and Dovecot set up right and wrong."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.check.lab import NAME, USER, Lab, lab, services
from tests.peers.dovecot_config import is_new
from tests.peers.ports import free_ports
from trafficgen.check.cases import CASES
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode

ASKED: Final = ("--patience", "20s", "--name", NAME, "--deliver", USER)

WRONG: Final = {
    "smtp.greeting": ("smtp", "warn", "Postfix 3.7.11"),
    "smtp.ehlo": ("smtp", "warn", "XCLIENT"),
    "smtp.unknown-user": ("smtp", "warn", "250"),
    "smtp.early-talker": ("smtp", "warn", "served"),
    "smtp.pipelining-after-helo": ("smtp", "warn", "served"),
    "smtp.errors": ("smtp", "warn", "goes on"),
    "tls.required": ("submission", "fail", "250"),
    "tls.chain": ("submission", "fail", "expired"),
    "tls.name": ("submission", "fail", "mismatch"),
    "tls.expiry": ("imaps", "fail", "good until"),
    "tls.versions": ("pop3s", "fail", "TLS 1.0"),
    "tls.ciphers": ("imap", "warn", "kRSA"),
    "auth.clear": ("submission", "fail", "AUTH PLAIN"),
    "auth.required": ("submission", "fail", "250"),
    "relay.envelopes": ("smtp", "fail", "22 of 22 came out"),
    "relay.after-bad-login": ("submission", "fail", "came out"),
    "smuggling.end-of-data": ("smtp", "fail", "LF.LF, LF.CRLF, CRLF.LF"),
}
"""Case → service, outcome and words of the server that is set up wrong."""

IN_CLEAR: Final = {"pop3.clear": "pop3", "imap.clear": "imap"}
"""Only a stranger can tell."""


@pytest.fixture(scope="module")
def outside_port() -> int:
    return free_ports(1)[0]


def checked(
    capsys: pytest.CaptureFixture[str], *arguments: str, server: str = "127.0.0.1"
) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    capsys.readouterr()
    code = call(["check", server, *arguments, "--format", "json"])
    out, err = capsys.readouterr()
    assert not err
    return code, {(one["id"], one["service"]): one for one in json.loads(out)["findings"]}


@pytest.fixture(scope="module")
def right(outside_port: int) -> Iterator[Lab]:
    with lab(outside_port, right=True) as made:
        yield made


@pytest.fixture(scope="module")
def wrong(outside_port: int) -> Iterator[Lab]:
    with lab(outside_port, right=False) as made:
        yield made


def test_a_server_that_is_set_up_right(right: Lab, outside_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = checked(
        capsys, *services(right.ports), *right.account, *ASKED, "--tls-ca", str(right.authority),
        "--prove", f"127.0.0.1:{outside_port}", "--skip", "ports.*",
        "--log", str(right.postfix.folder / "log/mail.log"),
    )  # fmt: skip
    bad = {key: one for key, one in found.items() if one["outcome"] != "pass" and key[0] not in IN_CLEAR}
    assert (code, bad) == (ExitCode.DONE, {}), right.postfix.log[-2000:]
    assert {case for case, _ in found} == {
        case for case in CASES if not case.startswith(("ports.", "dns.", "tls.scan"))
    }
    for way in ("smtp", "submission", "smtps"):
        assert " sent after " in found["delivery.log", way]["found"]
        assert "Saved" in found["delivery.log", way]["found"]
    password = right.password_file.read_text().strip()
    assert password not in json.dumps(list(found.values()))


def test_one_that_is_set_up_wrong(wrong: Lab, outside_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = checked(
        capsys, *services(wrong.ports), *wrong.account, *ASKED, "--tls-ca", str(wrong.authority),
        "--prove", f"127.0.0.1:{outside_port}", "--skip", "ports.*",
    )  # fmt: skip
    assert code == ExitCode.VERDICT_FAILED
    for case, (service, outcome, words) in WRONG.items():
        one = found[case, service]
        assert one["outcome"] == outcome, one
        assert words in one["found"], one
        assert one["expected"]
        assert one["transcript"]


@pytest.mark.parametrize("case", IN_CLEAR)
def test_what_strangers_see_of_logins_in_clear(
    right: Lab, wrong: Lab, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """To Dovecot 2.4 a proxy on its own machine is safe, whomever it brings; who comes to another address is not."""
    name = IN_CLEAR[case]
    for made, outcome in ((right, "pass"), (wrong, "fail")):
        _, found = checked(capsys, *services({name: made.ports[name]}), "--only", case, server="127.0.0.2")
        assert found[case, name]["outcome"] == outcome, found
        port = services({name: made.proxied[name]})
        _, found = checked(capsys, *port, "--proxy-as", "192.0.2.10", "--only", case)
        assert found[case, name]["outcome"] == ("fail" if is_new() else outcome), found


def test_a_stranger_by_xclient(wrong: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever comes from the server's own network may send to everywhere; a stranger may not."""
    port = services({"smtp": wrong.ports["smtp"]})
    for options, outcome in (((), "inconclusive"), (("--xclient-as", "192.0.2.9"), "pass")):
        _, found = checked(capsys, *port, *options, "--only", "relay.envelopes")
        assert found["relay.envelopes", "smtp"]["outcome"] == outcome, found
