"""A gate by slices by several hosts: they turn at the same instants, and a slice is what all of them served."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.engines import HostsHere, hosts_here
from tests.gate.test_real_gate import server
from tests.gate.test_slicing import ANY, HEAD, load_for
from tests.gate.test_slicing import DESIGN as ONE_MACHINE
from tests.peers.private_sink import PrivateSink, private_sink
from trafficgen.cli.program import call
from trafficgen.clock import NS_PER_MS, now_ns
from trafficgen.cluster import coordinator, slices, words
from trafficgen.cluster.clocks import Clock
from trafficgen.cluster.coordinator import Cluster
from trafficgen.cluster.slices import ClusterSlices, better
from trafficgen.cluster.turns import ClusterTurns
from trafficgen.errors import ExitCode, SetupError, StoppedError
from trafficgen.gate.slicing import SlicedLoad, _plans, run_slices
from trafficgen.gate.trials import RecordFile
from trafficgen.host.signals import RunControl
from trafficgen.plan import TcpTarget
from trafficgen.runs.slices import SideCounts, SliceTimes
from trafficgen.verdict.gating import Side
from trafficgen.verdict.slices import Block

A, B = Side.A, Side.B
ALLOWED_NS = 5_000 * NS_PER_MS

DESIGN = replace(ONE_MACHINE, slice_ns=60 * NS_PER_MS, skip_ns=120 * NS_PER_MS)
"""Nothing is left out, for this machine is busy with other tests; half of the first part is what a clock may be wrong
by, and of eight questions the quickest is answered sooner."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders of these hosts are not long on their way."""
    monkeypatch.setattr(slices, "_LEAD_NS", 100 * NS_PER_MS)
    monkeypatch.setattr(coordinator, "_LEAD_NS", 1_000 * NS_PER_MS)


def tcp(sink: PrivateSink) -> TcpTarget:
    return TcpTarget("127.0.0.1", sink.port)


def slices_by(engine: HostsHere, load: SlicedLoad, gate: RunControl) -> ClusterSlices:
    return ClusterSlices(Cluster(engine, ALLOWED_NS), DESIGN, _plans(DESIGN, load), None, gate)


def test_a_slower_build_fails_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("trafficgen.verdict.slices", "trafficgen.cluster.slices"):
        monkeypatch.setattr(f"{where}.most_late_ns", lambda _skip_ns: 1_000 * NS_PER_MS)  # this machine is busy
    monkeypatch.setattr("trafficgen.verdict.slices.Bounds", lambda late_ns: replace(ANY, late_ns=late_ns))
    files = {name: tmp_path / f"gate.{name}" for name in ("json", "html", "state")}
    arguments = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    with server(4) as a, server(40) as b:
        gate = ["gate", "--a", str(a), "--b", str(b), "--slice", "120ms", "--budget", "10m", *arguments]
        gate += ["--", "--cluster", "local:2", "--clock-error", "1s", "--concurrency", "4", "--workers", "1"]
        assert call(gate) is ExitCode.VERDICT_FAILED
        shown = capsys.readouterr()
    # The same again needs nobody who listens, and no cluster: all blocks are in the file.
    assert call(gate) is ExitCode.VERDICT_FAILED
    assert capsys.readouterr().out == shown.out
    assert shown.out.startswith("FAIL\n  after ")
    assert "or a shard took its turn more than 1000 ms late by the common clock" in shown.err
    plain = json.loads(files["json"].read_text())
    assert {"".join(one["side"] for one in block["slices"]) for block in plain["blocks"]} <= {"abba", "baab"}
    for block in plain["blocks"]:
        assert all(len(one["shards"]) == 2 for one in block["slices"])
        assert all(one["late_ns"] == max(shard["late_ns"] for shard in one["shards"]) for one in block["slices"])
    assert "FAIL" in files["html"].read_text()


def test_hosts_turn_together_by_their_own_clocks_and_an_interrupted_gate_has_its_whole_account() -> None:
    gate = RunControl()
    with (
        private_sink() as a,
        private_sink() as b,
        hosts_here(2, skews_ns=(3_000 * NS_PER_MS, -2_000 * NS_PER_MS)) as engine,
    ):
        with slices_by(engine, load_for(tcp(a), tcp(b)), gate) as generator:
            served = [generator.serve((A, B), None), generator.serve((A, B, B, A), set())]
            gate.stop()
            with pytest.raises(KeyboardInterrupt):
                generator.serve((B,), None)
        results = {side: run.end() for side, run in generator._runs.items()}
        received = {A: a.received, B: b.received}
    assert [one.side for one in served[1].slices] == [A, B, B, A]
    for one in served[1].slices:
        assert len(one.shards) == 2
        assert one.accepted == one.latencies["latency"].count > 0
        assert one.disturbance.late_ns < 2_000 * NS_PER_MS, "neither clock was taken for right"
    for side in Side:
        before, after = served[1].before[side], served[1].after[side]
        assert served[0].after[side].accepted <= before.accepted
        assert sum(one.accepted for one in served[1].slices if one.side is side) <= after.accepted - before.accepted
        assert after.accepted <= results[side].messages.accepted == received[side], "each once, and none after it"
        assert results[side].messages.in_doubt == 0
        assert results[side].valid
        assert [one.number for one in results[side].shards] == [1, 2]


