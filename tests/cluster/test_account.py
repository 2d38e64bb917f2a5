"""The account of a cluster's run is what counting its messages one by one comes to, whatever became of each shard."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trafficgen.cluster import account, kinds, words
from trafficgen.cluster.account import Proofs, closed
from trafficgen.cluster.clocks import Clock
from trafficgen.cluster.shard import HostShard
from trafficgen.engine.account import PHASES
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import OutputError, SetupError
from trafficgen.host.signals import RunControl
from trafficgen.host.version import VERSION
from trafficgen.measure.delivered import Delivery, LedgerCounts, MailboxCounts
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.observed import RunClock
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.measure.timeline_changes import TimelineSum, TimelineTeller
from trafficgen.outcomes import Outcome, StoppedBy
from trafficgen.plan import Plan, Shard, TcpTarget
from trafficgen.proof import sent, waiting
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs import shards

if TYPE_CHECKING:
    from trafficgen.proof.remote_sink import RemoteSinks

MS = 1_000_000
ZERO_NS = 1_800_000_000_123 * MS  # 2027-01-15 08:00:00.123 UTC
TOLD = "2027-01-15T08:00:00.123+00:00"
FILES = {"/a.mbox": "ff"}
PLAN = Plan(max_messages=60, sessions=6, seed=42, run_id="9f3a6c1e02b4d857", workers=1)

Row = tuple[Outcome, int, int, int]
"""Outcome, start and duration in ms since time zero, octets."""

A, T, P, F, D = (
    Outcome.ACCEPTED, Outcome.REJECTED_TEMPORARY, Outcome.REJECTED_PERMANENT, Outcome.FAILED, Outcome.IN_DOUBT,
)  # fmt: skip


def kind_of(count: int, plan: Plan = PLAN) -> kinds.KindOfRun:
    return kinds.of_sending(ResolvedPlan.of(plan), count, None, begins=False)


def recorded(kind: kinds.KindOfRun, number: int, rows: Sequence[Row]) -> Snapshot:
    """By a host whose own clock shows `number` times 1,000 s at time zero."""
    zero_ns = 10**12 * number
    recorder = Recorder(len(kind.domains), zero_ns, open_loop=False, phases=PHASES)
    for outcome, start, took, octets in rows:
        began_ns = zero_ns + start * MS
        recorder.rows.extend((0, outcome, number % 2, -1, began_ns, -1, -1, began_ns + took * MS, octets))
    return recorder.snapshot(
        now_ns=zero_ns + 9_000 * MS, cpu_ns=1, wall_ns=9_000 * MS, sessions_open=0, sessions_opened=2, in_flight=0
    )


def shard_of(kind: kinds.KindOfRun, number: int, planned: int | None, **given: Any) -> HostShard:
    plan = kind.shards[number - 1]
    shard = HostShard(f"host{number}", words.ShardOrder(f"run/{number}", plan, manifest=False), 0, **given)
    shard.prepared = words.ShardPrepared(VERSION, f"machine{number}", ("192.0.2.7:25",), FILES, planned)
    return shard


def told(kind: kinds.KindOfRun, shard: HostShard, rows: Sequence[Row], planned: int, **given: Any) -> None:
    """The shard has told of these messages, of as many as it had planned."""
    snapshot = recorded(kind, shard.number, rows)
    TimelineSum().tell(shard.timeline, TimelineTeller().changes(snapshot.timeline))
    shard.running = words.ShardProgress(replace(snapshot, timeline=Snapshot.empty().timeline), planned, (), **given)


def ended(kind: kinds.KindOfRun, number: int, rows: Sequence[Row], planned: int, manifest: bytes | None) -> HostShard:
    """A shard with its last word; what it has planned and not sent is not started."""
    shard = shard_of(kind, number, planned)
    snapshot = recorded(kind, number, rows)
    results = kind.results(
        kind.shards[number - 1], snapshot, planned=planned, not_started=planned - len(rows),
        started_at=account.instant(0), duration_ns=1, tool_version=VERSION,
        shards=shards.record(Shard(number, len(kind.shards)), kind.planned_by_all, snapshot, FILES),
    )  # fmt: skip
    shard.last = words.ShardEnded(results, manifest)
    return shard


# -- what became of each message ------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(st.sampled_from(Outcome), st.integers(0, 5_000), st.integers(0, 3_000), st.integers(1, 10**6)),
    max_size=20,
)  # fmt: skip
FATES = st.sampled_from(["ended", "lost", "silent", "refused"])


@settings(max_examples=25)
@given(st.lists(st.tuples(FATES, ROWS, st.integers(0, 5)), min_size=2, max_size=4))
def test_every_message_is_in_the_account_once(parts: list[tuple[str, list[Row], int]]) -> None:
    """Of each shard: its fate, the messages that were heard of, and how many more it had planned."""
    kind = kind_of(len(parts))
    every, found = [], Counter[str]()
    heard: list[Row] = []
    for number, (fate, rows, more) in enumerate(parts, 1):
        planned = len(rows) + more
        if fate == "ended":
            every.append(ended(kind, number, rows, planned, None))
        else:
            shard = shard_of(kind, number, planned)
            shard.last = words.ShardRefused("no") if fate == "refused" else words.ShardGone("gone")
            if fate == "lost":
                told(kind, shard, rows, planned)
            else:
                rows, more = [], planned
            every.append(shard)
        heard += rows
        found["not started" if fate in ("ended", "refused") else "in doubt"] += more
        found["planned"] += planned
    results = closed(kind, every, ZERO_NS)
    messages = results.messages
    outcomes = Counter(outcome for outcome, *_ in heard)
    assert (messages.planned, messages.not_started) == (found["planned"], found["not started"])
    assert messages.in_doubt == outcomes[D] + found["in doubt"]
    assert (messages.accepted, messages.rejected_temporary) == (outcomes[A], outcomes[T])
    assert (messages.rejected_permanent, messages.failed) == (outcomes[P], outcomes[F])
    assert messages.bytes == sum(octets for outcome, _, _, octets in heard if outcome is A)
    assert messages.planned == messages.not_started + messages.started
    starts, ends = [start for _, start, _, _ in heard], [start + took for _, start, took, _ in heard]
    assert results.run.duration_s == ((max(ends) - min(starts)) / 1_000 if heard else 0)
    assert sum(one.accepted for one in results.timeline) == outcomes[A]
    assert results.valid == all(fate == "ended" for fate, *_ in parts)


def test_a_lost_shard_has_said_when_by_its_own_clock() -> None:
    """What was known of its host is kept, and its clock; time zero is the coordinator's, for all."""
    kind = kind_of(2)
    lost = shard_of(kind, 2, 9, clock=Clock(-5_000, 70))
    told(kind, lost, [(A, 100, 50, 10), (F, 400, 30, 10)], planned=9)
    lost.last = words.ShardGone("its host is gone")
    first = ended(kind, 1, [(A, 20, 5, 10)], 1, None)
    results = closed(kind, [first, lost], ZERO_NS)
    one, two = results.shards
    assert (two.first_start_ns, two.last_start_ns, two.last_end_ns) == (100 * MS, 400 * MS, 430 * MS)
    assert (two.host, two.files, two.clock_offset_ns, two.clock_error_ns) == ("machine2", {"/a.mbox": "ff"}, -5_000, 70)
    assert (one.start_at, two.start_at, results.run.started_at) == (TOLD, TOLD, TOLD)
    assert (results.run.duration_s, results.run.addresses) == (0.41, ("192.0.2.7:25",))
    assert results.plan["shard"]["start_at_ns"] == ZERO_NS
    assert (results.messages.in_doubt, results.messages.planned) == (7, 10)
    assert results.stopped_by is StoppedBy.WORKER_LOST
    (caveat,) = results.caveats
    assert caveat.kind is CaveatKind.SHARD_LOST
    assert caveat.text.startswith("the measurement is not valid: shard 2 (machine2) was lost: its host is gone")
    assert "not known" not in caveat.text.partition("; what it had")[0]
    of_lost = account._part(kind, lost, ZERO_NS)
    assert of_lost.run.duration_s == 0.33
    assert of_lost.generator.workers


