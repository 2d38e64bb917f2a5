"""What the wait for a delivery makes of what the sink has at last."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from trafficgen import Plan, SetupError, TcpTarget
from trafficgen.errors import ResultsError
from trafficgen.host.signals import RunControl
from trafficgen.measure.delivered import Delivery, LedgerCounts
from trafficgen.proof import waiting
from trafficgen.proof.ledger_reader import Copies
from trafficgen.proof.remote_sink import RemoteSinks
from trafficgen.proof.sent import Manifest, SentRecords, is_manifest, join, read

if TYPE_CHECKING:
    from trafficgen.proof.remote_sink import RemoteSink

S = 10**9
RUN_ID = "00112233aabbccdd"


class Sink:
    """A sink that has these copies, by our clock."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def copies(self, _run_id: str) -> int:
        return int(self._copies.recipients.sum())

    def shares_our_clock(self, _run_id: str) -> bool:
        return True

    def arrivals(self, _run_id: str, _messages: int) -> Copies:
        return self._copies


def waited(
    accepted: SentRecords, copies: Copies, in_doubt: SentRecords | None = None, patience_ns: int = 60 * S
) -> tuple[LedgerCounts, Delivery, list[str]]:
    manifest = Manifest.here(RUN_ID, 100, accepted, in_doubt or SentRecords.none())
    said: list[str] = []
    sink = cast("RemoteSink", Sink(copies))
    return *waiting.wait(sink, patience_ns, manifest, said.append, RunControl()), said


def records(numbers: list[int], digests: list[int], mendable: list[bool] | None = None) -> SentRecords:
    count = len(numbers)
    marks = None if mendable is None else np.array(mendable)
    return SentRecords(
        np.array(numbers), np.ones(count, np.int64), np.full(count, 10 * S), np.array(digests, np.int64), marks
    )


def copies(numbers: list[int], digests: list[int], *, damaged: tuple[int, ...] = (), unanswered: int = 0) -> Copies:
    """Number `n` taken at 20 s and `n` more; the first `unanswered` copies without an answer."""
    found, count = np.array(numbers, np.int64), len(numbers)
    return Copies(
        found,
        np.ones(count, np.int64),
        20 * S + found * S,
        np.isin(found, damaged),
        (np.arange(count) < unanswered).astype(np.int64),
        np.array(digests, np.int64),
    )


def test_a_message_that_others_got_is_lost_to_its_recipient() -> None:
    ledger, delivery, _ = waited(records([0, 1, 2], [7, 8, 9]), copies([0, 1, 2], [7, 8, 1]))
    assert ledger == LedgerCounts(expected=3, received=2, missing=1, duplicated=0, corrupted=0)
    assert delivery.in_time


def test_what_was_begun_and_has_not_arrived_is_counted_each_second() -> None:
    accepted = SentRecords(
        np.array([0, 1, 2]), np.array([1, 2, 1]), np.array([1, 1, 3]) * S, np.full(3, -1), None
    )  # fmt: skip
    came = Copies(
        np.array([1, 0, 1, 0]), np.array([1, 1, 1, 1]), np.array([2, 4, 5, 6]) * S, np.zeros(4, np.bool_),
        np.zeros(4, np.int64), np.full(4, -1),
    )  # fmt: skip
    # 0 arrives at 4 s, and again; 1 has both of its recipients at 5 s; 2 never comes.
    assert waiting.undelivered(accepted, came, 0, 6 * S) == (1, (0, 2, 2, 3, 2, 1, 1))
    in_one = Copies(
        came.numbers[:1], np.array([2]), came.taken_ns[:1], came.damaged[:1], came.unanswered[:1], came.digests[:1]
    )  # fmt: skip
    assert waiting.undelivered(accepted, in_one, 0, 3 * S) == (1, (0, 2, 1, 2))
    every_s, moments = waiting.undelivered(accepted, came, 0, 10_000 * S)
    assert (every_s, len(moments), moments[1]) == (3, 3335, 3)
    assert waiting.undelivered(accepted, came, 10_000 * S, 10_003 * S) == (1, (1, 1, 1, 1))  # only 2 by then


def test_enough_copies_are_not_the_end_of_the_wait_while_a_message_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink(copies([0, 0], [-1, -1]))
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        sink._copies = copies([0, 0, 1], [-1] * 3)

    monkeypatch.setattr("trafficgen.proof.waiting.time.sleep", nap)
    manifest = Manifest.here(RUN_ID, 100, records([0, 1], [-1, -1]), SentRecords.none())
    ledger, delivery = waiting.wait(cast("RemoteSink", sink), 60 * S, manifest, lambda _line: None, RunControl())
    assert (len(naps), ledger.received, ledger.missing, delivery.in_time) == (1, 2, 0, True)


def test_the_account_says_how_much_was_under_way() -> None:
    _, delivery, _ = waited(records([0, 1, 2], [-1, -1, -1]), copies([0, 1], [-1, -1]), patience_ns=0)
    assert delivery.undelivered == (3,) * 10 + (2, 1)


def test_a_digest_of_zero_is_one() -> None:
    ledger, _, _ = waited(records([0, 1], [0, 0]), copies([0, 1], [0, 5]))
    assert (ledger.received, ledger.missing) == (1, 1)


def test_a_sink_that_is_not_there_is_found_out_before_the_run() -> None:
    plan = Plan(TcpTarget("127.0.0.1", 1), max_messages=1)
    with pytest.raises(SetupError, match="no answer from the sink's API"):
        waiting.sinks_of(waiting.DeliveryWait(TcpTarget("127.0.0.1", 1), S), plan)


