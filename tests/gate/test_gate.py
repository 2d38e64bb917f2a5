"""The gate from run to run, with a fake that makes runs without a server."""

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.measure.test_results import build, snapshot_of
from trafficgen.errors import ExitCode, OutputError, ResultsError
from trafficgen.gate.gate import run_gate
from trafficgen.gate.trials import TrialFile, seed_in
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.outcomes import Outcome
from trafficgen.report.gated import check_history, gate_json, gate_junit, gate_markdown, gate_sections, history_rows
from trafficgen.report.to_text import sections_to_text
from trafficgen.verdict.gating import Design, Ended, PlannedRun, Purpose, Side, Trial, advance, steps
from trafficgen.verdict.reading import parse_metric, trial_of
from trafficgen.verdict.rule import Better, Metric, Verdict

METRICS = (parse_metric("throughput:5%"), parse_metric("p99:10%+2ms"))
DESIGN = Design(METRICS, seed=3)
GATE = {"plan": {"seed": 1}, "design": {"seed": 3}}


@dataclass
class FakeRunner:
    """Runs of which B's are `ratio` times as fast, scattered by `noise`. `act` may replace a trial."""

    ratio: float = 1.0
    noise: float = 0.01
    second_side: float = 1.0
    act: Callable[[PlannedRun, Trial], Trial] = lambda _step, trial: trial
    rng: random.Random = field(default_factory=lambda: random.Random(11))
    steps: list[PlannedRun] = field(default_factory=list)

    def run(self, step: PlannedRun) -> Trial:
        self.steps.append(step)
        ratio = self.ratio if step.side is Side.B else 1.0
        ratio *= self.second_side if step.as_b else 1.0
        rate = 1000 * ratio * math.exp(self.rng.gauss(0, self.noise))
        p99 = 50e6 / ratio * math.exp(self.rng.gauss(0, self.noise))
        return self.act(step, Trial(step.index, step.side, {"throughput": rate, "p99": p99, "server.cpu": 2.0 / ratio}))


def ended(runner: FakeRunner, design: Design = DESIGN) -> Ended:
    return run_gate(design, runner, TrialFile(None, GATE))


def test_the_order_of_runs() -> None:
    made = steps(DESIGN)
    assert [step.index for step in made] == list(range(2 + 16 + 48))
    assert [step.purpose for step in made[:18]] == [Purpose.DISCARD] * 2 + [Purpose.CONTROL] * 16
    assert {step.side for step in made if step.purpose is Purpose.CONTROL} == {Side.A}
    compared = [step for step in made if step.purpose is Purpose.COMPARE]
    assert all({a.side, b.side} == {Side.A, Side.B} for a, b in zip(compared[::2], compared[1::2], strict=True))
    assert [step.as_b for step in compared] == [step.side is Side.B for step in compared]
    assert sum(step.as_b for step in compared[:16:2]) == 4  # B first in half of the pairs
    assert steps(DESIGN) == made
    assert steps(Design(METRICS, seed=4)) != made


def test_equal_builds_pass_at_the_first_look() -> None:
    runner = FakeRunner()
    gate = ended(runner)
    assert (gate.verdict, gate.code) == (Verdict.PASS, ExitCode.DONE)
    assert len(runner.steps) == 2 + 16 + 16
    assert [control.trouble for control in gate.controls] == [None, None]
    assert [other.metric.name for other in gate.others] == ["server.cpu"]


def test_a_slower_build_fails() -> None:
    gate = ended(FakeRunner(ratio=0.85))
    assert (gate.verdict, gate.code) == (Verdict.FAIL, ExitCode.VERDICT_FAILED)
    assert gate.reason.startswith(
        "after 8 pairs B is worse than A, beyond chance and by the margin or more: throughput"
    )


def test_a_loss_near_the_margin_takes_all_looks() -> None:
    runner = FakeRunner(ratio=0.965, noise=0.03, rng=random.Random(2))
    gate = ended(runner)
    assert gate.verdict is Verdict.WARN
    assert gate.code is ExitCode.INCONCLUSIVE
    assert gate.judgement is not None
    assert gate.judgement.comparisons[0].pairs == 24
    assert len(runner.steps) == 2 + 16 + 48