def test_a_run_that_was_stopped_before_its_start_has_lost_nobody() -> None:
    """Ready or not, each shard has its part of what was planned: 61 of three."""
    plan = replace(PLAN, max_messages=61)
    kind = kind_of(3, plan)
    every = [shard_of(kind, number, 99) for number in (1, 2, 3)]
    every[2].prepared = None
    for shard in every:
        shard.last = words.ShardNotBegun()
    results = closed(kind, every, ZERO_NS)
    assert (results.messages.planned, results.messages.not_started, results.messages.in_doubt) == (61, 61, 0)
    assert (results.valid, results.caveats, results.stopped_by) == (True, (), StoppedBy.INTERRUPTED)
    assert [one.host for one in results.shards] == ["machine1", "machine2", "host3"]
    assert [(one.files, results.run.addresses) for one in results.shards] == [({}, ())] * 3
    assert results.run.duration_s == 0


def test_a_shard_that_only_time_ends_may_have_sent_more_than_it_said() -> None:
    """It has planned what it has taken up; of a shard that said nothing nothing is known."""
    kind = kind_of(2, replace(PLAN, max_messages=None, duration_ns=10**9))
    lost, silent = shard_of(kind, 1, None), shard_of(kind, 2, None)
    told(kind, lost, [(A, 1, 1, 1)] * 5, planned=4)  # of an instant before the last of its messages
    lost.last = silent.last = words.ShardGone("gone")
    results = closed(kind, [lost, silent], ZERO_NS)
    assert (results.messages.planned, results.messages.accepted, results.messages.in_doubt) == (5, 5, 0)
    assert "was lost: gone; how much it sent after its last word is not known" in results.caveats[0].text


