"""A gate by slices, to the nanosecond: whoever sends is scripted, and the clock goes on only while it serves."""

import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest

from tests.cluster.test_merging_shards import PLAN, SOME, results_of
from tests.verdict.blocks import DESIGN, served
from trafficgen.clock import NS_PER_S
from trafficgen.errors import ExitCode, OutputError, SetupError
from trafficgen.gate import slicing
from trafficgen.gate.builds import Build
from trafficgen.gate.slicing import SlicedLoad, _Budget, _plans, _with_account, run_slices
from trafficgen.gate.trials import RecordFile
from trafficgen.host.signals import RunControl
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.results import Results
from trafficgen.outcomes import Outcome
from trafficgen.plan import TcpTarget
from trafficgen.runs.slices import RunLostError, Served, SideCounts
from trafficgen.verdict.gating import Side
from trafficgen.verdict.rule import Verdict
from trafficgen.verdict.sequence import SlicesEnded
from trafficgen.verdict.slices import Block, Disturbance, Slice

A, B = Side.A, Side.B
S = NS_PER_S
BUDGET_S = DESIGN.budget_ns // S


@dataclass
class Generator:
    """The first slices take 3 s, each block 10 s; in a slice A has 20 messages accepted, B has `of_b`."""

    now_ns: int = 50 * S
    of_b: int = 10
    trouble: Mapping[Side, SideCounts] = field(default_factory=dict)
    """Counted besides, at the end of each block."""
    fails: Exception | None = None
    results: Mapping[Side, Results] = field(
        default_factory=lambda: dict.fromkeys(Side, results_of(SOME, range(20), PLAN))
    )
    meanwhile: Callable[[], None] = lambda: None
    asked: list[tuple[Side, ...]] = field(default_factory=list)
    control: RunControl | None = None

    def __call__(self, _design: object, _plans: object, _wait: object, control: RunControl) -> Self:
        self.control = control
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def serve(self, sides: Sequence[Side], _roots: Collection[int] | None) -> Served:
        if self.fails is not None and self.asked:
            raise self.fails
        self.now_ns += (3 if len(sides) == 2 else 10) * S
        self.asked.append(tuple(sides))
        self.meanwhile()
        many = {A: 20, B: self.of_b}
        slices = [Slice(side, 2.0, float(many[side]), Disturbance()) for side in sides]
        before = {side: SideCounts(5, 5, 0, 0, 0) for side in Side}
        none = SideCounts(0, 0, 0, 0, 0)
        after = {
            side: SideCounts(5 + 2 * many[side], 5 + 2 * many[side], 0, 0, 0) + self.trouble.get(side, none)
            for side in Side
        }
        return Served(slices, before, after)

    def end(self) -> Mapping[Side, Results]:
        return self.results


Gate = Callable[..., tuple[SlicesEnded, list[Block], list[str]]]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """30 s are left; what became of it, its blocks, and what was said."""

    def run(generator: Generator, queues: Mapping[Side, Path] | None = None, **given: Any) -> Any:
        monkeypatch.setattr(slicing, "now_ns", lambda: generator.now_ns)
        builds = {side: Build(None, queue=(queues or {}).get(side)) for side in Side}
        file, said = given.pop("file", RecordFile(None, {}, Block)), list[str]()
        load = SlicedLoad(PLAN, builds, tolerate_refusals=given.pop("tolerate_refusals", False))
        given = {"began_ns": generator.now_ns - (BUDGET_S - 30) * S} | given
        ended = run_slices(DESIGN, load, file, notice=said.append, generators=generator, **given)
        return ended, file.records, said

    return run