def test_missing_and_misdelivered_messages_add_up() -> None:
    ledger, delivery, _ = waited(records([0, 1, 2], [7, 8, 9]), copies([1, 2], [8, 1]), patience_ns=0)
    assert (ledger.received, ledger.missing) == (1, 2)
    assert not delivery.in_time


def test_a_second_copy_is_a_duplicate_unless_a_lost_reply_explains_it() -> None:
    for unanswered, doubles, explained in ((0, 1, 0), (1, 0, 1)):
        ledger, delivery, _ = waited(records([0, 1], [-1, -1]), copies([0, 0, 1], [-1] * 3, unanswered=unanswered))
        assert (ledger.received, ledger.duplicated, delivery.explained) == (2, doubles, explained)


def test_what_nobody_took_over_is_a_duplicate_and_unexpected() -> None:
    ledger, delivery, _ = waited(records([0], [-1]), copies([0, 5, 6], [-1] * 3))
    assert (ledger.received, ledger.duplicated, delivery.unexpected) == (1, 2, 2)


def test_a_mended_message_is_said_and_not_corrupted() -> None:
    ledger, _, said = waited(
        records([0, 1, 2], [-1] * 3, [True, False, False]), copies([0, 1, 2], [-1] * 3, damaged=(0, 2))
    )
    assert (ledger.corrupted, ledger.received) == (1, 3)
    assert said[1:] == ["1 message mended on the way: a header line there is no field"]


def test_rates_and_latencies_run_from_the_first_begin_to_the_last_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "now_ns", lambda: 15 * S)  # everything was handed over 5 s after the first began
    _, delivery, said = waited(records([0, 1, 2, 3], [-1] * 4), copies([0, 1, 2, 3], [-1] * 4))
    assert said == ["waiting up to 60.0 s for 4 messages to be delivered"]
    assert delivery.drained_ns == 8 * S
    assert (delivery.inject_per_s, delivery.delivered_per_s) == (4 / 5, 4 / 13)
    assert delivery.latency_ns is not None
    assert (delivery.latency_ns.count, delivery.latency_ns.min) == (4, 10 * S)


def test_several_sinks_are_asked_as_one() -> None:
    """One message of two recipients came out at both, one at the second alone."""
    accepted = SentRecords(np.array([0, 1]), np.array([2, 1]), np.full(2, 10 * S), np.full(2, -1), None)
    sinks = [cast("RemoteSink", Sink(copies(numbers, [-1] * len(numbers)))) for numbers in ([0], [0, 1])]
    together = RemoteSinks(sinks)
    assert together.copies(RUN_ID) == 3
    manifest = Manifest.here(RUN_ID, 2, accepted, SentRecords.none())
    ledger, delivery = waiting.wait(together, 60 * S, manifest, lambda _line: None, RunControl())
    assert ledger == LedgerCounts(expected=2, received=2, missing=0, duplicated=0, corrupted=0)
    assert delivery.in_time
    alone, _ = waiting.wait(RemoteSinks(sinks[:1]), 0, manifest, lambda _line: None, RunControl())
    assert (alone.received, alone.missing) == (0, 2)


def test_manifests_of_senders_that_tried_again_are_joined(tmp_path: Path) -> None:
    """A message of one sender may be accepted and have tries in doubt; no two senders have one message."""
    first = Manifest.here(RUN_ID, 4, records([0, 1], [-1, -1]), records([0], [-1]))
    second = Manifest.here(RUN_ID, 4, records([2], [-1]), records([3], [-1]))
    together = join([first, second])
    assert (together.accepted.numbers.tolist(), together.in_doubt.numbers.tolist()) == ([0, 1, 2], [0, 3])
    with pytest.raises(ResultsError, match="got 000000000000 in two: was a shard run twice"):
        join([first, Manifest.here(RUN_ID, 4, records([0], [-1]), SentRecords.none())])
    first.write(tmp_path / "manifest")
    assert is_manifest(tmp_path / "manifest")


def test_times_of_other_machines_make_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hosts of a cluster wrote down by clocks of their own: 20 s there is no time after 15 s here."""
    monkeypatch.setattr(waiting, "now_ns", lambda: 15 * S)
    manifest = replace(Manifest.here(RUN_ID, 3, records([0], [-1]), SentRecords.none()), boot_id="")
    sink = cast("RemoteSink", Sink(copies([0], [-1])))
    ledger, delivery = waiting.wait(sink, 60 * S, manifest, lambda _line: None, RunControl(), 5 * S)
    assert ledger.received == 1
    assert delivery.latency_ns is None
    assert (delivery.drained_ns, delivery.inject_per_s, delivery.delivered_per_s) == (0, 1 / 10, 1 / 10)
    assert (delivery.every_s, delivery.undelivered) == (1, ())


def test_nothing_happens_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "now_ns", lambda: 10 * S)  # when the message began
    _, delivery, _ = waited(records([0], [-1]), copies([], []), patience_ns=0)
    assert (delivery.drained_ns, delivery.inject_per_s, delivery.delivered_per_s) == (0, 0.0, 0.0)


def test_a_manifest_of_no_messages_is_one(tmp_path: Path) -> None:
    Manifest.here(RUN_ID, 0, SentRecords.none(), SentRecords.none()).write(tmp_path / "manifest")
    found = read(tmp_path / "manifest")
    for part in (found.accepted, found.in_doubt):
        assert part.mendable is not None
        sizes = {column.size for column in (part.numbers, part.recipients, part.began_ns, part.digests, part.mendable)}
        assert sizes == {0}
