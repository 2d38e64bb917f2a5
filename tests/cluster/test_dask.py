"""The same by Dask: a scheduler and its workers as they really are, in network namespaces where those may be made."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from distributed import Scheduler, SpecCluster, Worker

import trafficgen
from tests.cluster.namespaces import HostsByDask, NamespacedHost, hosts_by_dask, set_clock
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for
from trafficgen import Progress
from trafficgen.cli.program import call
from trafficgen.cluster.coordinator import Cluster
from trafficgen.cluster.dask_engine import DaskEngine
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import ExitCode, SetupError
from trafficgen.host.signals import RunControl
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.results import Results
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import OpenLoop, TcpTarget

pytestmark = pytest.mark.filterwarnings("default")  # what Dask and tornado leave to the garbage collector is theirs

NS_PER_S = 10**9
MESSAGES = 2_000


def kill_a_worker(there: HostsByDask, host: NamespacedHost) -> None:
    host.kill()


def cut_a_host_off(there: HostsByDask, host: NamespacedHost) -> None:
    host.cut_off()


def kill_the_scheduler(there: HostsByDask, host: NamespacedHost) -> None:
    there.scheduler_process.kill()


@pytest.fixture(scope="module")
def there() -> Iterator[HostsByDask]:
    """Dear to start, so there is one: each test below that loses a host leaves the others to the next, and the last one
    loses the scheduler."""
    with hosts_by_dask(4) as hosts:
        yield hosts


def test_four_hosts_send_every_message_of_one_machine_once(there: HostsByDask) -> None:
    """One of them has a clock that is 3 s ahead, behind 80 ms of network where that can be made."""
    far = there.hosts[0].slow_down("80ms")
    with closing(DaskEngine(there.scheduler, 4)) as engine, private_sink(TcpTarget(there.address, 0)) as sink:
        skewed = engine.hosts.index(there.hosts[0].url)
        set_clock(engine, there.hosts[0].url, 3 * NS_PER_S)
        plan = plan_for(sink.target, messages=MESSAGES, sessions=8, seed=7, load=OpenLoop(1_000.0))
        results = Cluster(engine, 5 * NS_PER_S).run(plan)
        arrived = sink.arrivals(plan.run_id)
    assert counts(results) == Counts(accepted=MESSAGES)
    assert arrived.numbers.tolist() == list(range(MESSAGES))
    assert (arrived.counts == 1).all()
    assert not arrived.damaged
    assert [one.number for one in results.shards] == [1, 2, 3, 4]
    for index, one in enumerate(results.shards):
        # All have this machine's clock but for what was set: whatever else is found is error.
        assert one.clock_offset_ns is not None
        assert one.clock_error_ns is not None
        assert abs(one.clock_offset_ns - 3 * NS_PER_S * (index == skewed)) <= one.clock_error_ns
    if far:
        assert (results.shards[skewed].clock_error_ns or 0) >= 40_000_000


@pytest.mark.parametrize("blow", [kill_a_worker, cut_a_host_off, kill_the_scheduler])
def test_whatever_is_lost_the_account_is_whole(
    there: HostsByDask, blow: Callable[[HostsByDask, NamespacedHost], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trafficgen.cluster.coordinator._LOST_NS", 4 * NS_PER_S)
    struck: list[int] = []
    with private_sink(TcpTarget(there.address, 0)) as sink, closing(DaskEngine(there.scheduler, 2)) as engine:
        plan = plan_for(sink.target, duration_s=600, sessions=4, load=OpenLoop(300.0), grace_s=2)
        (host,) = (one for one in there.hosts if one.url == engine.hosts[0])

        def see(now: Progress) -> None:
            if len(now.snapshot.workers) == 2 and now.snapshot.accepted > 50 and not struck:
                struck.append(now.snapshot.accepted)
                blow(there, host)

        results = Cluster(engine, 5 * NS_PER_S).run(plan, progress=see)
        arrived = sink.arrivals(plan.run_id)
    found = counts(results)
    assert struck
    assert not results.valid
    assert results.stopped_by is StoppedBy.WORKER_LOST
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID
    assert CaveatKind.SHARD_LOST in {caveat.kind for caveat in results.caveats}
    assert results.messages.planned == 180_000
    assert found.accepted <= arrived.numbers.size <= found.accepted + found.in_doubt
    assert (arrived.counts == 1).all()  # nothing was sent again


def test_a_cluster_of_this_machine_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with private_sink() as sink:
        words = f"send --target 127.0.0.1:{sink.port} --message-count 100 --concurrency 4 --workers 1 --body-size 1kb"
        code = call([*words.split(), "--cluster", "local:2", "--clock-error", "5s", "--json", str(tmp_path / "r.json")])
    captured = capsys.readouterr()
    assert code == ExitCode.DONE, captured.err
    assert "shards   all 2; first starts" in captured.out
    assert json.loads((tmp_path / "r.json").read_text())["messages"]["accepted"] == 100


def test_a_gate_makes_its_runs_by_a_cluster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command line to the engine: a cluster that is opened once, and makes the first run; then the test has seen
    enough."""
    made: list[Results] = []

    def run(self: Cluster, plan: ResolvedPlan, **given: object) -> Results:
        assert len(self.engine.hosts) == 2
        made.append(trafficgen.run(plan))
        raise SetupError("seen enough")

    monkeypatch.setattr(Cluster, "run", run)
    with private_sink() as sink:
        where = f"127.0.0.1:{sink.port}"
        words = f"gate --a {where} --b {where} --whole-runs -- --message-count 40 --concurrency 4 --cluster local:2"
        assert call(words.split()) == ExitCode.FAILED
    assert "seen enough" in capsys.readouterr().err
    assert made[0].messages.accepted == 40


