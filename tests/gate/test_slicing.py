"""Gates by slices with real runs against real servers, both up at the same time."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gate.test_real_gate import server
from tests.peers.running import plan_for
from tests.peers.scripted import Script, scripted
from tests.verdict.blocks import served
from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.errors import ExitCode, ResultsError, SetupError
from trafficgen.gate.builds import Build
from trafficgen.gate.slicing import SlicedLoad, _Budget, run_slices
from trafficgen.gate.trials import RecordFile
from trafficgen.host.cpu_time import CpuReading, shares
from trafficgen.plan import OpenLoop, TcpTarget
from trafficgen.report.sliced import queues_in_words, served_in_words
from trafficgen.verdict.gating import Side
from trafficgen.verdict.reading import parse_metric
from trafficgen.verdict.rule import Verdict
from trafficgen.verdict.sequence import LOOKS, SliceDesign
from trafficgen.verdict.slices import Block, Bounds

ANY: Bounds = Bounds(others=9.0, lag_ns=10**12, generator=9.0)
"""Tests share their machine with others: nothing is left out."""

DESIGN = SliceDesign(
    (parse_metric("throughput:20%"),), seed=5, budget_ns=60 * NS_PER_S,
    slice_ns=80 * NS_PER_MS, skip_ns=40 * NS_PER_MS, bounds=ANY,
)  # fmt: skip
HEAD = {"plan": {"seed": 1}, "design": {"seed": 5}}


def load_for(a: TcpTarget, b: TcpTarget, **words: object) -> SlicedLoad:
    plan = replace(plan_for(None, messages=1, sessions=2, workers=1), **words)  # type: ignore[arg-type]
    return SlicedLoad(plan, {Side.A: Build(a), Side.B: Build(b)})


@contextmanager
def two(a_ms: int, b_ms: int) -> Iterator[tuple[TcpTarget, TcpTarget]]:
    with server(a_ms) as a, server(b_ms) as b:
        yield a, b


def test_a_build_that_takes_four_times_as_long_fails(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "gate.jsonl"
    with two(4, 16) as (a, b):
        file = RecordFile(path, HEAD, Block)
        ended = run_slices(DESIGN, load_for(a, b), file, notice=lines.append)
        # Called again with the same file, it has nothing to serve.
        again = run_slices(DESIGN, load_for(a, b), RecordFile(path, HEAD, Block))
    assert (ended.verdict, ended.code) == (Verdict.FAIL, ExitCode.VERDICT_FAILED)
    assert ended.judgement is not None
    (throughput,) = ended.judgement.comparisons
    assert throughput.ratio < 0.6
    assert (again.verdict, again.reason) == (ended.verdict, ended.reason)
    assert lines[0].startswith("a pair of slices is left out when in either of them more than 900% of")
    blocks = [line for line in lines if line.startswith("block ")]
    assert len(blocks) == len(file.records)
    assert len(blocks) in LOOKS
    assert blocks[0].startswith(f"block 1, {' '.join(side.name for side in DESIGN.order(0))}, ")
    assert re.search(r"\bthroughput \d[^;]* and \d", blocks[0])
    assert {one.metric.name for one in ended.others} >= {"p50", "p99"}
    used = file.records[0].used
    assert used["a"].keys() == used["b"].keys() >= {"server.cpu", "server.switches"}
    for block in file.records:
        assert [one.side for one in block.slices] == list(DESIGN.order(file.records.index(block)))
        assert all(one.latencies["latency"].count == one.accepted for one in block.slices)


def test_a_domain_of_its_own_is_a_metric() -> None:
    metric = parse_metric("domain{gmail.com}.p50:30%")
    with two(4, 24) as (a, b):
        file = RecordFile(None, HEAD, Block)
        ended = run_slices(replace(DESIGN, metrics=(metric,)), load_for(a, b), file)
    assert ended.verdict is Verdict.FAIL, ended.reason
    for block in file.records:
        for one in block.slices:
            assert 0 <= one.latencies["domain{gmail.com}"].count <= one.latencies["latency"].count
    assert sum(one.latencies["domain{gmail.com}"].count for block in file.records for one in block.slices)
    (compared,) = ended.judgement.comparisons if ended.judgement else ()
    assert compared.ratio > 2


def test_whose_queue_grew_is_said(tmp_path: Path) -> None:
    queues = {side: tmp_path / side.value for side in Side}
    for queue in queues.values():
        for name in ("incoming", "active", "deferred/A"):
            (queue / name).mkdir(parents=True)
        (queue / "deferred/A/AB12").touch()

    before: list[str] = []

    def more(line: str) -> None:
        if "holds" in line:
            before.append(line)
        if line.startswith("block "):
            (queues[Side.B] / "incoming" / f"X{line.split(',')[0][6:]}").touch()

    with two(4, 16) as (a, b):
        load = load_for(a, b)
        builds = {side: replace(build, queue=queues[side]) for side, build in load.builds.items()}
        file = RecordFile(tmp_path / "state", HEAD, Block)
        ended = run_slices(DESIGN, replace(load, builds=builds), file, notice=more)
        assert before == [f"{name}'s queue holds 1 message before the first slice" for name in "AB"]
        grew = len(file.records) - 1
        assert [block.queued for block in file.records[:2]] == [{"a": 1, "b": 1}, {"a": 1, "b": 2}]
        assert RecordFile(tmp_path / "state", HEAD, Block).records[1].queued == {"a": 1, "b": 2}
        assert queues_in_words(ended) == f"A's queue did not grow, B's queue grew by {grew} messages"
        assert queues_in_words(replace(ended, counted=())) is None
        gone = replace(load, builds={**builds, Side.A: replace(builds[Side.A], queue=tmp_path / "none")})
        with pytest.raises(SetupError, match=r"cannot look at the queue .*: no such file or directory"):
            run_slices(DESIGN, gone, RecordFile(None, HEAD, Block))


def test_a_build_whose_queue_grows_fails(tmp_path: Path) -> None:
    """A hands on what it takes; of B's mail much stays."""
    queues = {side: tmp_path / side.value for side in Side}
    for queue in queues.values():
        for name in ("incoming", "active", "deferred"):
            (queue / name).mkdir(parents=True)

    def more(line: str) -> None:
        if line.startswith("block "):
            for number in range(10):
                (queues[Side.B] / f"deferred/{line.split(',')[0][6:]}-{number}").touch()

    metric = parse_metric("queue.delivered:5%")
    design = replace(DESIGN, metrics=(metric,), slice_ns=30 * NS_PER_MS, skip_ns=10 * NS_PER_MS)
    with two(4, 4) as (a, b):
        load = load_for(a, b)
        builds = {side: replace(build, queue=queues[side]) for side, build in load.builds.items()}
        ended = run_slices(design, replace(load, builds=builds), RecordFile(None, HEAD, Block), notice=more)
    assert ended.verdict is Verdict.FAIL, ended.reason
    assert ended.judgement is not None
    assert ended.judgement.comparisons[0].median_a == 1
    (line,) = [one for one in served_in_words(ended, design) if "queue" in one]
    assert line.startswith("A's queue did not grow, B's queue grew by ")


