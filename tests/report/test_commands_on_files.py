"""The commands that work on results files: report, compare, merge."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from trafficgen.cli.program import call
from trafficgen.engine.account import PHASES
from trafficgen.errors import ExitCode
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.measure.generator import Host
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.results import Results, read_results
from trafficgen.outcomes import Outcome, Phase, StoppedBy
from trafficgen.plan import OpenLoop, Plan, WeightedDomain, Workload

MS, S = 1_000_000, 1_000_000_000
PLAN = Plan(max_messages=100, seed=7, workload=Workload(domains=(WeightedDomain("gmail.com"),)), run_id="0" * 16)
BEGUN = datetime(2026, 11, 22, tzinfo=UTC)


def made(
    services_ms: list[int], *, run: int = 1, begun_s: float = 0.0, plan: Plan = PLAN, ledger: LedgerCounts | None = None
) -> Results:
    """One message after the other, each taking so long; `run` tells runs apart."""
    recorder, at = Recorder(1, 0, False, phases=PHASES), 0
    for number, service in enumerate(services_ms):
        outcome = Outcome.ACCEPTED if service < 900 else Outcome.REJECTED_TEMPORARY
        recorder.rows.extend((number, outcome, 0, -1, at, -1, at, at + service * MS, 1_000))
        at += service * MS
    recorder.reply(Phase.END_OF_DATA, 250, "2.0.0", "ok", len(services_ms))
    recorder.failure(Phase.CONNECT, "timed out", "30 s")
    snapshot = recorder.snapshot(now_ns=at, cpu_ns=1, wall_ns=at, sessions_open=0, sessions_opened=1, in_flight=0)
    return Results.build(
        replace(plan, run_id=f"{run:016x}"),
        snapshot,
        phases=PHASES,
        domains=[("gmail.com", 1.0)],
        planned=len(services_ms),
        not_started=0,
        started_at=BEGUN + timedelta(seconds=begun_s),
        duration_ns=at,
        host=Host("3.11.7", "Linux", 2),
        tool_version="0.1.0",
        ledger=ledger,
    )


def saved(path: Path, results: Results) -> str:
    path.write_text(results.to_json())
    return str(path)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return saved(tmp_path / "run.json", made([10] * 99 + [50], ledger=LedgerCounts(100, 100, 0, 0, 0)))


# -- report ---------------------------------------------------------------------------------------------


def test_the_summary_is_that_of_the_run(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["report", run]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "  accepted               100     100.00%" in out
    assert "100 expected, 100 received, 0 missing" in out


def test_json_gives_the_file_back(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(["report", run, "--json", "-o", str(tmp_path / "again.json")])
    assert (tmp_path / "again.json").read_text() == Path(run).read_text()
    call(["report", run, run, "--json"])
    assert [plain["run"]["seed"] for plain in json.loads(capsys.readouterr().out)] == [7, 7]


def test_csv_has_a_row_a_run(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    call(["report", run, run, "--csv"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2
    row = dict(zip(head.split(","), rows[0].split(","), strict=True))
    assert (row["accepted"], row["service_max_ns"], row["missing"]) == ("100", "50000000", "0")


def test_thresholds_are_judged_long_after_the_run(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["report", run, "--threshold", "p99<11ms"]) is ExitCode.DONE
    assert call(["report", run, "--threshold", "p99<11ms", "--threshold", "max<11ms"]) is ExitCode.VERDICT_FAILED
    out = capsys.readouterr().out
    assert "\nthresholds  measured\n  p99<11ms   10.0 ms  passed\n  max<11ms   50.0 ms  failed\n" in out
    assert call(["report", run, "--threshold", "p9<11ms", "--threshold", "pp<1s"]) is ExitCode.USAGE
    assert "expected a known metric" in capsys.readouterr().err


def test_thresholds_over_a_saturated_generator_are_not_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = made([10] * 100)
    file = saved(tmp_path / "x.json", replace(results, generator=replace(results.generator, limited=True)))
    assert call(["report", file, "--threshold", "p99<1s"]) is ExitCode.NOT_VALID
    assert "the generator was the limit, so these verdicts are not valid" in capsys.readouterr().out


def test_junit_has_a_case_for_each_thing_to_keep_to(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    call(["report", run, "--junit", "--threshold", "p99<11ms", "--threshold", "failed.count>3"])
    (suite,) = ET.fromstring(capsys.readouterr().out)
    assert (suite.get("tests"), suite.get("failures")) == ("5", "1")
    assert [case.get("name") for case in suite.iter("testcase")] == [
        "the measurement is valid",
        "the run is complete",
        "every accepted message arrived once and whole",
        "p99<11ms",
        "failed.count>3",
    ]
    assert [failure.get("message") for failure in suite.iter("failure")] == ["measured: 0"]


def test_markdown_cannot_be_led_astray_by_a_name(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = read_results(Path(run))
    rude = saved(tmp_path / "rude.json", replace(results, run=replace(results.run, target="a|<b>:25")))
    call(["report", rude, run, "--markdown", "--threshold", "max<1ms"])
    out = capsys.readouterr().out
    assert "| target | a&#124;&#60;b&#62;:25 | embedded sink |" in out
    assert "- ❌ max&#60;1ms: 50.0 ms" in out


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["report", "none.json"]) is ExitCode.NOT_COMPARABLE
    assert 'cannot read results from "none.json"' in capsys.readouterr().err


# -- compare --------------------------------------------------------------------------------------------


def test_two_runs_have_ratios_without_an_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = saved(tmp_path / "a.json", made([10] * 100)), saved(tmp_path / "b.json", made([12] * 100, run=2))
    assert call(["compare", a, b]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "  throughput         100/s   83.3/s  0.833×\n" in out
    assert "too few for an interval" in out


def test_eight_runs_a_side_have_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, service in (("a", 10), ("b", 20)):
        (tmp_path / side).mkdir()
        for number in range(8):
            results = made([service] * (100 + number), run=number, begun_s=number, plan=PLAN)
            saved(tmp_path / side / f"{number}.json", results)
    call(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    compared = json.loads(capsys.readouterr().out)
    throughput = compared["quantities"][0]
    assert (throughput["name"], round(throughput["ratio"], 3)) == ("throughput", 0.5)
    assert throughput["interval"] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (made([10], plan=replace(PLAN, seed=8)), "its plan has seed '8' instead of '7'"),
        (made([10], plan=replace(PLAN, sessions=3)), "its plan has sessions '3' instead of '20'"),
        (made([10], plan=replace(PLAN, load=OpenLoop(5))), "its plan has load \"{'rate_per_s': 5"),
        (replace(made([10]), host=Host("3.11.7", "Linux", 64)), "another kind of machine, 64 CPUs"),
        (replace(made([10]), complete=False), "is not complete"),
        (replace(made([10]), valid=False), "is not valid"),
    ],
)
def test_what_is_not_comparable_is_refused(
    other: Results, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = saved(tmp_path / "a.json", made([10])), saved(tmp_path / "b.json", other)
    assert call(["compare", a, b]) is ExitCode.NOT_COMPARABLE
    assert words in capsys.readouterr().err


def test_an_empty_directory_is_named(tmp_path: Path, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["compare", run, str(tmp_path / "none")]) is ExitCode.NOT_COMPARABLE
    (tmp_path / "empty").mkdir()
    assert call(["compare", run, str(tmp_path / "empty")]) is ExitCode.NOT_COMPARABLE
    assert "got none" in capsys.readouterr().err


# -- merge ----------------------------------------------------------------------------------------------


def test_a_part_that_did_not_finish_leaves_the_whole_unfinished(tmp_path: Path) -> None:
    parts = [made([10] * 40), replace(made([10] * 40, run=2), complete=False)]
    out = tmp_path / "both.json"
    files = [saved(tmp_path / f"{index}.json", part) for index, part in enumerate(parts)]
    assert call(["merge", *files, "-o", str(out)]) is ExitCode.DONE
    both = read_results(out)
    assert (both.complete, both.valid, both.stopped_by) == (False, False, StoppedBy.UNFINISHED)


def test_merged_results_are_those_of_one_run_of_all(tmp_path: Path) -> None:
    one, other = made([10, 20, 950] * 40), made([30, 40] * 40, run=2, begun_s=2)
    out = tmp_path / "both.json"
    files = [saved(tmp_path / "1.json", one), saved(tmp_path / "2.json", other)]
    assert call(["merge", *files, "-o", str(out)]) is ExitCode.DONE
    both = read_results(out)
    assert (both.messages.started, both.messages.accepted, both.messages.rejected_temporary) == (200, 160, 40)
    assert both.histograms["service"] == one.histograms["service"] + other.histograms["service"]
    assert both.domain_histograms["gmail.com"] == both.histograms["service"]
    assert both.latency_ns["service"] is not None
    assert both.latency_ns["service"].p99 == both.histograms["service"].quantile_ns(0.99)
    assert both.replies[0].count == 200
    assert both.failures[0].count == 2
    assert both.run.duration_s == pytest.approx(39.2)
    assert both.rate.messages_per_s == pytest.approx(160 / 39.2)
    assert both.domains["gmail.com"].weight == pytest.approx(1.0)
    assert [worker.worker for worker in both.generator.workers] == [0, 1]
    assert both.plan["sessions"] == 40
    assert both.ledger is None
    # second 2 of the first is second 0 of the other
    assert both.timeline[2].accepted == one.timeline[2].accepted + other.timeline[0].accepted
    assert both.timeline[2].p99_ns == max(one.timeline[2].p99_ns or 0, other.timeline[0].p99_ns or 0)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (made([10] * 100, run=2, begun_s=60), "expected runs that overlap in time"),
        (made([10] * 100), "got one twice"),
        (made([10] * 100, run=2, plan=replace(PLAN, workload=Workload())), "with a different workload"),
    ],
)
def test_what_is_no_part_of_the_same_load_is_refused(
    other: Results, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [saved(tmp_path / "1.json", made([10] * 100)), saved(tmp_path / "2.json", other)]
    assert call(["merge", *files]) is ExitCode.NOT_COMPARABLE
    assert words in capsys.readouterr().err