def test_a_noisy_machine_is_refused_before_b_is_compared() -> None:
    runner = FakeRunner(noise=0.2)
    gate = ended(runner)
    assert (gate.verdict, gate.code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    assert "this machine is too noisy for a margin of 5.00%; it could resolve" in gate.reason
    assert not any(step.purpose is Purpose.COMPARE for step in runner.steps)


def test_a_second_side_that_differs_by_itself_is_refused() -> None:
    gate = ended(FakeRunner(second_side=0.95))
    assert (gate.verdict, gate.code) == (None, ExitCode.NOT_VALID)
    assert "A differs from itself" in gate.reason


def test_without_control_the_comparison_begins_at_once() -> None:
    runner = FakeRunner()
    assert ended(runner, Design(METRICS, control_pairs=0)).verdict is Verdict.PASS
    assert len(runner.steps) == 2 + 16


def test_one_lost_message_of_b_fails_at_once() -> None:
    def lose(step: PlannedRun, trial: Trial) -> Trial:
        lost = step.side is Side.B
        return Trial(trial.step, trial.side, trial.values, "of 100 messages 1 missing" if lost else None)

    runner = FakeRunner(act=lose)
    gate = ended(runner)
    assert (gate.verdict, gate.code) == (Verdict.FAIL, ExitCode.VERDICT_FAILED)
    assert gate.reason.endswith("of B: of 100 messages 1 missing")
    assert len(runner.steps) <= 2


def test_a_baseline_that_loses_messages_cannot_be_compared_with() -> None:
    gate = ended(FakeRunner(act=lambda step, trial: Trial(trial.step, trial.side, {}, "of 100 messages 1 refused")))
    assert gate.code in (ExitCode.NOT_VALID, ExitCode.VERDICT_FAILED)
    assert "1 refused" in gate.reason


def test_a_spoiled_run_is_repeated() -> None:
    spoil = iter([True, False] * 100)

    def hiccup(step: PlannedRun, trial: Trial) -> Trial:
        return Trial(trial.step, trial.side, trial.values, None, "the event loop lagged" if next(spoil) else None)

    runner = FakeRunner(act=hiccup)
    assert ended(runner).verdict is Verdict.PASS
    assert [step.index for step in runner.steps[:4]] == [0, 0, 1, 1]


def test_a_generator_that_is_always_the_limit_ends_the_gate() -> None:
    runner = FakeRunner(act=lambda step, trial: Trial(trial.step, trial.side, trial.values, None, "CPU at 99%"))
    gate = ended(runner)
    assert (gate.verdict, gate.code) == (None, ExitCode.NOT_VALID)
    assert gate.reason == "run 1 was spoiled 3 times: CPU at 99%"
    assert len(runner.steps) == 3


@pytest.mark.parametrize("cut", [1, 2, 17, 18, 19, 33])
def test_an_interrupted_gate_goes_on_to_the_same_end(cut: int, tmp_path: Path) -> None:
    def values() -> Iterator[Trial]:
        runner = FakeRunner(ratio=0.93, noise=0.02)
        yield from (runner.run(step) for step in steps(DESIGN))

    every = list(values())

    @dataclass
    class Recorded:
        left: int

        def run(self, step: PlannedRun) -> Trial:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return every[step.index]

    whole = run_gate(DESIGN, Recorded(1000), TrialFile(None, GATE))
    path = tmp_path / "gate.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_gate(DESIGN, Recorded(cut), TrialFile(path, GATE))
    with path.open("a") as file:
        file.write('{"step": 3, "si')  # the power went
    resumed = TrialFile(path, GATE)
    assert len(resumed.trials) == cut
    assert run_gate(DESIGN, Recorded(1000), resumed) == whole
    assert len(TrialFile(path, GATE).trials) == len(resumed.trials)


def test_a_disk_that_is_full_is_said_each_time_and_written_to_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TrialFile(tmp_path / "gate.jsonl", GATE)
    trials = [FakeRunner().run(step) for step in steps(DESIGN)[:2]]
    full, tried = OutputError("no space left on device"), []

    def append(plain: object) -> None:
        tried.append(plain)
        raise full

    monkeypatch.setattr(file, "_append", append)
    assert [file.add(trial) for trial in trials] == [full, None]
    assert (file.trials, len(tried)) == (trials, 1)


def test_trials_of_another_gate_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.jsonl"
    TrialFile(path, GATE).add(FakeRunner().run(steps(DESIGN)[0]))
    assert seed_in(path) == (1, 3)
    with pytest.raises(ResultsError, match="another gate: its plan differs"):
        TrialFile(path, GATE | {"plan": {"seed": 2}})
    path.write_text("{}\nnonsense\n")
    with pytest.raises(ResultsError, match="expected the trials of a gate"):
        TrialFile(path, GATE)
    with pytest.raises(ResultsError, match="expected the trials of a gate"):
        seed_in(path)
    assert seed_in(tmp_path / "none") is None


# -- how it ends, in words ------------------------------------------------------------------------------


def test_the_verdict_in_text() -> None:
    text = sections_to_text(gate_sections(ended(FakeRunner(noise=0.001))))
    assert text.startswith("PASS\n  after 8 pairs B is not worse than A by more than the margin: throughput is")
    assert "metric              A        B   B / A        interval  margin" in text
    assert "  server.cpu  2.00/1k  2.00/1k  1.000×  [1.000, 1.000]       –  not gated" in text
    assert "A against A\n  throughput of A against A is 0.999×" in text


def test_the_verdict_for_machines() -> None:
    runner = FakeRunner(ratio=0.8)
    file = TrialFile(None, GATE)
    gate = run_gate(DESIGN, runner, file)
    plain = json.loads(gate_json(gate, DESIGN, file.trials))
    assert (plain["verdict"], plain["exit_code"], len(plain["trials"])) == ("fail", 99, len(runner.steps))
    assert plain["comparisons"][0]["metric"]["name"] == "throughput"
    assert plain["design"]["looks"] == [8, 16, 24]
    junit = gate_junit(gate, DESIGN.metrics, "2026-11-22T00:00:00+00:00", 12.5)
    assert 'tests="3" failures="3"' in junit
    assert gate_markdown(gate).startswith("**❌ FAIL**: after 8 pairs")
    assert "| throughput | 1,0" in gate_markdown(gate)


def test_only_a_history_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    check_history(path)
    rows = history_rows(ended(FakeRunner()), time="2026-11-22T00:00:00+00:00", label="=1+1", header=True)
    path.write_text(rows)
    check_history(path)
    assert "\n2026-11-22T00:00:00+00:00,'=1+1,pass" in rows
    path.write_text('{"schema_version": 1}\n')
    with pytest.raises(ResultsError, match="expected a history of gates, or no file yet, got"):
        check_history(path)


def test_the_history_has_a_row_a_metric() -> None:
    rows = history_rows(ended(FakeRunner()), time="2026-11-22T00:00:00+00:00", label="v2", header=True).splitlines()
    assert rows[0].startswith("time,label,verdict,metric,pairs,ratio,low,high")
    assert [row.split(",")[1:5] for row in rows[1:]] == [
        ["v2", "pass", "throughput", "8"],
        ["v2", "pass", "p99", "8"],
        ["v2", "pass", "server.cpu", "8"],
    ]


# -- what is compared -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("throughput", Metric("throughput", Better.HIGHER, 0.05)),
        ("throughput:3%", Metric("throughput", Better.HIGHER, 0.03)),
        ("p99", Metric("p99", Better.LOWER, 0.10)),
        ("p99:12.5%+2ms", Metric("p99", Better.LOWER, 0.125, 2e6)),
        ("end_of_data.p95:10%", Metric("end_of_data.p95", Better.LOWER, 0.10)),
        ("server.cpu:2%", Metric("server.cpu", Better.LOWER, 0.02)),
        ("server.cpu", Metric("server.cpu", Better.LOWER, 0.05)),
    ],
)
def test_metrics_and_their_margins(text: str, metric: Metric) -> None:
    assert parse_metric(text) == metric


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected"),
        ("p99:10", 'expected a margin above 0%, such as p99:10%, got "10"'),
        ("throughput:-5%", 'expected a margin above 0%, such as throughput:10%, got "-5%"'),
        ("p98x", "expected a known metric"),
        ("throughput:5%+2ms", "only a latency has an absolute floor"),
        ("accepted.rate:1%", "must be the same in every run"),
        ("throughput:0%", "margin between"),
        ("p99:10%+soon", "expected a duration"),
    ],
)
def test_metrics_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_metric(text)


def test_a_design_that_could_never_decide_is_refused() -> None:
    with pytest.raises(ValueError, match="8 to 300 control pairs"):
        Design(METRICS, control_pairs=4)
    with pytest.raises(ValueError, match="can never show anything"):
        Design(METRICS, looks=(4, 8))


def test_the_next_run_follows_from_the_trials_alone() -> None:
    first = advance(DESIGN, [])
    assert isinstance(first, PlannedRun)
    assert (first.index, first.purpose) == (0, Purpose.DISCARD)


@pytest.mark.parametrize("kind", CaveatKind)
def test_a_run_without_the_proof_that_was_asked_for_is_spoiled_and_others_are_not(kind: CaveatKind) -> None:
    results = replace(build(snapshot_of([Outcome.ACCEPTED])), caveats=(Caveat.of(kind, "x of y"),))
    trial = trial_of(steps(DESIGN)[0], results, METRICS, {})
    assert (trial.spoiled is not None) == (kind is CaveatKind.PROOF_MISSING)
    assert trial.harm is None