def test_deliveries_to_users_of_a_lost_shard_are_in_doubt_in_both_accounts() -> None:
    """12 were taken up: 3 have an outcome, 2 were dropped, 7 are in doubt besides the one that is so anyway."""
    kind = replace(kind_of(2, replace(PLAN, max_messages=None, duration_ns=10**9)), planned_by_all=None)
    lost = shard_of(kind, 1, None)
    counts = replace(MailboxCounts.none(), delivered=2, read=2, in_doubt=1, dropped=2)
    told(kind, lost, [(A, 1, 1, 1), (A, 2, 1, 1), (D, 3, 1, 1)], planned=12, mailboxes=counts)
    lost.last = words.ShardGone("gone")
    part = account._part(kind, lost, ZERO_NS)
    assert part.mailboxes == replace(counts, in_doubt=8)
    messages = part.messages
    assert (messages.planned, messages.started, messages.in_doubt, messages.not_started) == (12, 10, 8, 2)


# -- proofs -----------------------------------------------------------------------------------------------


def octets_of(path: Path, *numbers: int) -> bytes:
    """The manifest of a shard that had these accepted."""
    none = sent.SentRecords.none()
    rows = np.array(numbers, np.int64)
    accepted = sent.SentRecords(rows, rows * 0 + 1, rows * 0, rows * 0 + 5)
    sent.Manifest.here(PLAN.run_id, 60, accepted, none).write(path)
    return path.read_bytes()


@pytest.fixture
def two(tmp_path: Path) -> list[HostShard]:
    """Both ended, with a manifest of three messages and one of two."""
    kind = kind_of(2)
    many = [(1, 3, 5), (2, 4)]
    return [
        ended(kind, place, [(A, 1, 1, 1)] * len(numbers), len(numbers), octets_of(tmp_path / f"{place}", *numbers))
        for place, numbers in enumerate(many, 1)
    ]


def closed_at(every: Sequence[HostShard]) -> Results:
    results = closed(kind_of(2), every, ZERO_NS)
    return replace(results, run=replace(results.run, clock=RunClock("boot", 777, 0)))


