"""The benchmark of what recording costs takes the recorder away where a worker really gets it from."""

from benchmarks.overhead import SESSIONS, bare, recorded, row, watched
from trafficgen.sink.embedded import EmbeddedSink


def test_both_sides_send_every_message_and_only_one_records() -> None:
    with EmbeddedSink(sessions=SESSIONS, ledger=False) as sink:
        off, on, seen = (side(sink.address, 300) for side in (bare, recorded, watched))
    assert (off.recorded, on.recorded, seen.recorded) == (0, 300, 300)
    assert row("both", [(on, off)]).startswith("| both | ")
