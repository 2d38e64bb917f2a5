"""Verdicts that no real server can be brought to, from scripted ones; and that every case has both somewhere."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

from tests.check import test_domain, test_tls_scan, test_trail
from tests.check.lab import USER, services
from tests.check.scripted import IMAP, POP3, SMTP, serving
from tests.check.test_postfix_dovecot import IN_CLEAR, WRONG
from tests.peers.certificates import Certificate
from tests.peers.ports import free_ports
from trafficgen.check import ports, service
from trafficgen.check.cases import CASES
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.report.checked import Checked, to_html, to_junit
from trafficgen.verdict.findings import Finding, Grade

Answers = Mapping[str, str]

SCRIPTED: Final[list[tuple[str, str, Answers, str, str]]] = [
    ("smtp.ehlo.syntax", "smtp", {**SMTP, "EHLO": "250-x\r\n250-PIPELINING\r\n250 SIZE 9"}, "warn", "250"),
    ("smtp.unknown-command", "smtp", {**SMTP, "other": "250 certainly"}, "warn", "250 certainly"),
    ("smtp.order", "smtp", {**SMTP, "RCPT": "250 ok"}, "warn", "RCPT: 250"),
    ("smtp.vrfy", "smtp", {**SMTP, "VRFY": "250 maybe", "other": "500"}, "pass", "250 maybe"),
    ("smtp.expn", "smtp", {**SMTP, "EXPN": "250 <ann@lab.test>"}, "fail", "250 <ann@"),
    ("smtp.size", "smtp", {**SMTP, "EHLO": "250-x\r\n250-PIPELINING\r\n250 SIZE 0"}, "warn", "SIZE 0"),
    ("smtp.size", "smtp", {**SMTP, "MAIL": "250 ok"}, "fail", "SIZE=1001: 250"),
    ("smtp.postmaster", "smtp", {**SMTP, "RCPT": "550 5.1.1 who?"}, "fail", "550"),
    ("smtp.greeting", "smtp", {**SMTP, "": "554 no"}, "fail", "554"),
    ("smtp.greeting", "smtp", {**SMTP, "": "SSH-2.0-OpenSSH_9.2"}, "fail", "SSH-2.0-OpenSSH_9.2"),
    ("smtp.early-talker", "smtp", {**SMTP, "": "554 no"}, "inconclusive", "greeted with 554 no"),
    ("smtp.pipelining-after-helo", "smtp", {**SMTP, "": "554 no"}, "inconclusive", "greeted with 554 no"),
    ("smtp.pipelining-after-helo", "smtp", {**SMTP, "HELO": "502 no"}, "inconclusive", "HELO was answered 502 no"),
    ("smtp.errors", "smtp", {**SMTP, "": "554 no"}, "inconclusive", "greeted with 554 no"),
    ("smtp.ehlo", "smtp", {**SMTP, "EHLO": "502 no"}, "fail", "502"),
    ("tls.offered", "submission", {**SMTP, "STARTTLS": "502 no"}, "fail", "502"),
    ("tls.offered", "smtp", {**SMTP, "STARTTLS": "502 no"}, "warn", "502"),
    ("tls.required", "smtp", {**SMTP, "MAIL": "530 5.7.0 Must issue STARTTLS first"}, "fail", "530"),
    ("tls.reset", "smtp", SMTP, "fail", "STARTTLS"),
    ("tls.reset", "pop3", POP3, "fail", "STARTTLS"),
    ("tls.reset", "imap", IMAP, "fail", "STARTTLS"),
    ("auth.offered", "submission", SMTP, "fail", "no AUTH"),
    ("auth.good", "submission", {**SMTP, "EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "535 no"}, "fail", "535"),
    (
        "auth.good",
        "submission",
        {**SMTP, "EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "454 later"},
        "inconclusive",
        "454",
    ),
    ("auth.bad", "submission", {**SMTP, "EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "235 in"}, "fail", "235"),
    (
        "auth.cancelled",
        "submission",
        {**SMTP, "EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "334 ", "*": "235 in"},
        "warn",
        "235",
    ),
    (
        "auth.cancelled",
        "submission",
        {**SMTP, "EHLO": "250-x\r\n250 AUTH PLAIN", "*": "501 what?"},
        "inconclusive",
        "AUTH PLAIN was answered 503",
    ),
    ("auth.clear", "smtp", {**SMTP, "AUTH": "503 no"}, "pass", "503"),
    ("auth.clear", "smtp", {**SMTP, "AUTH": "250 ok"}, "inconclusive", "no AUTH offered; AUTH PLAIN was answered 250"),
    ("auth.clear", "smtp", {**SMTP, "AUTH": "235 in"}, "fail", "235"),
    ("auth.clear", "smtp", {**SMTP, "AUTH": "334 "}, "fail", "334"),
    ("auth.clear", "smtp", {**SMTP, "AUTH": "535 no"}, "fail", "535"),
    ("auth.good", "submission", {**SMTP, "EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "250 ok"}, "fail", "250"),
    ("smtp.postmaster", "smtp", {**SMTP, "RCPT": "251 elsewhere"}, "pass", "251"),
    ("smtp.postmaster", "smtp", {**SMTP, "RCPT": "220 hello"}, "fail", "220"),
    ("smtp.pipelining-after-helo", "smtp", {**SMTP, "HELO": "220 hello"}, "inconclusive", "HELO was answered 220"),
    ("smtp.size", "smtp", {**SMTP, "EHLO": "550-x\r\n550 SIZE 1000"}, "warn", "no SIZE"),
    ("pop3.greeting", "pop3", {**POP3, "": "-ERR no"}, "fail", "-ERR"),
    ("pop3.capa", "pop3", {**POP3, "CAPA": "+OK\r\nUSER\r\n."}, "warn", "USER"),
    ("pop3.bad", "pop3", POP3, "fail", "+OK"),
    ("pop3.mailbox", "pop3", POP3, "fail", "1 message, 100 octets"),
    ("pop3.mailbox", "pop3", {**POP3, "UIDL": "+OK\r\n."}, "fail", "UIDL 0"),
    ("imap.greeting", "imap", {**IMAP, "": "* BYE no"}, "fail", "* BYE"),
    ("imap.capability", "imap", {**IMAP, "CAPABILITY": "* CAPABILITY IMAP2\r\n{tag} OK done"}, "fail", "IMAP2"),
    ("imap.bad", "imap", IMAP, "fail", "OK in"),
    ("imap.mailbox", "imap", IMAP, "fail", "NO no such mailbox"),
    ("delivery.submitted", "smtp", {**SMTP, "RCPT": "250 ok", "DATA": "554 no"}, "fail", "554"),
    ("delivery.submitted", "smtp", {**SMTP, "RCPT": "250 ok", "DATA": "250 ok"}, "fail", "DATA: 250 ok"),
    ("delivery.submitted", "smtp", {**SMTP, "RCPT": "252 perhaps"}, "fail", "RCPT: 252"),
    ("delivery.submitted", "submission", {**SMTP, "AUTH": "250 ok", "RCPT": "250 ok"}, "fail", "AUTH PLAIN: 250 ok"),
    ("smtp.postmaster", "smtp", {**SMTP, "MAIL": "421 4.7.0 slow down"}, "inconclusive", "wants no more now"),
    ("relay.envelopes", "smtp", {**SMTP, "MAIL": "450 4.1.8 unknown domain"}, "inconclusive", "another reason"),
]


def found_by(
    capsys: pytest.CaptureFixture[str], *arguments: str, server: str = "127.0.0.1"
) -> dict[str, dict[str, Any]]:
    """Findings by id, the first of each."""
    capsys.readouterr()
    call(["check", server, "--timeout", "5s", "--patience", "1s", "--format", "json", *arguments])
    out, err = capsys.readouterr()
    assert not err
    findings: list[dict[str, Any]] = json.loads(out)["findings"]
    return {one["id"]: one for one in reversed(findings)}


@pytest.fixture
def account(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "password").write_text("secret\n")
    return ("--login-user", USER, "--password-file", str(tmp_path / "password"))


@pytest.mark.parametrize(("case", "service", "answers", "outcome", "words"), SCRIPTED)
def test_a_verdict(
    case: str, service: str, answers: Answers, outcome: str, words: str,
    certificate: Certificate, account: tuple[str, ...], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with serving(answers, certificate.server_context()) as port:
        found = found_by(capsys, *services({service: port}), *account, "--only", case, "--deliver", USER)
    assert (found[case]["outcome"], words in found[case]["found"]) == (outcome, True), found[case]


def test_of_several_addresses_the_one_that_answers_is_looked_at(
    several_addresses: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(SMTP) as port:
        found = found_by(capsys, *services({"smtp": port}), "--only", "smtp.greeting", server=several_addresses)
    assert found["smtp.greeting"]["outcome"] == "pass", found


def test_a_user_that_exists_is_told_from_one_that_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    class Known(dict[str, str]):
        def get(self, name: str, other: str = "") -> str:  # type: ignore[override]
            self.asked = getattr(self, "asked", 0) + (name == "VRFY")
            return "550 who?" if name == "VRFY" and self.asked % 2 == 0 else super().get(name, other)

    with serving(Known(SMTP)) as port:
        found = found_by(capsys, *services({"smtp": port}), "--only", "smtp.vrfy", "--deliver", USER)
    assert found["smtp.vrfy"]["outcome"] == "warn", found


def test_an_unknown_user_is_told_from_a_wrong_password(
    certificate: Certificate, account: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    class Talkative(dict[str, str]):
        def get(self, name: str, other: str = "") -> str:  # type: ignore[override]
            self.asked = getattr(self, "asked", 0) + (name == "AUTH")
            return f"535 5.7.8 no, for the {self.asked}th time" if name == "AUTH" else super().get(name, other)

    answers = Talkative({**SMTP, "EHLO": "250-x\r\n250 AUTH PLAIN"})
    with serving(answers, certificate.server_context()) as port:
        found = found_by(capsys, *services({"submission": port}), *account, "--only", "auth.*")
    assert found["auth.unknown-user"]["outcome"] == "warn", found


@pytest.mark.parametrize("service", ["smtp", "pop3", "imap"])
def test_a_command_that_was_sent_with_starttls_is_answered_inside(
    service: str, certificate: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"smtp": SMTP, "pop3": POP3, "imap": IMAP}[service]
    with serving(answers, certificate.server_context(), inside="250 ok, from the other side") as port:
        found = found_by(capsys, *services({service: port}), "--only", "tls.injection")
    assert found["tls.injection"]["outcome"] == "fail", found
    assert "250 ok, from the other side" in found["tls.injection"]["found"]


def test_no_handshake(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(SMTP) as port:  # says 220 to STARTTLS and goes on in clear
        found = found_by(capsys, *services({"smtp": port}), "--only", "tls.handshake")
    assert found["tls.handshake"]["outcome"] == "fail", found


def test_a_weak_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    certificate, key = weak_certificate(tmp_path)
    context.load_cert_chain(certificate, key)
    with serving(SMTP, context, at_once=True) as port:
        found = found_by(capsys, *services({"smtps": port}), "--only", "tls.key")
    assert (found["tls.key"]["outcome"], found["tls.key"]["found"]) == ("fail", "RSA 1024, signed with sha256")


def weak_certificate(folder: Path) -> tuple[Path, Path]:
    """RSA with 1,024 bits, made by openssl: the library refuses to."""
    import subprocess

    from tests.conftest import program

    files = folder / "weak.pem", folder / "weak.key"
    subprocess.run(
        [program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "60",
         "-subj", "/CN=mail.lab.test", "-sha256", "-out", str(files[0]), "-keyout", str(files[1])],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return files


def test_mail_that_never_arrives(
    certificate: Certificate, account: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Taken, and then nowhere: neither in the mailbox nor outside."""
    smtp = {
        **SMTP,
        "EHLO": "250-x\r\n250 AUTH PLAIN",
        "AUTH": "235 in",
        "RCPT": "250 ok",
        "DATA": "354 go",
        ".": "250 ok",
    }
    context = certificate.server_context()
    pop3, imap = {**POP3, "STAT": "+OK 0 0"}, {**IMAP, "EXAMINE": "* 0 EXISTS\r\n{tag} OK"}
    quiet = {name: "250 ok" if name == "other" else answer for name, answer in smtp.items()}
    outside = free_ports(1)[0]
    with serving(_Silent(quiet), context) as a, serving(pop3, context) as b, serving(imap, context) as c:
        found = found_by(
            capsys, *services({"submission": a, "pop3": b, "imap": c}), *account, "--only", "delivery.*",
            "--deliver", USER, "--prove", f"127.0.0.1:{outside}",
        )  # fmt: skip
    assert found["delivery.submitted"]["outcome"] == "pass", found
    for case in ("delivery.imap", "delivery.pop3", "delivery.out"):
        assert found[case]["outcome"] == "fail", found[case]


