"""Same seed, same messages, whatever the number of processes."""

import pytest

from tests.peers.private_sink import collecting_sink
from tests.peers.running import Counts, counts, send
from trafficgen.proof import trace_header

RUN_ID = "9f3a6c1e02b4d857"


def collected(*, workers: int, seed: int = 7) -> dict[int, bytes]:
    """Everything that arrives of 600 messages, by number, without the date."""
    with collecting_sink() as (port, messages):
        results = send(port, messages=600, sessions=6, workers=workers, seed=seed, run_id=RUN_ID, body="2kb")
        assert counts(results) == Counts(accepted=600)
        found = {}
        for message in messages:
            value = message.partition(trace_header.HEADER)[2][: trace_header.VALUE_OCTETS]
            parsed = trace_header.parse(value)
            assert parsed is not None
            assert parsed[1] not in found, "a message came twice"
            found[parsed[1]] = b"".join(
                line for line in message.splitlines(keepends=True) if not line.startswith(b"Date: ")
            )
        return found


@pytest.fixture(scope="module")
def from_one_worker() -> dict[int, bytes]:
    return collected(workers=1)


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_sends_the_same_messages(from_one_worker: dict[int, bytes], workers: int) -> None:
    assert sorted(from_one_worker) == list(range(600))
    assert collected(workers=workers) == from_one_worker


def test_another_seed_sends_other_messages(from_one_worker: dict[int, bytes]) -> None:
    other = collected(workers=1, seed=8)
    assert sorted(other) == list(range(600))
    assert sum(other[number] == from_one_worker[number] for number in range(600)) == 0