def test_the_budget_is_of_all_that_passes_and_the_next_block_must_fit() -> None:
    with two(4, 4) as (a, b):
        late = now_ns() - DESIGN.budget_ns
        ended = run_slices(DESIGN, load_for(a, b), RecordFile(None, HEAD, Block), began_ns=late)
        assert (ended.verdict, ended.counted) == (Verdict.INCONCLUSIVE, ())
        assert ended.reason.startswith("the time was up after 0 blocks")
        file = RecordFile(None, HEAD, Block)
        almost = now_ns() - DESIGN.budget_ns + 20 * DESIGN.block_ns
        ended = run_slices(DESIGN, load_for(a, b), file, began_ns=almost)
    assert len(file.records) < 20, "starting both runs, and the first slices, take of the time"
    assert all(one.spent_s > 45 for one in file.records), "what was spent before counts"
    slow = replace(file.records[-1], lasted_s=40.0, spent_s=40.0) if file.records else None
    assert slow is None or _Budget(DESIGN, [slow], now_ns()).is_up, "60 s, of which 40 are spent, have no room for 40"


def test_under_a_fixed_rate_the_throughput_is_the_same_and_the_latency_is_not() -> None:
    with two(2, 30) as (a, b):
        design = replace(DESIGN, metrics=(parse_metric("p50:30%"),))
        load = load_for(a, b, load=OpenLoop(50.0), sessions=10)
        ended = run_slices(design, load, RecordFile(None, HEAD, Block))
    assert ended.verdict is Verdict.FAIL
    (throughput,) = [one for one in ended.others if one.metric.name == "throughput"]
    assert 0.7 < throughput.ratio < 1.4