def test_a_shard_that_is_killed_ends_the_gate_as_not_valid(tmp_path: Path) -> None:
    with server(2) as a, server(2) as b, hosts_here(2) as engine:

        def kill(line: str) -> None:
            if line.startswith("block 2,"):
                process = next(iter(engine.here["host1"]._taken.values()))
                assert process is not None
                process._process.send_signal(signal.SIGKILL)

        file = RecordFile(tmp_path / "state", HEAD, Block)
        generators: Any = lambda design, plans, wait, gate: ClusterSlices(  # noqa: E731
            Cluster(engine, ALLOWED_NS), design, plans, wait, gate
        )
        ended = run_slices(DESIGN, load_for(a, b), file, notice=kill, generators=generators)
        left = [
            one._process.wait(30) for host in engine.here.values() for one in host._taken.values() if one is not None
        ]
    assert (ended.verdict, ended.code) == (None, ExitCode.NOT_VALID)
    assert "shard 2" in ended.reason
    assert "was lost" in ended.reason
    assert len(file.records) == len(ended.counted) == 2
    assert len(left) == 4, "a shard of each side on each host, and none goes on"


# -- the common clock -----------------------------------------------------------------------------------


def test_a_clock_that_is_not_known_well_enough_for_such_slices_is_refused_before_anything_begins() -> None:
    with hosts_here(2, delays_s=(0.0, 0.07)) as engine:
        nobody = TcpTarget("127.0.0.1", 1)
        words_of = (
            r"the clock of shard 2 is known to \d+\.\d ms only, and two such errors must fit .*, 120 ms: serve longer"
        )
        with pytest.raises(SetupError, match=words_of), slices_by(engine, load_for(nobody, nobody), RunControl()):
            raise AssertionError
        assert {what for _, what in engine.asked} == {"clock"}


def test_a_clock_is_taken_for_set_when_both_readings_cannot_be_true() -> None:
    assert better(Clock(1_000, 50), Clock(1_040, 80)) == Clock(1_000, 50)
    assert better(Clock(1_000, 50), Clock(1_040, 50)) == Clock(1_040, 50)
    assert better(Clock(1_000, 50), Clock(2_000, 80)) == Clock(2_000, 80)


def test_a_host_whose_clock_was_set_is_late_by_as_much_and_asked_again() -> None:
    """Unless the whole change is as small as a clock that is kept by NTP may make it."""
    nobody = TcpTarget("127.0.0.1", 1)
    with hosts_here(2) as engine:
        generator = slices_by(engine, load_for(nobody, nobody), RunControl())
        generator._ask_clocks()

        def said(offset_ns: int) -> words.ShardServed:
            none = SideCounts(0, 0, 0, 0, 0)
            return words.ShardServed(1, (), none, none, offset_ns, 1)

        generator._late_ns("host0", said(7), said(7))
        assert generator._clocks_due_ns > now_ns()
        assert generator._late_ns("host0", said(7), said(3_000 * NS_PER_MS)) >= 2_999 * NS_PER_MS
        assert generator._clocks_due_ns == 0


# -- the handle to a run --------------------------------------------------------------------------------


def order(serial: int) -> words.ServeSlices:
    return words.ServeSlices(serial, 0, (A,), A, SliceTimes(1, 1), ("throughput",), None)


def test_slices_are_there_when_all_hosts_have_said_what_they_served() -> None:
    turns = ClusterTurns()
    orders = {"here": order(1), "there": order(1)}
    answer = turns.serve(orders, now_ns())
    assert turns.orders() == [orders]
    assert turns.orders() == []
    assert turns.due
    none = SideCounts(0, 0, 0, 0, 0)
    said = words.ShardServed(1, (), none, none, 0, 1)
    turns.served("there", said)
    assert not answer.done()
    turns.served("here", said)
    assert answer.result(0) == {"here": said, "there": said}
    assert not turns.due


def test_a_run_that_is_over_serves_nothing_more() -> None:
    turns = ClusterTurns()
    answer = turns.serve({"here": order(1), "there": order(1)}, now_ns() + 10**12)
    assert not turns.due
    turns.close()
    for one in (answer, turns.serve({}, now_ns())):
        with pytest.raises(StoppedError):
            one.result(0)
    none = SideCounts(0, 0, 0, 0, 0)
    for where in ("here", "there"):  # last words change nothing
        turns.served(where, words.ShardServed(1, (), none, none, 0, 1))
    assert turns.begun.is_set()


def test_a_gate_by_a_cluster_needs_a_rate_that_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    gate = ["gate", "--a", "127.0.0.1:1", "--b", "127.0.0.1:2", "--rate", "half", "--", "--cluster", "local:2"]
    assert call(gate) is ExitCode.USAGE
    assert "one machine looks for what A accepts: expected a rate, such as 200/s" in capsys.readouterr().err
