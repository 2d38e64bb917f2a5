"""What testssl.sh 3.0.8 and sslyze 6.3.1 wrote on 2026-11-27, shortened, and what becomes of it."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.check.lab import services
from tests.check.scripted import SMTP, serving
from tests.peers.ports import free_ports
from trafficgen.check.tls_scan import MOST_S, read_scan
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode

TESTSSL: Final = """\
[
         {
              "id"           : "service",
              "ip"           : "127.0.0.1/127.0.0.1",
              "port"         : "PORT",
              "severity"     : "DEBUG",
              "finding"      : "Couldn't determine service, skipping all HTTP checks"
          }
,         {
              "id"           : "LUCKY13",
              "ip"           : "127.0.0.1/127.0.0.1",
              "port"         : "PORT",
              "severity"     : "LOW",
              "cve"          : "CVE-2013-0169",
              "cwe"          : "CWE-310",
              "finding"      : "potentially vulnerable, uses TLS CBC ciphers"
          }
]
"""
UNREACHED: Final = """\
[
         {
              "id"           : "scanProblem",
              "ip"           : "127.0.0.1/127.0.0.1",
              "port"         : "PORT",
              "severity"     : "FATAL",
              "finding"      : "Can't connect to '127.0.0.1:1' Make sure a firewall is not between you"
          }
,         {
              "id"           : "scanTime",
              "ip"           : "127.0.0.1/127.0.0.1",
              "port"         : "PORT",
              "severity"     : "WARN",
              "finding"      : "Scan interrupted"
          }
]
"""


def sslyze(port: int, **changed: Any) -> str:
    """Its report of a server with TLS 1.2 alone, and what is changed in it."""
    versions = {f"{name}_cipher_suites": {"accepted_cipher_suites": []} for name in ("ssl_2_0", "ssl_3_0", "tls_1_0")}
    results: dict[str, Any] = {
        **versions,
        "tls_compression": {"supports_compression": False},
        "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
        "tls_fallback_scsv": {"supports_fallback_scsv": True},
        "heartbleed": {"is_vulnerable_to_heartbleed": False},
        "robot": {"robot_result": "NOT_VULNERABLE_NO_ORACLE"},
        "session_renegotiation": {
            "supports_secure_renegotiation": True, "is_vulnerable_to_client_renegotiation_dos": False,
            "client_renegotiations_success_count": 0,
        },
        **changed,
    }  # fmt: skip
    whole: dict[str, Any] = {name: {"status": "COMPLETED", "result": one} for name, one in results.items()}
    whole["http_headers"] = {"status": "NOT_SCHEDULED", "error_reason": None, "result": None}
    location = {"hostname": "127.0.0.1", "port": port, "connection_type": "DIRECT", "ip_address": "127.0.0.1"}
    server = {"server_location": location, "connectivity_status": "COMPLETED", "scan_result": whole}
    return json.dumps({"invalid_server_strings": [], "server_scan_results": [server], "sslyze_version": "6.3.1"})


def sslyze_unreached(port: int) -> str:
    location = {"hostname": "127.0.0.1", "port": port}
    server = {"server_location": location, "connectivity_status": "ERROR", "scan_result": None}
    return json.dumps({"server_scan_results": [server]})


@pytest.mark.parametrize(
    ("report", "outcome", "words"),
    [
        (lambda port: TESTSSL.replace("PORT", str(port)), "warn", "testssl.sh: LOW LUCKY13: potentially vulnerable"),
        (lambda port: TESTSSL.replace("PORT", str(port)).replace("LOW", "OK"), "pass", "testssl.sh found nothing"),
        (lambda port: TESTSSL.replace("PORT", str(port)).replace("LOW", "HIGH"), "fail", "HIGH LUCKY13"),
        (lambda port: UNREACHED.replace("PORT", str(port)), "inconclusive", "FATAL scanProblem: Can't connect"),
        (sslyze, "pass", "sslyze found nothing wrong"),
        (lambda port: sslyze(port, tls_1_0_cipher_suites={"accepted_cipher_suites": [{}]}), "warn", "TLS 1.0"),
        (lambda port: sslyze(port, ssl_3_0_cipher_suites={"accepted_cipher_suites": [{}]}), "fail", "SSL 3"),
        (lambda port: sslyze(port, heartbleed={"is_vulnerable_to_heartbleed": True}), "fail", "Heartbleed"),
        (lambda port: sslyze(port, robot={"robot_result": "VULNERABLE_WEAK_ORACLE"}), "fail", "ROBOT"),
        (lambda port: sslyze(port, tls_fallback_scsv={"supports_fallback_scsv": False}), "warn", "RFC 7507"),
        (sslyze_unreached, "inconclusive", "no connection: ERROR"),
        (lambda port: TESTSSL.replace("PORT", "1"), "skipped", "no report is of port"),
    ],
)
def test_a_report_is_told(
    report: Any, outcome: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(SMTP) as port:
        (tmp_path / "scan.json").write_text(report(port))
        found = scanned(capsys, port, "--tls-report", str(tmp_path / "scan.json"))
    assert (found["outcome"], words in found["found"]) == (outcome, True), found


def scanned(capsys: pytest.CaptureFixture[str], port: int, *options: str) -> dict[str, Any]:
    capsys.readouterr()
    call(["check", "127.0.0.1", *services({"smtp": port}), "--only", "tls.scan", "--format", "json", *options])
    out, err = capsys.readouterr()
    assert not err
    (found,) = json.loads(out)["findings"]
    return dict(found)


def install(monkeypatch: pytest.MonkeyPatch, program: Path, work: str) -> None:
    """A scanner that notes how it is called, and does this with the `file` that it shall write."""
    program.write_text(
        '#!/bin/sh\necho "$*" > "$0.called"\n'
        'for word; do case "$word" in --json_out=*) file=${word#*=};; *.json) file=$word;; esac; done\n'
        f"{work}\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program) if name == program.name else None)


@pytest.mark.parametrize(
    ("name", "lines", "outcome", "words"),
    [
        ("testssl.sh", "--starttls smtp 127.0.0.1:PORT", "warn", "LUCKY13"),
        ("sslyze", "--starttls=smtp 127.0.0.1:PORT{127.0.0.1}", "pass", "found nothing wrong"),
        ("testssl", "no report", "inconclusive", "testssl ended with 3 and no report"),
    ],
)
def test_the_scanner_that_is_installed_is_called(
    name: str, lines: str, outcome: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One that writes what the real one wrote, where it is told to."""
    with serving(SMTP) as port:
        report = sslyze(port) if name == "sslyze" else TESTSSL.replace("PORT", str(port))
        (tmp_path / "report").write_text(report)
        copy = f'cp {tmp_path}/report "$file"; exit 0' if lines != "no report" else "exit 3"
        install(monkeypatch, tmp_path / name, copy)
        found = scanned(capsys, port, "--tls-scan")
    assert (found["outcome"], words in found["found"]) == (outcome, True), found
    if lines != "no report":
        assert lines.replace("PORT", str(port)) in (tmp_path / f"{name}.called").read_text()


