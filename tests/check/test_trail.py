"""A followed message in the server's log: each grade, from lines as Postfix writes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trafficgen.check.delivery import Followed, _logged
from trafficgen.check.service import CheckedServer, Probe, ServiceKind
from trafficgen.check.trail import LogTrail
from trafficgen.guard import resolve
from trafficgen.plan import TcpTarget
from trafficgen.verdict.findings import Finding, Grade

STAMP = "2026-11-27T04:00:00.000000+00:00 mx postfix"
ONE = Followed(ServiceKind.SMTPS, "abcd", "ann@lab.test", 0.0)


@pytest.fixture
def probe() -> Probe:
    route = resolve(TcpTarget("127.0.0.1", 25), "HOST")
    return Probe(CheckedServer(route, {ServiceKind.SMTPS: 465}, "mx", patience_s=0.01), ServiceKind.SMTPS)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_text(f"{STAMP}/cleanup[1]: OLD: message-id=<abcd@lab.test>\n")
    return path


@pytest.fixture
def trail(log: Path) -> Iterator[LogTrail]:
    made = LogTrail(log)
    yield made
    made.close()


def write(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.writelines(f"{STAMP}/{line}\n" for line in lines)


def attempt(status: str, reply: str) -> str:
    return (
        f"lmtp[2]: 4C1949FC4F2: to=<ann@lab.test>, relay=mx, delay=0.3, delays=0.1/0.1/0/0.1, dsn=2.0.0, "
        f"status={status} ({reply})"
    )


def logged(probe: Probe, trail: LogTrail | None) -> Finding:
    (found,) = _logged(probe, trail, [ONE])
    return found


@pytest.mark.parametrize(
    ("status", "outcome"), [("sent", Grade.PASS), ("bounced", Grade.FAIL), ("deferred", Grade.FAIL)]
)
def test_an_attempt_decides(probe: Probe, log: Path, trail: LogTrail, status: str, outcome: Grade) -> None:
    write(log, "cleanup[1]: 4C1949FC4F2: message-id=<abcd@lab.test>", attempt(status, "so it was"))
    found = logged(probe, trail)
    assert (found.outcome, found.service) == (outcome, "smtps")
    assert found.found == f"4C1949FC4F2 {status} after 0.3 s (so it was)"


def test_one_that_waits_fails_and_one_that_is_not_there_is_inconclusive(
    probe: Probe, log: Path, trail: LogTrail
) -> None:
    write(log, "cleanup[1]: 4C1949FC4F2: message-id=<other@lab.test>", attempt("sent", "another's"))
    found = logged(probe, LogTrail(log))
    assert (found.outcome, "its Message-ID is not in" in found.found) == (Grade.INCONCLUSIVE, True)
    write(log, "cleanup[1]: 5D1949FC4F2: message-id=<abcd@lab.test>")
    found = logged(probe, trail)
    assert (found.outcome, found.found) == (Grade.FAIL, "5D1949FC4F2: no attempt within 0.01 s")


def test_without_a_log_it_is_skipped(probe: Probe) -> None:
    assert logged(probe, None).outcome is Grade.SKIPPED


def test_a_pause_comes_before_each_connection(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("trafficgen.check.service.time.sleep", pauses.append)
    slow = Probe(CheckedServer(probe.server.route, {ServiceKind.SMTP: 1}, "mx", pause_s=5.0), ServiceKind.SMTP)
    with pytest.raises(Exception, match="refused"):
        slow.connect()
    assert pauses == [5.0]
