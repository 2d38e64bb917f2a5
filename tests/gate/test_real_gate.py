"""One short gate with real runs against real servers, and what goes with it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.sink.sink_process import sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, SetupError
from trafficgen.gate.builds import Build, answers, running
from trafficgen.measure.host import CpuTime
from trafficgen.plan import TcpTarget, UnixTarget, parse_target
from trafficgen.server.counters import counted, not_counted
from trafficgen.server.usage import Usage, UsageReader, pids_of, read_usage, used_per_1000

LOAD = ["--whole-runs", "--", "--message-count", "30", "--concurrency", "2", "--workers", "1", "--body-size", "1kb"]


@pytest.fixture(autouse=True)
def own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual machine's host that takes a core away makes a gate refuse; here that would only hide what is tested."""
    monkeypatch.setattr(CpuTime, "stolen_share_since", lambda _now, _before: 0.0)


@contextmanager
def server(delay_ms: int, queue: Path | None = None) -> Iterator[TcpTarget]:
    command = [sys.executable, "-m", "tests.gate.slow_server", "0", str(delay_ms), "0", "0", str(queue or "")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        yield TcpTarget("127.0.0.1", int(process.stdout.readline()))
        process.stdin.close()
        process.terminate()


def test_a_server_that_takes_twice_as_long_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, out, history = tmp_path / "gate.jsonl", tmp_path / "gate.json", tmp_path / "history.csv"
    with server(2) as a, server(40) as b:
        arguments = ["--a", str(a), "--b", str(b), "--looks", "6", "--control", "0", "--metric", "throughput:5%"]
        arguments += [
            "--state",
            str(state),
            "--json",
            str(out),
            "--history",
            str(history),
            "--keep",
            str(tmp_path / "runs"),
        ]
        assert call(["gate", *arguments, *LOAD]) is ExitCode.VERDICT_FAILED
        before = capsys.readouterr()
        # The same again makes no further run: all trials are in the file.
        assert call(["gate", *arguments, *LOAD]) is ExitCode.VERDICT_FAILED
        again = capsys.readouterr()
    assert before.out.startswith("FAIL\n  after 6 pairs B is worse than A")
    assert (again.out, again.err) == (before.out, "")
    assert before.err.splitlines()[0].startswith("run 1 of at most 14, discarded pair 1, ")
    assert "server.fsyncs" in before.err.splitlines()[1]  # these servers write nothing
    plain = json.loads(out.read_text())
    assert plain["comparisons"][0]["ratio"] < 0.5
    assert sum(trial["spoiled"] is None for trial in plain["trials"]) == 14
    assert len(list((tmp_path / "runs").glob("*.json"))) == len(plain["trials"])
    assert len(history.read_text().splitlines()) >= 3


def test_a_relay_that_loses_mail_fails_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    # The sink stands for a build that delivers all it takes, the slow server for one that keeps nothing. Both take long
    # enough for the sender to wait: one that is busy all the time is the limit, and then nothing is judged.
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", "--delay", "dot:20ms") as sink, server(20) as forgetful:
        api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
        arguments = ["--a", f"127.0.0.1:{sink.port}", "--b", str(forgetful), "--looks", "6", "--control", "0"]
        waiting = ["--wait-for-delivery", "300ms", "--sink-api", api]
        assert call(["gate", *arguments, *LOAD, *waiting]) is ExitCode.VERDICT_FAILED
    assert re.match(r"FAIL\n  run [12], of B: of 30 messages 30 missing\n", capsys.readouterr().out)


def test_an_interrupt_while_mail_drains_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_s: float) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("trafficgen.proof.waiting.time", SimpleNamespace(sleep=interrupted))
    state = tmp_path / "gate.jsonl"
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", "--delay", "dot:20ms") as sink, server(20) as forgetful:
        api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
        arguments = ["--a", str(forgetful), "--looks", "6", "--control", "0", "--state", str(state)]
        waiting = ["--wait-for-delivery", "1m", "--sink-api", api]
        assert call(["gate", *arguments, *LOAD, *waiting]) is ExitCode.INTERRUPTED
    assert capsys.readouterr().out == ""
    assert len(state.read_text().splitlines()) == 1  # what gate it is, and no trial


def test_commands_bring_a_build_up_and_down(tmp_path: Path, several_addresses: str) -> None:
    with server(0) as target:
        pass
    pid = tmp_path / "pid"
    up = f"exec {shlex.quote(sys.executable)} -m tests.gate.slow_server {target.port} 0 < /dev/zero > /dev/null"
    start = f"sh -c {shlex.quote(f'({up}) & echo $! > {pid}')}"
    build = Build(target, start, f"sh -c {shlex.quote(f'kill $(cat {pid})')}")
    assert not answers(target)
    with running(build):
        assert answers(target)
        assert answers(TcpTarget(several_addresses, target.port))
        usage = read_usage(build)
    assert not answers(target)
    if usage is not None:  # psutil is there
        assert usage.cpu_s > 0
        assert usage.pids