def test_a_block_has_its_messages_and_its_time(gate: Gate) -> None:
    """13 of 30 s are spent after the first block, 23 after the second: a third one of 10 does not fit."""
    generator = Generator()
    ended, blocks, said = gate(generator)
    assert generator.asked == [(A, B), DESIGN.order(0), DESIGN.order(1)]
    assert (ended.verdict, ended.code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    assert [block.messages for block in blocks] == [{"a": 40, "b": 20}] * 2
    assert [(block.lasted_s, block.spent_s - BUDGET_S + 30) for block in blocks] == [(10, 13), (10, 23)]
    assert [(block.harm, block.queued) for block in blocks] == [({}, {})] * 2
    order = " ".join(side.name for side in DESIGN.order(1))
    assert said[-1] == f"block 2, {order}, 20 s: throughput 10.0/s and 5.00/s"


def test_the_time_counts_from_now_unless_it_is_said(gate: Gate) -> None:
    generator = Generator(of_b=20)
    _, blocks, _ = gate(generator, began_ns=None)
    assert [block.spent_s for block in blocks[:2]] == [13, 23]


def test_ctrl_c_is_counted_for_whoever_sends(gate: Gate) -> None:
    """Who would end the gate for it; this one goes on."""
    generator = Generator()
    generator.meanwhile = lambda: signal.raise_signal(signal.SIGINT) if len(generator.asked) == 2 else None
    gate(generator)
    assert generator.control is not None
    assert generator.control.count == 1


def test_what_stays_in_a_queue_was_not_delivered(gate: Gate, tmp_path: Path) -> None:
    """2 messages wait before the first slices, 4 after them, then 6 and 8: of B's 20 of a block 18 came out."""
    queue = tmp_path / "b"
    for name in ("incoming", "active", "deferred"):
        (queue / name).mkdir(parents=True)

    def two_more() -> None:
        for _ in range(2):
            (queue / "active" / f"{len(list((queue / 'active').iterdir()))}").touch()

    two_more()
    _, blocks, said = gate(Generator(meanwhile=two_more), {B: queue})
    assert said[0] == "B's queue holds 2 messages before the first slice"
    assert [block.queued for block in blocks] == [{"b": 6}, {"b": 8}]
    assert [block.used["b"]["queue.delivered"] for block in blocks] == [18, 18]
    assert "queue.delivered" not in blocks[0].used["a"]
    with pytest.raises(SetupError, match=r'cannot look at the queue ".*none.*": no such file or directory'):
        gate(Generator(), {A: tmp_path / "none"})


TROUBLE = SideCounts(started=6, accepted=0, rejected=2, failed=3, in_doubt=1)


@pytest.mark.parametrize(("tolerate", "words"), [(False, "1 in doubt, 2 refused, 3 failed"), (True, "1 in doubt")])
def test_what_must_never_happen_is_said_of_all_messages_so_far(gate: Gate, tolerate: bool, words: str) -> None:
    """51: 5 before, 40 of two slices, 6 in trouble."""
    ended, blocks, _ = gate(Generator(of_b=20, trouble={B: TROUBLE}), tolerate_refusals=tolerate)
    assert [block.harm for block in blocks] == [{"b": f"of 51 messages {words}"}]
    assert (ended.verdict, ended.code) == (Verdict.FAIL, ExitCode.VERDICT_FAILED)


def test_refusals_alone_may_be_tolerated(gate: Gate) -> None:
    generator = Generator(trouble={B: replace(TROUBLE, in_doubt=0)})
    _, blocks, _ = gate(generator, tolerate_refusals=True)
    assert [block.harm for block in blocks] == [{}, {}]


def test_a_run_that_is_lost_ends_the_gate_with_the_blocks_that_it_has(gate: Gate) -> None:
    generator = Generator(fails=RunLostError("worker 0 died"))
    file = RecordFile(None, {}, Block)
    for block in served(2, lambda _number, _side: 10.0):
        file.add(block)
    ended, _, _ = gate(generator, file=file, began_ns=None)
    assert (ended.verdict, ended.code, ended.reason) == (None, ExitCode.NOT_VALID, "worker 0 died")
    assert len(ended.counted) == 2


def test_blocks_that_cannot_be_kept_are_said_and_the_gate_goes_on(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(file: RecordFile[Block], record: Block) -> OutputError | None:
        file.records.append(record)
        return OutputError("the disk is full") if len(file.records) == 1 else None

    monkeypatch.setattr(RecordFile, "add", add)
    _, blocks, said = gate(Generator())
    lost = "the disk is full; the gate goes on, and cannot be gone on with later"
    assert (len(blocks), said.count(lost)) == (2, 1)


# -- the whole account ------------------------------------------------------------------------------------

ENDED = SlicesEnded(Verdict.PASS, ExitCode.DONE, "as fast", ())
FINE = results_of(SOME, range(20), PLAN)
REFUSED = results_of([(Outcome.REJECTED_PERMANENT, 0, 1, 1), *SOME[1:]], range(20), PLAN)
INVALID = replace(
    FINE, valid=False, caveats=(Caveat.of(CaveatKind.RATE_MISSED, "slow"), Caveat.of(CaveatKind.WORKER_LOST, "0 died"))
)


@pytest.mark.parametrize(
    ("a", "b", "tolerate", "verdict", "code"),
    [
        (FINE, FINE, False, Verdict.PASS, ExitCode.DONE),
        (FINE, REFUSED, False, Verdict.FAIL, ExitCode.VERDICT_FAILED),
        (FINE, REFUSED, True, Verdict.PASS, ExitCode.DONE),
        (REFUSED, FINE, False, None, ExitCode.NOT_VALID),
        (REFUSED, INVALID, False, None, ExitCode.NOT_VALID),
        (replace(FINE, valid=False), FINE, False, None, ExitCode.NOT_VALID),
    ],
)
def test_the_account_of_both_runs_outranks_their_slices(
    a: Results, b: Results, tolerate: bool, verdict: Verdict | None, code: ExitCode
) -> None:
    """What is not valid first, whichever side's."""
    ended = _with_account(ENDED, {A: a, B: b}, tolerate_refusals=tolerate)
    assert (ended.verdict, ended.code) == (verdict, code)
    if b is INVALID:
        assert ended.reason.startswith("B: 0 died")
        assert "slow" not in ended.reason
    elif not a.valid:
        assert ended.reason == "A: a worker was lost"
    elif verdict is Verdict.PASS:
        assert ended is ENDED
    else:
        assert ended.reason.startswith("A: " if b is FINE else "B: ")


def test_only_the_gate_ends_its_runs() -> None:
    """Their own limit is ten minutes beyond its time."""
    targets = {A: TcpTarget("192.0.2.1", 25), B: TcpTarget("192.0.2.2", 25)}
    plans = _plans(DESIGN, SlicedLoad(PLAN, {side: Build(target) for side, target in targets.items()}))
    assert {side: plan.target for side, plan in plans.items()} == targets
    assert len({PLAN.run_id, *(plan.run_id for plan in plans.values())}) == 3
    for plan in plans.values():
        assert (plan.max_messages, plan.duration_ns) == (None, (BUDGET_S + 600) * S)
        assert (plan.keep_going, plan.ledger) == (True, False)


# -- time ---------------------------------------------------------------------------------------------------

(BLOCK,) = served(1, lambda _number, _side: 10.0)


@pytest.mark.parametrize(
    ("lasted_s", "spent_s", "up"),
    [
        ([1.0], BUDGET_S - 8, False),  # a block is of four slices of 2 s
        ([1.0], BUDGET_S - 7.9, True),
        ([9.0, 30.0, 1.0], BUDGET_S - 30, False),
        ([9.0, 30.0, 1.0], BUDGET_S - 29, True),
        ([40.0, 9.0, 9.0, 9.0, 9.0], BUDGET_S - 9, False),  # only the last four are looked at
        ([9.0, 40.0, 9.0, 9.0, 9.0], BUDGET_S - 39, True),
    ],
)
def test_another_block_must_fit(lasted_s: list[float], spent_s: float, up: bool) -> None:
    blocks = [replace(BLOCK, lasted_s=one, spent_s=spent_s) for one in lasted_s]
    assert _Budget(DESIGN, blocks, 0).is_up == up


def test_what_was_spent_before_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "now_ns", lambda: 52 * S)
    assert _Budget(DESIGN, [], 50 * S).now_s == 2
    assert _Budget(DESIGN, [replace(BLOCK, spent_s=7.5)], 50 * S).now_s == 9.5
    for spent_s, up in ((BUDGET_S - 8, False), (BUDGET_S - 7, True)):
        assert _Budget(DESIGN, [], (52 - spent_s) * S).is_up == up
