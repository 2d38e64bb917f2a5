"""Logs for tests: what Postfix writes of a message, line by line, and the manifest of the run that sent it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from trafficgen.proof.ledger_file import LedgerFile
from trafficgen.proof.sent import Manifest, SentRecords

RUN = "9f3a6c1e02b4d857"
BEGAN_S = 1_795_748_590
NS = 1_000_000_000
_SINCE_BOOT_NS = 10**15


def stamp(at_s: float) -> str:
    """As RFC 3164 has it, in UTC."""
    moment = datetime.fromtimestamp(BEGAN_S + at_s, UTC)
    return f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S}"


def line(at_s: float, program: str, text: str) -> str:
    return f"{stamp(at_s)} mx postfix/{program}[1]: {text}\n"


def arrived(at_s: float, queue_id: str, number: int, run: str = RUN) -> str:
    return "".join(
        (
            line(at_s, "smtpd", f"{queue_id}: client=gen[127.0.0.1]"),
            line(at_s, "cleanup", f"{queue_id}: message-id=<{number:012d}.{run}@out.test>"),
            line(at_s, "qmgr", f"{queue_id}: from=<s@out.test>, size=338, nrcpt=1 (queue active)"),
        )
    )


def tried(
    at_s: float,
    queue_id: str,
    status: str = "sent",
    *,
    to: str = "u@relay.test",
    delays: str = "0.01/0.02/0.03/0.04",
    delay: float = 0.1,
    reply: str = "250 2.0.0 taken",
) -> str:
    dsn = {"sent": "2.0.0", "deferred": "4.2.0"}.get(status, "5.1.1")
    words = f"{queue_id}: to=<{to}>, relay=r[127.0.0.1]:25, delay={delay}, delays={delays}, dsn={dsn}, status={status}"
    return line(at_s, "smtp", f"{words} ({reply})")


def removed(at_s: float, queue_id: str) -> str:
    return line(at_s, "qmgr", f"{queue_id}: removed")


def whole(at_s: float, queue_id: str, number: int) -> str:
    """A message that came and went."""
    return arrived(at_s, queue_id, number) + tried(at_s, queue_id) + removed(at_s, queue_id)


def manifest(
    path: Path, accepted: Iterable[int], in_doubt: Sequence[int] = (), planned: int = 10, recipients: int = 1
) -> Path:
    """Of a run whose messages began a second after the log does, a millisecond apart."""

    def records(numbers: Iterable[int]) -> SentRecords:
        which = np.array(list(numbers), np.int64)
        began = _SINCE_BOOT_NS + NS + which * 1_000_000
        return SentRecords(which, np.full(which.size, recipients), began, np.full(which.size, -1, np.int64))

    offset_ns = BEGAN_S * NS - _SINCE_BOOT_NS
    Manifest(RUN, planned, records(accepted), records(in_doubt), "4e12593fa2683a3d", offset_ns).write(path)
    return path


def ledger(path: Path, numbers: Iterable[int]) -> Path:
    """Of a sink that received these, one recipient each."""
    file = LedgerFile(path)
    for number in numbers:
        file.write(f"{RUN} {number:012d} 1c291ca3 + 00000001 0001 {'':8} {1:019d}\n".encode())
    file.close()
    return path