@pytest.mark.parametrize("options", [["--tls"], ["--lmtp"], []])
def test_a_build_is_up_when_it_answers_as_runs_will_talk_to_it(options: list[str]) -> None:
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", *options) as sink:
        api = sink.wait_for(r"API on (http://127\.0\.0\.1:\d+)/")[1]
        assert answers(parse_target(sink.address), tls="--tls" in options)
        if "--tls" not in options:  # the other way round, both wait for the other side to begin
            assert not answers(parse_target(sink.address), tls=True)
        assert answers(parse_target(f"{api}/api/inject/v1"))
        assert not answers(parse_target(f"http://{sink.address}/api/inject/v1"))


@pytest.mark.parametrize(("options", "within_tls"), [(["--tls"], True), (["--starttls"], False)])
def test_a_build_is_waited_for_as_it_will_be_talked_to(
    monkeypatch: pytest.MonkeyPatch, options: list[str], within_tls: bool
) -> None:
    waited_for: list[Build] = []

    def waiting(build: Build) -> None:
        waited_for.append(build)
        raise SetupError("seen enough")

    monkeypatch.setattr("trafficgen.gate.gate.running", waiting)
    call(["gate", "--a", "127.0.0.1:1", "--b", "127.0.0.1:2", *LOAD, *options])
    assert [server.tls for server in waited_for[0].servers] == [within_tls]


def test_a_build_that_nobody_brings_up_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trafficgen.gate.builds._PATIENCE_WITHOUT_COMMANDS_S", 0)
    said = "no server greets at 127.0.0.1:1 after 0 s; is it up\\? --a-start and --b-start bring one up"
    with pytest.raises(SetupError, match=said), running(Build(TcpTarget("127.0.0.1", 1))):
        pass


@pytest.mark.parametrize("command", ["false", "no-such-command", "'unbalanced"])
def test_a_build_that_does_not_come_up_is_named(command: str) -> None:
    with (
        pytest.raises(SetupError, match=command.strip("'")),
        running(Build(TcpTarget("127.0.0.1", 1), command, "true")),
    ):
        pass


def test_a_public_address_is_refused_before_anything_connects(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        call(["gate", "--a", "192.0.2.1", "--b", "8.8.8.8", "--looks", "6", "--control", "0", *LOAD]) is ExitCode.USAGE
    )
    assert "--allow-public-target" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected the address of the build to compare with (--a)"),
        (["--a", "127.0.0.1", "--a-start", "x"], "(--a-stop)"),
        (["--a", "127.0.0.1", "--looks", "8,x"], 'got "8,x" (--looks)'),
        (["--a", "127.0.0.1", "--looks", "4"], "can never show anything"),
        (["--a", "127.0.0.1", "--metric", "speed"], "expected a known metric"),
        (["--a", "127.0.0.1", "--control", "3"], "8 to 300 control pairs"),
        (["--a", "127.0.0.1", "--", "--target", "127.0.0.1"], "here and in the scenario (--target)"),
        (["--a", "127.0.0.1", "--", "--threshold", "p99<1s"], "margins in place of thresholds"),
        (["--a", "127.0.0.1", "--", "--json", "run.json"], "keeps their results with --keep"),
        (["--a", "127.0.0.1", "--", "--before", "./up"], "with --a-start and --b-start"),
        (["--a", "127.0.0.1", "--", "--live-port", "0"], "shows none of them"),
        (["--a", "127.0.0.1", "--", "--wait-for-delivery", "1s"], "--sink-api and --wait-for-delivery together"),
    ],
)
def test_a_gate_that_makes_no_sense(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["gate", *arguments]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


# -- the second channel ---------------------------------------------------------------------------------


def test_a_cgroup_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "io.stat").write_text("8:0 rbytes=1 wbytes=4096 rios=1\n8:16 wbytes=1000\n")
    before = read_usage(Build(None, cgroup=str(tmp_path)))
    assert before == Usage(2.5, 5096, None)
    (tmp_path / "cpu.stat").write_text("usage_usec 4500000\n")
    (tmp_path / "io.stat").unlink()
    after = read_usage(Build(None, cgroup=str(tmp_path)))
    assert used_per_1000(before, after, 4_000, {}) == {"server.cpu": 0.5}
    assert read_usage(Build(None, cgroup=str(tmp_path / "none"))) is None


def test_octets_of_processes_that_ended_are_not_guessed() -> None:
    before, after = Usage(1.0, 100, 10, frozenset({1, 2})), Usage(2.0, 50, 30, frozenset({1}))
    assert used_per_1000(before, after, 1_000, {}) == {"server.cpu": 1.0}
    stayed = Usage(2.0, 1_100, 30, frozenset({1, 2, 3}))
    assert used_per_1000(before, stayed, 1_000, {}) == {
        "server.cpu": 1.0,
        "server.written": 1000.0,
        "server.switches": 20.0,
    }
    assert used_per_1000(None, after, 1_000, {}) == used_per_1000(before, after, 0, {}) == {}