def test_a_build_that_refuses_mail_fails_at_once() -> None:
    class Refuses(Script):
        def end_of_data(self) -> None:
            self.say("452 4.3.1 full")

    with scripted(Script) as good, scripted(Refuses) as bad:
        a, b = (TcpTarget("127.0.0.1", one.port) for one in (good, bad))
        file = RecordFile(None, HEAD, Block)
        ended = run_slices(DESIGN, load_for(a, b), file)
        assert ended.verdict is Verdict.FAIL
        assert " refused" in ended.reason
        assert len(file.records) == 1
        assert run_slices(DESIGN, load_for(b, a), RecordFile(None, HEAD, Block)).code is ExitCode.NOT_VALID


def test_a_run_that_cannot_begin_says_why() -> None:
    with server(2) as a, pytest.raises(SetupError, match="cannot hold 1000000 sessions"):
        run_slices(DESIGN, load_for(a, a, sessions=1_000_000), RecordFile(None, HEAD, Block))


def test_a_state_of_another_gate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.jsonl"
    RecordFile(path, HEAD, Block)
    with pytest.raises(ResultsError, match="its design differs"):
        RecordFile(path, {**HEAD, "design": {"seed": 6}}, Block)


@pytest.mark.parametrize(
    ("place", "bad", "words"),
    [
        (("slices", 3, "accepted"), -1.0, r"slices\[3\].accepted: expected float >= 0.0, got -1.0"),
        (("slices", 0, "seconds"), -0.5, r"slices\[0\].seconds: expected float >= 0.0"),
        (("slices", 0, "disturbance", "late_ns"), -1, "late_ns: expected int >= 0"),
        (("harm", "c"), "500 refused", 'harm: expected as key .*, got "c"'),
        (("queued", "b\n"), 1, "queued: expected as key"),
        (("used", "A"), {}, "used: expected as key"),
        (("messages", "b"), -1, "messages.b: expected int >= 0, got -1"),
        (("spent_s",), -1.0, "spent_s: expected float >= 0.0, got -1.0"),
    ],
)
def test_a_state_whose_last_block_nobody_can_have_measured_is_refused(
    tmp_path: Path, place: tuple[str | int, ...], bad: object, words: str
) -> None:
    path = tmp_path / "gate.jsonl"
    file = RecordFile(path, HEAD, Block)
    for one in served(2, lambda _number, _side: 1000.0, DESIGN):
        file.add(one)
    assert RecordFile(path, HEAD, Block).records == file.records
    head, first, last = path.read_text().splitlines()
    damaged = at = json.loads(last)
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = bad
    path.write_text("\n".join([head, first, json.dumps(damaged), ""]))
    with pytest.raises(ResultsError, match=words):
        RecordFile(path, HEAD, Block)


# -- whose CPU time it was ------------------------------------------------------------------------------


def test_what_is_neither_ours_nor_a_builds_is_foreign() -> None:
    me, init, build, child, other = range(
        os.getpid(), os.getpid() + 5
    )  # in a container this process may be any of 1 to 9
    before = CpuReading(
        all=1000,
        used=500,
        stolen=10,
        processes={me: (init, 100), build: (init, 50), child: (build, 5), other: (init, 30)},
    )
    after = CpuReading(
        all=1200,
        used=620,
        stolen=30,
        processes={me: (init, 130), build: (init, 60), child: (build, 15), other: (init, 90)},
    )
    assert shares(before, after, {build}) == (0.1, (120 - 30 - 10 - 10) / 200)
    assert shares(before, after, {build, child, other}) == (0.1, (120 - 30 - 10 - 10 - 60) / 200)
    assert shares(before, after, None) == (0.1, None)
    assert shares(None, after, {build}) == (0.0, None)


def test_this_process_is_its_own() -> None:
    now = CpuReading.now()
    if now is not None:
        assert now.of({os.getpid()}) <= now.of({1, os.getpid()}) <= now.all
        assert os.getpid() in now.processes
