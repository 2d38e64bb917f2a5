"""Messages of one run, as a session would hand them to a ledger."""

from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from trafficgen.proof import trace_header
from trafficgen.proof.sent import Manifest, SentRecords
from trafficgen.sink.store.ledger import Ledger, SessionReceiver

RUN_ID = "9f3a6c1e02b4d857"


def message(number: int, body: bytes = b"hello\r\n", *, claimed: bytes | None = None, run_id: str = RUN_ID) -> bytes:
    """A whole message, without dots to stuff. `claimed`: the body that the checksum is of."""
    return (
        trace_header.render(run_id, number, crc32(body if claimed is None else claimed)) + b"Subject: x\r\n\r\n" + body
    )


def take(receiver: SessionReceiver, octets: bytes, recipients: int = 1) -> None:
    """A message in one piece."""
    receiver.whole(octets + b".\r\n", len(octets), recipients)


def handed(*rows: tuple[int, int, int]) -> SentRecords:
    """Messages by number, recipients, begin; who their recipients are is not known."""
    numbers, recipients, began_ns = np.array(rows, np.int64).reshape(-1, 3).T
    return SentRecords(numbers, recipients, began_ns, np.full(len(rows), -1, np.int64))


@pytest.fixture
def manifest_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a manifest of this machine: accepted numbers, and those in doubt, one recipient each."""

    def write(accepted: list[int], in_doubt: tuple[int, ...] = (), began_ns: int = 1) -> Path:
        path = tmp_path / "run.manifest"
        Manifest.here(
            RUN_ID,
            len(accepted) + len(in_doubt),
            handed(*((number, 1, began_ns) for number in accepted)),
            handed(*((number, 1, began_ns) for number in in_doubt)),
        ).write(path)
        return path

    return write


@pytest.fixture
def ledger_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a ledger of one session that took these messages."""

    def write(*messages: bytes, name: str = "sink.ledger") -> Path:
        ledger = Ledger(tmp_path / name)
        receiver = SessionReceiver(ledger)
        for octets in messages:
            take(receiver, octets)
        ledger.close()
        return tmp_path / name

    return write