SINKS = cast("RemoteSinks", object())
WAIT = DeliveryWait(TcpTarget("127.0.0.1", 80), 5_000)
COUNTS, DELIVERY = LedgerCounts(5, 5, 0, 0, 0), Delivery(0, 5.0, 5.0, True, 0, 0, None)
Asked = list[tuple[Any, ...]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What sinks were asked for; they have all."""
    found: Asked = []

    def wait(sinks: Any, patience_ns: int, manifest: sent.Manifest, _say: Any, control: Any, began_ns: int) -> Any:
        found.append((sinks, patience_ns, sorted(manifest.accepted.numbers.tolist()), began_ns))
        return COUNTS, DELIVERY

    monkeypatch.setattr(waiting, "sinks_of", lambda _wait, _plan: SINKS)
    monkeypatch.setattr(waiting, "wait", wait)
    return found


def proved(every: Sequence[HostShard], control: RunControl | None = None, **given: Any) -> tuple[Results, list[str]]:
    """The results with their proofs, and what caveats say."""
    proofs = Proofs(given.get("manifest"), given.get("wait"), given.get("plan", PLAN))
    assert proofs.wanted == bool(given.keys() - {"plan"})
    proofs.check()
    before = closed_at(every)
    results = proofs.add(before, every, lambda _line: None, control or RunControl())
    kinds_before = {one.kind for one in before.caveats}
    return results, [f"{one.kind.value}: {one.text}" for one in results.caveats if one.kind not in kinds_before]


def test_without_a_proof_results_are_as_they_were(two: list[HostShard], asked: Asked) -> None:
    results, caveats = proved(two)
    assert (results, caveats, asked) == (closed_at(two), [], [])


def test_the_manifest_is_of_all_shards(two: list[HostShard], tmp_path: Path, asked: Asked) -> None:
    results, caveats = proved(two, manifest=tmp_path / "all")
    assert (results, caveats, asked) == (closed_at(two), [], [])
    assert sorted(sent.read(tmp_path / "all").accepted.numbers.tolist()) == [1, 2, 3, 4, 5]


def test_all_of_it_is_held_against_the_sinks(two: list[HostShard], asked: Asked) -> None:
    results, caveats = proved(two, wait=WAIT)
    assert (results.ledger, results.delivery, caveats) == (COUNTS, DELIVERY, [])
    assert results.stopped_by is StoppedBy.FINISHED
    assert asked == [(SINKS, 5_000, [1, 2, 3, 4, 5], 777)]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_wish_while_sinks_are_waited_for_interrupts_the_run(
    two: list[HostShard], asked: Asked, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """One before that is the run's own."""
    control = RunControl()
    if when == "before":
        control.stop()
    else:
        wait = waiting.wait
        monkeypatch.setattr(waiting, "wait", lambda *given: (control.stop(), wait(*given))[1])
    results, caveats = proved(two, control, wait=WAIT)
    assert (results.ledger, caveats, len(asked)) == (COUNTS, [], 1)
    assert results.stopped_by is (StoppedBy.FINISHED if when == "before" else StoppedBy.INTERRUPTED)


def test_sinks_that_do_not_answer_are_a_proof_that_is_missing(
    two: list[HostShard], asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*_: Any) -> Any:
        raise SetupError("the sink is gone")

    monkeypatch.setattr(waiting, "wait", wait)
    results, (caveat,) = proved(two, wait=WAIT)
    assert caveat.startswith("proof_missing: what was delivered is not known: the sink is gone")
    assert (results.ledger, results.stopped_by) == (None, StoppedBy.FINISHED)
    _, none = proved(two, wait=WAIT, plan=None)
    assert (none, asked) == ([], []), "without a plan nobody was looked for, and nobody is asked"


def test_what_a_lost_shard_sent_is_not_in_the_manifest(two: list[HostShard], tmp_path: Path, asked: Asked) -> None:
    """Sinks are not asked, as they have more than it says."""
    two[1].last = words.ShardGone("gone")
    _, caveats = proved(two, manifest=tmp_path / "all", wait=WAIT)
    output, proof = sorted(caveats)
    assert output.startswith(f'output_failed: the manifest "{tmp_path / "all"}": what shard 2 (machine2) sent is not')
    assert proof.startswith("proof_missing: what was delivered is not known: what shard 2 (machine2) sent is not in it")
    assert asked == []
    assert sorted(sent.read(tmp_path / "all").accepted.numbers.tolist()) == [1, 3, 5]


def test_a_run_that_never_began_has_no_manifest_and_no_problem(
    two: list[HostShard], tmp_path: Path, asked: Asked
) -> None:
    for shard in two:
        shard.last = words.ShardNotBegun()
    _, caveats = proved(two, manifest=tmp_path / "all", wait=WAIT)
    assert (caveats, asked, (tmp_path / "all").exists()) == ([], [], False)


def test_a_manifest_that_cannot_be_written_or_read_is_said(
    two: list[HostShard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    def write(*_: Any) -> None:
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sent.Manifest, "write", write)
        _, (full,) = proved(two, manifest=tmp_path / "all", wait=WAIT)
    assert full.startswith(f'output_failed: the manifest "{tmp_path / "all"}": the disk is full')
    assert len(asked) == 1, "sinks are asked all the same"
    assert isinstance(two[0].last, words.ShardEnded)
    two[0].last = replace(two[0].last, manifest=b"none")
    _, (output, proof) = proved(two, manifest=tmp_path / "none", wait=WAIT)
    assert not (tmp_path / "none").exists()
    assert sorted([output.partition(":")[0], proof.partition(":")[0]]) == ["output_failed", "proof_missing"]