class _Silent(dict[str, str]):
    """Says nothing to the lines of a message; its end is a line with a dot."""


def test_ports(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    free = free_ports(1)[0]
    with serving(SMTP) as expected, serving(SMTP) as other:
        monkeypatch.setattr(ports, "USUAL", (other, free))
        options = (*services({"smtp": expected}), "--only", "ports.*", "--expect")
        good = found_by(capsys, *options, f"{expected},{other}")
        bad = found_by(capsys, *options, f"{expected},{free}")
    assert {one["outcome"] for one in good.values()} == {"pass"}, good
    assert {one["outcome"] for one in bad.values()} == {"fail"}, bad
    assert (str(free) in bad["ports.expected"]["found"], str(other) in bad["ports.unexpected"]["found"]) == (True, True)


def test_a_server_of_which_nothing_answers_fails_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed, other = free_ports(2)
    monkeypatch.setattr(ports, "USUAL", (other,))
    monkeypatch.setattr(service, "STANDARD_PORTS", dict.fromkeys(service.ServiceKind, other))
    code = call(["check", "127.0.0.1", "--expect", f"{closed}", "--format", "json"])
    found = {one["id"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert (code, found["ports.expected"]["outcome"]) == (ExitCode.VERDICT_FAILED, "fail")
    assert found["ports.expected"]["found"] == f"no answer from {closed}"
    assert {one["outcome"] for case, one in found.items() if not case.startswith("ports.")} == {"skipped"}
    assert call(["check", "127.0.0.1"]) is ExitCode.FAILED
    assert "none of the standard ports" in capsys.readouterr().err


# -- the command ---------------------------------------------------------------------------------------------


def test_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving({**SMTP, "EXPN": "250 <ann@lab.test> \x1b[2J<script>", "VRFY": "421 4.7.0 later"}) as port:
        here = f"127.0.0.1:{port}"
        only = ("--only", "smtp.greeting", "--only", "smtp.expn", "--only", "smtp.vrfy")
        assert call(["check", here, *only, "--transcript"]) is ExitCode.DONE
        text = capsys.readouterr().out
        junit, page = tmp_path / "check.xml", tmp_path / "check.html"
        assert call(["check", here, *only, "--format", "junit", "-o", str(junit)]) is ExitCode.DONE
        assert call(["check", here, *only, "--format", "html", "-o", str(page)]) is ExitCode.DONE
        with pytest.raises(SystemExit) as ended:
            call(["check", here, "--only", "smtp.greeting", "--format", "nagios"])
        line = capsys.readouterr().out
    assert "inconclusive: smtp.vrfy" in text
    assert "\x1b" not in text
    suite = ET.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("skipped"), suite.get("failures")) == ("3", "2", "0")
    assert "<script>" not in page.read_text()
    assert (ended.value.code, line.startswith("MAIL OK - 0 fail, 0 warn"), "|time=" in line) == (0, True, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--service", "smpt=25"], "expected NAME=PORT"),
        (["--service", "smtp=0"], "expected NAME=PORT"),
        (["--only", "tls.chian"], "did you mean tls.chain?"),
        (["--expect", "25,x"], "expected ports"),
        (["--expect", ",".join(map(str, range(1, 70)))], "64 ports at most"),
        (["--login-user", "ann"], "expected both"),
        (["--xclient-as", "nobody"], "expected an IP address"),
        (["--timeout", "0s"], "above 0"),
        (["--slow", "0s"], "above 0"),
        (["--log", "/no/such"], "cannot read"),
    ],
)
def test_mistakes(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check", "127.0.0.1", *options]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_nobody_there_and_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check", f"127.0.0.1:{free_ports(1)[0]}"]) is ExitCode.FAILED
    assert "connection refused" in capsys.readouterr().err
    assert call(["check", "8.8.8.8:25"]) is ExitCode.USAGE
    assert "--allow-public-target" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["127.0.0.1:CLOSED"], 2, "MAIL CRITICAL - smtp at 127.0.0.1:"),
        (["8.8.8.8:25"], 3, "MAIL UNKNOWN - "),
        (["127.0.0.1", "--only", "no.such"], 3, "MAIL UNKNOWN - "),
    ],
)
def test_monitoring_is_told_of_a_server_that_is_down(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = arguments[0].replace("CLOSED", str(free_ports(1)[0]))
    with pytest.raises(SystemExit) as ended:
        call(["check", server, *arguments[1:], "--format", "nagios"])
    assert (ended.value.code, capsys.readouterr().out.startswith(words)) == (code, True)


def test_a_password_file_that_is_not_there_names_the_option_of_this_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ["--login-user", "ann", "--password-file", str(tmp_path / "none")]
    assert call(["check", "127.0.0.1", *there]) is ExitCode.USAGE
    assert capsys.readouterr().err.endswith("(--password-file)\n")


def test_a_service_that_never_answers_is_waited_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    with serving({"": "", "other": ""}) as port:
        found = found_by(capsys, *services({"smtp": port}), "--timeout", "0.3s", "--skip", "ports.*")
    assert {one["outcome"] for one in found.values() if one["service"] == "smtp"} <= {"inconclusive", "skipped"}


def test_a_port_where_nobody_is_served_passes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with serving({"": "421 too busy", "other": "421 too busy"}) as port:
        code = call(["check", f"127.0.0.1:{port}", "--format", "json"])
    outcomes = {one["outcome"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert (code, outcomes) == (ExitCode.INCONCLUSIVE, {"inconclusive", "skipped"})


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"": "421 too busy", "other": "421 too busy"}, "the server wants no more now: 421 too busy"),
        ({"": "", "other": ""}, "no answer in time"),
    ],
)
def test_what_could_not_be_told_for_one_reason_is_said_once(
    answers: Answers, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(answers) as port:
        told = ["check", f"127.0.0.1:{port}", "--timeout", "0.3s", "--only", "smtp.*", "--only", "auth.*"]
        assert call([*told, "--only", "relay.*"]) is ExitCode.INCONCLUSIVE
        shown = " ".join(capsys.readouterr().out.split())
        call([*told, "--only", "relay.*", "--format", "json"])
        found = json.loads(capsys.readouterr().out)["findings"]
    unclear = [one["id"] for one in found if one["outcome"] == "inconclusive"]
    assert len(unclear) > 15
    assert f"inconclusive {len(unclear)} cases smtp {reason}" in shown
    assert shown.count(reason) == 2  # in the table, and below it
    assert f"not told: {', '.join(unclear)}" in shown
    findings = [{**one, "outcome": Grade(one["outcome"]), "transcript": tuple(one["transcript"])} for one in found]
    every = Checked("here", "", "", 1.0, tuple(Finding(**one) for one in findings))
    for form in (to_junit(every), to_html(every)):
        assert form.count(f"not told, for the same reason as {unclear[0]}") == len(unclear) - 1
    assert to_junit(every).count(reason) == 1


def test_the_page_has_every_case() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/check.md").read_text()
    for case, known in CASES.items():
        assert f"| `{case}` | {known.expected} | {known.source} |" in page


ELSEWHERE: Final = {
    "smtp.vrfy": test_a_user_that_exists_is_told_from_one_that_does_not,
    "auth.unknown-user": test_an_unknown_user_is_told_from_a_wrong_password,
    "tls.injection": test_a_command_that_was_sent_with_starttls_is_answered_inside,
    "tls.handshake": test_no_handshake,
    "tls.key": test_a_weak_key,
    "tls.scan": test_tls_scan.test_a_report_is_told,
    "delivery.log": test_trail.test_an_attempt_decides,
    "delivery.imap": test_mail_that_never_arrives,
    "delivery.pop3": test_mail_that_never_arrives,
    "delivery.out": test_mail_that_never_arrives,
    "ports.expected": test_ports,
    "ports.unexpected": test_ports,
    "dns.dkim": test_domain.test_keys_that_nobody_should_trust,
}
"""Which test has the other verdict, where no row of a table does."""

PASSED_ELSEWHERE: Final = {
    "ports.expected": test_ports,
    "ports.unexpected": test_ports,
    "tls.scan": test_tls_scan.test_a_report_is_told,
    "dns.tlsa": test_domain.test_the_certificate_is_held_to_its_tlsa_records,
    **{
        case: test_domain.test_a_domain_that_is_set_up_right
        for case in CASES
        if case.startswith("dns.") and case != "dns.tlsa"
    },
}
"""All others pass of a server that is set up right (test_postfix_dovecot), which asserts that it saw each."""


def test_every_case_has_both_verdicts() -> None:
    rows = [(case, outcome) for case, (_, outcome, _) in WRONG.items()]
    rows += [(case, outcome) for case, _, _, outcome, _ in SCRIPTED]
    rows += [(case, outcome) for case, _, outcome, _ in test_domain.WRONG]
    by_rows = {*IN_CLEAR, *(case for case, outcome in rows if outcome in ("warn", "fail"))}
    assert {*by_rows, *ELSEWHERE} == set(CASES)
    assert {case for case in CASES if not case.startswith(("ports.", "dns.", "tls.scan"))} == set(CASES) - set(
        PASSED_ELSEWHERE
    )