@pytest.mark.parametrize(
    ("kept", "problem", "outcome", "words"),
    [
        ("half", "LOW", "inconclusive", "testssl.sh: it had not ended after 600 s"),
        ("half", "CRITICAL", "fail", "CRITICAL first: something"),
        ("nothing", "LOW", "inconclusive", "testssl had not ended after 600 s"),
    ],
)
def test_of_a_scan_that_takes_too_long_what_it_had_found_is_told(
    kept: str, problem: str, outcome: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    class NeverInTime(subprocess.Popen[bytes]):
        """Its time is over as soon as it has written what it writes."""

        def wait(self, timeout: float | None = None) -> int:
            while timeout == MOST_S and self.poll() is None:
                if (tmp_path / "written").exists():
                    raise subprocess.TimeoutExpired(self.args, timeout)
            return super().wait(timeout)

    with serving(SMTP) as port:
        row = {"id": "first", "port": str(port), "severity": problem, "finding": "something"}
        text = f"[\n{json.dumps(row)}\n,\n{json.dumps(row)[:-9]}" if kept == "half" else "["
        (tmp_path / "report").write_text(text)
        never = f'cp {tmp_path}/report "$file"; >{tmp_path}/written; exec sleep 600'
        install(monkeypatch, tmp_path / "testssl", never)
        monkeypatch.setattr("subprocess.Popen", NeverInTime)
        found = scanned(capsys, port, "--tls-scan")
    assert (found["outcome"], words in found["found"]) == (outcome, True), found


def test_without_a_scanner_it_is_skipped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with serving(SMTP) as port:
        assert scanned(capsys, port, "--tls-scan")["found"] == "neither testssl.sh nor sslyze is installed here"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"id": "a", "port": "x", "severity": "LOW", "finding": ""}]',
                                  '[{"id": "a", "port": "1", "severity": "odd", "finding": ""}]'])  # fmt: skip
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.json").write_text(text)
    target = f"127.0.0.1:{free_ports(1)[0]}"
    assert call(["check", target, "--tls-report", str(tmp_path / "scan.json")]) is ExitCode.USAGE
    assert "--tls-report" in capsys.readouterr().err
    assert call(["check", target, "--tls-report", str(tmp_path / "none")]) is ExitCode.USAGE
    assert "no such file" in capsys.readouterr().err


@given(st.one_of(st.binary(max_size=100), st.text(alphabet='[]{}":,idport severityLOW1', max_size=100).map(str.encode)))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    try:
        scans = read_scan(octets)
    except ValueError:
        return
    assert all(scan.port >= 0 for scan in scans)