def fake_perf(directory: Path, script: str) -> None:
    """A program of that name, which speaks perf's part: order in, answer out, a table when it is interrupted."""
    program = directory / "perf"
    program.write_text(f"#!{sys.executable}\nimport os, re, signal, sys\nwords = sys.argv\n{script}")
    program.chmod(0o755)


COUNTS = """
if "--control" not in words:  # whether it may count
    REFUSAL
    sys.exit(0)
orders, answers = map(int, re.fullmatch("fd:(.*),(.*)", words[words.index("--control") + 1]).groups())
log = int(words[words.index("--log-fd") + 1])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
assert os.read(orders, 16) == b"enable\\n"
os.write(answers, b"ack\\n")
signal.sigwait({signal.SIGINT})
os.write(log, b"# started\\n12,,syscalls:sys_enter_fsync,1,100.00,,\\n")
os.write(log, b"<not counted>,,syscalls:sys_enter_fdatasync,0,,,\\n")
if "instructions:u" in words[words.index("-e") + 1]:
    os.write(log, b"8000000,,instructions:u,5,100.00,,\\n")
"""
NO_COUNTERS = "this machine does not show its processor's counters"
ALLOWED = COUNTS.replace("REFUSAL", "pass")
IN_A_VM = COUNTS.replace("REFUSAL", "sys.stderr.write('<not supported>,,' + words[-2])  if 'instr' in words[-2] else 0")
NO_TRACING = COUNTS.replace("REFUSAL", "sys.exit(129 if 'sys_enter' in words[-2] else 0)")


def test_calls_of_fsync_and_instructions_are_those_that_perf_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_perf(tmp_path, ALLOWED)
    with counted({1, 2}) as counts:
        assert counts == {}
    assert counts == {"server.fsyncs": 12, "server.instructions": 8_000_000}
    assert not not_counted()
    used = used_per_1000(Usage(1.0, None, None), Usage(2.0, None, None), 4_000, counts)
    assert used == {"server.cpu": 0.25, "server.fsyncs": 3.0, "server.instructions": 2_000_000}


@pytest.mark.parametrize(
    ("script", "counts", "refused"),
    [
        (IN_A_VM, {"server.fsyncs": 12}, {"server.instructions": NO_COUNTERS}),
        (
            NO_TRACING,
            {"server.instructions": 8_000_000},
            {"server.fsyncs": 'perf may not: be root, or "sysctl kernel.perf_event_paranoid=-1" and "mount -o '
                              'remount,mode=755 /sys/kernel/tracing"'},
        ),
        (ALLOWED.replace("12,,", "<not supported>,,"), {"server.instructions": 8_000_000}, {}),
    ],
)  # fmt: skip
def test_what_perf_may_not_count_is_said_with_what_mends_it(
    script: str, counts: dict[str, int], refused: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with counted({1}) as without_perf:
        pass
    assert set(not_counted().values()) == {"there is no perf, which Linux has (Debian: apt install linux-perf)"}
    fake_perf(tmp_path, script)
    with counted({1}) as found, counted(()) as nobody:
        pass
    assert (without_perf, found, nobody) == ({}, counts, {})
    assert not_counted() == refused


def test_the_processes_of_a_cgroup(tmp_path: Path) -> None:
    build = Build(None, cgroup=str(tmp_path))
    assert pids_of(build, None) == frozenset()
    (tmp_path / "cgroup.procs").write_text("17\n4\n")
    assert pids_of(build, None) == {4, 17}


def test_our_own_processes_are_found_by_their_port() -> None:
    with server(0) as target:
        usage = read_usage(Build(target))
    assert usage is not None
    assert os.getpid() not in usage.pids
    assert usage.cpu_s > 0
    assert read_usage(Build(target)) is None


def test_a_reader_looks_for_a_server_that_came_back() -> None:
    with server(0) as target:
        reader = UsageReader(Build(target))
        first, second = reader.read(), reader.read()
    assert first is not None
    assert second is not None
    assert first.pids == second.pids
    assert second.cpu_s >= first.cpu_s
    assert reader.read() is None
    assert UsageReader(Build(UnixTarget("/tmp/x"))).read() is None  # nobody is there


def without_psutil(tmp_path: Path) -> dict[str, str]:
    """An environment in which psutil cannot be found."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'psutil':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_a_metric_that_needs_psutil_ends_as_not_valid_and_says_which_extra(tmp_path: Path) -> None:
    with server(20) as target:
        gate = ["gate", "--a", str(target), "--metric", "server.cpu:3%", "--looks", "6", "--control", "0", *LOAD]
        done = subprocess.run(
            [sys.executable, "-m", "trafficgen", *gate],
            env=without_psutil(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == ExitCode.NOT_VALID
    assert "nothing was measured for server.cpu: psutil is missing: " in done.stderr
    assert "-m pip install '.[server]'" in done.stderr
    assert "server.cpu" in done.stdout
    assert "psutil is missing" in " ".join(done.stdout.split())