def test_nobody_at_home_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trafficgen.cluster.dask_engine._CONNECT_S", 1.0)
    with pytest.raises(SetupError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        DaskEngine("tcp://127.0.0.1:9")


def unreachable() -> None:
    raise OSError("Name or service not known")


def not_installed() -> None:
    raise ImportError("asyncssh is to be installed")


def over_ssh(workers: int, scheduler: Callable[[], object] = Scheduler) -> Callable[..., SpecCluster]:
    """What Dask makes of hosts, here in this process."""
    inside = {"protocol": "inproc://", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    options = inside if scheduler is Scheduler else {}
    spec = {"cls": Worker, "options": inside | {"nthreads": 1}}
    return lambda _hosts, **_given: SpecCluster(
        dict.fromkeys(range(workers), spec), {"cls": scheduler, "options": options}, asynchronous=True
    )


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (unreachable, r"cannot start Dask over SSH at a\.lab, b\.lab: .*Name or service not known"),
        (not_installed, r"ssh: needs asyncssh, which Dask uses: asyncssh is to be installed"),
    ],
)
def test_hosts_that_ssh_cannot_reach_are_one_line(
    scheduler: Callable[[], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text("a.lab\nb.lab\n")
    monkeypatch.setattr("trafficgen.cluster.dask_engine.SSHCluster", over_ssh(2, scheduler))
    with pytest.raises(SetupError, match=words):
        DaskEngine(f"ssh:{tmp_path / 'hosts'}")


def test_all_hosts_of_a_file_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being told how many: it began with those that were there first."""
    (tmp_path / "hosts").write_text("a.lab\nb.lab\n")
    monkeypatch.setattr("trafficgen.cluster.dask_engine.SSHCluster", over_ssh(1))
    monkeypatch.setattr("trafficgen.cluster.dask_engine._PATIENCE_S", 0.2)
    with pytest.raises(SetupError, match="expected 2 workers at ssh:"):
        DaskEngine(f"ssh:{tmp_path / 'hosts'}")


def test_what_ssh_starts_ends_with_its_connection() -> None:
    command = [
        sys.executable,
        "-u",
        "-m",
        "trafficgen.cluster.over_ssh",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "0",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert "Serving HTTP on 127.0.0.1" in process.stdout.readline()
            process.stdin.close()
            assert process.wait(60) == 1
        finally:
            process.kill()


def test_whoever_is_no_scheduler_is_one_line() -> None:
    with private_sink() as sink, pytest.raises(SetupError, match=r"what answers at tcp://\S+ is no Dask scheduler"):
        DaskEngine(f"tcp://127.0.0.1:{sink.port}")


@pytest.mark.parametrize("wishes", [1, 2])
def test_ctrl_c_ends_the_waiting_for_a_scheduler(wishes: int) -> None:
    """One that takes connections and says nothing."""
    control = RunControl()
    with ExitStack() as stack:
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def take() -> None:
            stack.enter_context(mute.accept()[0])
            for _ in range(wishes):
                control.stop()

        answered = threading.Thread(target=take)
        answered.start()
        with pytest.raises(KeyboardInterrupt):
            DaskEngine(f"tcp://127.0.0.1:{mute.getsockname()[1]}", None, control)
        answered.join()


@pytest.mark.parametrize("where", ["local:0", "local:x", "tcp://host", "kubernetes", "ssh:"])
def test_a_place_that_is_none_is_refused(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["send", "--target", "127.0.0.1:25", "--message-count", "10", "--cluster", where]) == ExitCode.USAGE
    assert "expected local:N, tcp://SCHEDULER:PORT" in capsys.readouterr().err
