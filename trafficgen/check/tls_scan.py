"""What testssl.sh and sslyze found: a deep scan of TLS is theirs, its verdict is told here.

Takes     the JSON of `testssl.sh --jsonfile` or `sslyze --json_out`; or a service, where one of them is installed
Gives     `TlsScan`; the finding tls.scan, whose transcript has all that is not right
Limits    a scan may take `MOST_S`, then what testssl.sh had found by then is told; it connects some hundred times to
          that one service, at the address of the guard
Fails     ValueError for JSON of something else; a scan that did not come to its end is inconclusive
Not here  what is told of a handshake without them (tls)
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from trafficgen.check.cases import finding
from trafficgen.check.conversation import ConnectionEnded
from trafficgen.check.service import IMAP_KINDS, IMPLICIT_TLS, POP3_KINDS, CheckedServer, Probe, ServiceKind
from trafficgen.plan import TcpTarget
from trafficgen.printable import printable
from trafficgen.verdict.findings import Finding, Grade, TlsScan

TESTSSL: Final = ("testssl.sh", "testssl")
"""Debian calls it testssl."""
SSLYZE: Final = "sslyze"
MOST_S: Final = 600.0
_SHOWN: Final = 3

_GRADES: Final = {
    "OK": None, "INFO": None, "DEBUG": None, "LOW": Grade.WARN, "MEDIUM": Grade.WARN, "WARN": Grade.WARN,
    "HIGH": Grade.FAIL, "CRITICAL": Grade.FAIL, "FATAL": Grade.INCONCLUSIVE,
}  # fmt: skip
"""testssl.sh(1), "severity"."""


class _TestsslRow(msgspec.Struct):
    id: str
    port: str
    severity: str
    finding: str


class _Location(msgspec.Struct):
    port: Annotated[int, msgspec.Meta(ge=0)]


class _ScannedServer(msgspec.Struct):
    server_location: _Location
    connectivity_status: str
    scan_result: dict[str, Any] | None = None


class _Sslyze(msgspec.Struct):
    server_scan_results: list[_ScannedServer]


def read_scan(octets: bytes) -> list[TlsScan]:
    """One for each port that the file is about. ValueError when it is of neither."""
    try:
        if octets.lstrip().startswith(b"["):
            return _of_testssl(msgspec.json.decode(octets, type=list[_TestsslRow]))
        return [_of_sslyze(one) for one in msgspec.json.decode(octets, type=_Sslyze).server_scan_results]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"expected what testssl.sh --jsonfile or sslyze --json_out writes: {error}") from error


def _of_testssl(rows: list[_TestsslRow]) -> list[TlsScan]:
    found: dict[int, list[tuple[Grade, str]]] = {}
    for row in rows:
        if not row.port.isdecimal():
            raise ValueError(f'expected a port, got "{row.port}"')
        if row.severity not in _GRADES:
            raise ValueError(f'expected a severity such as {", ".join(_GRADES)}, got "{row.severity}"')
        problems = found.setdefault(int(row.port), [])
        if (grade := _GRADES[row.severity]) is not None:
            problems.append((grade, f"{row.severity} {row.id}: {printable(row.finding)}"))
    return [TlsScan("testssl.sh", port, tuple(problems)) for port, problems in found.items()]


_VULNERABLE: Final = (
    ("heartbleed", "is_vulnerable_to_heartbleed", "Heartbleed (CVE-2014-0160)"),
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", "CCS injection (CVE-2014-0224)"),
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", "clients may renegotiate at will"),
    ("tls_compression", "supports_compression", "compression (CRIME, CVE-2012-4929)"),
)
_WANTED: Final = (
    ("session_renegotiation", "supports_secure_renegotiation", "no secure renegotiation (RFC 5746)"),
    ("tls_fallback_scsv", "supports_fallback_scsv", "no downgrade protection (RFC 7507)"),
)
_OLD: Final = (
    ("ssl_2_0_cipher_suites", Grade.FAIL, "SSL 2"), ("ssl_3_0_cipher_suites", Grade.FAIL, "SSL 3"),
    ("tls_1_0_cipher_suites", Grade.WARN, "TLS 1.0"), ("tls_1_1_cipher_suites", Grade.WARN, "TLS 1.1"),
)  # fmt: skip


def _of_sslyze(server: _ScannedServer) -> TlsScan:
    """Its scan commands (sslyze's json_output), without what is a matter of taste."""
    where = server.server_location.port
    if server.scan_result is None:
        return TlsScan(SSLYZE, where, ((Grade.INCONCLUSIVE, f"no connection: {server.connectivity_status}"),))
    results = {name: (one or {}).get("result") or {} for name, one in server.scan_result.items()}
    broken = [name for name, one in server.scan_result.items() if (one or {}).get("status") == "ERROR"]
    problems = [(Grade.INCONCLUSIVE, f"{name} was not looked at: an error of the scan") for name in broken]
    problems += [(grade, words) for name, grade, words in _OLD if results.get(name, {}).get("accepted_cipher_suites")]
    problems += [(Grade.FAIL, words) for name, key, words in _VULNERABLE if results.get(name, {}).get(key)]
    problems += [(Grade.WARN, words) for name, key, words in _WANTED if results.get(name, {}).get(key) is False]
    oracle = str(results.get("robot", {}).get("robot_result", ""))
    if oracle.startswith("VULNERABLE"):
        problems.append((Grade.FAIL, f"ROBOT: {oracle}"))
    return TlsScan(SSLYZE, where, tuple(problems))


# -- the walk -----------------------------------------------------------------------------------------------


def scanned(probe: Probe) -> Iterator[Finding]:
    """What the reports say of this service; without one of it, scan it where that was asked for."""
    server, port = probe.server, probe.server.ports[probe.service]
    scans = [one for one in server.scans if one.port == port]
    if not scans and not server.scan:
        yield finding(probe, "tls.scan", Grade.SKIPPED, f"no report is of port {port}")
        return
    if not scans:
        command = scan_command(server, probe.service, Path("{file}"))
        if command is None:
            yield finding(probe, "tls.scan", Grade.SKIPPED, "neither testssl.sh nor sslyze is installed here")
            return
        scans = [one for one in run_scan(probe) if one.port == port]
    for one in scans:
        since = len(probe.transcript)
        grades = [grade for grade, _ in one.problems]
        worst = next((grade for grade in (Grade.FAIL, Grade.INCONCLUSIVE, Grade.WARN) if grade in grades), Grade.PASS)
        for grade, words in one.problems:
            probe.transcript.append(f"   {grade.value}: {words}")
        named = [words for grade, words in one.problems if grade is worst]
        more = f", and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        words = f"{one.tool}: {'; '.join(named[:_SHOWN])}{more}" if named else f"{one.tool} found nothing wrong"
        yield finding(probe, "tls.scan", worst, words, since)


def scan_command(server: CheckedServer, service: ServiceKind, file: Path) -> list[str] | None:
    """What to call; None where none of them is installed."""
    address = server.address(service)
    if not isinstance(address, TcpTarget):
        return None
    protocol = "pop3" if service in POP3_KINDS else "imap" if service in IMAP_KINDS else "smtp"
    inside = service not in IMPLICIT_TLS
    if testssl := next(filter(None, map(shutil.which, TESTSSL)), None):
        words = [testssl, "--quiet", "--warnings", "off", "--color", "0", "--ip", address.host, "--jsonfile", str(file)]
        words += ["--add-ca", str(server.authorities)] if server.authorities else []
        return [*words, *(("--starttls", protocol) if inside else ()), f"{server.name}:{address.port}"]
    if sslyze := shutil.which(SSLYZE):
        words = [sslyze, f"--json_out={file}", *((f"--starttls={protocol}",) if inside else ())]
        words += [f"--certinfo_ca_file={server.authorities}"] if server.authorities else []
        return [*words, f"{server.name}:{address.port}{{{address.host}}}"]
    return None


def run_scan(probe: Probe) -> list[TlsScan]:
    """ConnectionEnded when it ends without a report, or not in time and has found nothing so far."""
    port = probe.server.ports[probe.service]
    with tempfile.TemporaryDirectory(prefix="traffic-gen-scan-") as folder:
        file = Path(folder) / "scan.json"
        command = scan_command(probe.server, probe.service, file)
        assert command is not None
        probe.transcript.append(f"   {printable(' '.join(command))}")
        ended = ""
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as scan:  # fmt: skip
            try:
                scan.wait(MOST_S)
            except subprocess.TimeoutExpired:
                ended = f"had not ended after {MOST_S:.0f} s"
            finally:
                if scan.poll() is None:
                    os.killpg(scan.pid, signal.SIGKILL)
        try:
            octets = file.read_bytes()
            if not ended:
                return read_scan(octets)
            return [_cut_short(one, ended) for one in read_scan(until_its_last_row(octets)) if one.port == port]
        except (OSError, ValueError) as error:
            ended = ended or f"ended with {scan.returncode} and no report"
            raise ConnectionEnded(f"{Path(command[0]).name} {ended}") from error


def until_its_last_row(octets: bytes) -> bytes:
    """What testssl.sh, which writes each row at once, had written when it was stopped. ValueError without a row."""
    end = octets.rfind(b"}")
    if end < 0:
        raise ValueError("expected a row")
    return octets[: end + 1] + b"]"


def _cut_short(scan: TlsScan, words: str) -> TlsScan:
    return TlsScan(scan.tool, scan.port, (*scan.problems, (Grade.INCONCLUSIVE, f"it {words}")))
