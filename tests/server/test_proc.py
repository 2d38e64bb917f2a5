"""Files of the kernel to numbers: as real kernels wrote them, and as none did."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.server import proc
from trafficgen.server.host import HostSampler
from trafficgen.server.processes import CgroupSampler, TreeSampler, _Rates, pid_in

STAT = """\
cpu  793254 615797 250356 911152 8458 5 26452 1537 7 0
cpu0 384718 292572 122768 487542 2102 0 12656 776 0 0
intr 1 2 3
ctxt 12345
procs_running 7
procs_blocked 2
"""
PRESSURE = """\
some avg10=1.01 avg60=0.99 avg300=1.03 total=160678946
full avg10=0.04 avg60=0.15 avg300=0.07 total=60093586
"""
DISKSTATS = """\
   7       0 loop0 9 0 9 0 9 0 9 0 0 0 0 0 0 0 0 0 0
 254       0 vda 1000 5 80000 700 2000 40 160000 3000 3 2500 4100 0 0 0 0 400 900
 254       1 vda1 900 5 79000 600 1900 40 159000 2900 0 2400 3500 0 0 0 0 0 0
 259       0 nvme0n1 10 0 80 7 0 0 0 0 0 1 7 0 0 0
 259       1 nvme0n1p1 10 0 80 7 0 0 0 0 0 1 7 0 0 0
 252       0 vdb 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""
NETSTAT = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 4 5\nIpExt: InNoRoutes\nIpExt: 0\n"
PROCESS = "42 (a) R 1 (b)) S 7 1 1 0 -1 4194560 100 50 3 4 11 22 33 44 20 0 1 0 99 1 1\n"


def test_cpu_ticks_and_tasks() -> None:
    found = proc.cpu(STAT)
    assert (found.ticks["user"], found.ticks["iowait"], found.ticks["steal"]) == (793254, 8458, 1537)
    assert (found.running, found.blocked, found.cores) == (7, 2, 1)


def test_pressure_is_the_total_in_seconds() -> None:
    assert proc.pressure(PRESSURE) == {"some": 160.678946, "full": 60.093586}
    assert proc.pressure(PRESSURE.splitlines()[0]) == {"some": 160.678946}


def test_disks_are_whole_disks_that_were_used() -> None:
    found = proc.disks(DISKSTATS)
    assert list(found) == ["vda", "nvme0n1"]
    vda = found["vda"]
    assert (vda.reads, vda.read_octets, vda.writes, vda.written_octets) == (1000, 80000 * 512, 2000, 160000 * 512)
    assert (vda.in_flight, vda.busy_s, vda.queued_s, vda.flushes, vda.flushing_s) == (3, 2.5, 4.1, 400, 0.9)
    assert vda.waited_s == pytest.approx(0.7 + 3.0 + 0.9)
    assert (found["nvme0n1"].flushes, found["nvme0n1"].flushing_s) == (None, None)


def test_refused_connections_and_memory() -> None:
    assert proc.tcp(NETSTAT) == {"SyncookiesSent": 1, "ListenOverflows": 4, "ListenDrops": 5}
    assert proc.memory("MemTotal:  100 kB\nHugePages_Total:   3\nodd\n") == {"MemTotal": 102400, "HugePages_Total": 3}


def test_a_process_may_be_called_anything() -> None:
    assert proc.process(PROCESS) == proc.Process(42, "S", 7, 11 + 22 + 33 + 44, 3 + 4, 1)


def test_a_process_has_at_least_the_fields_that_are_read() -> None:
    fields = "S 7 1 1 1 1 1 1 1 3 4 11 22 33 44 1 1 5"
    assert proc.process(f"42 (x) {fields}").threads == 5
    with pytest.raises(ValueError, match="18 fields or more"):
        proc.process(f"42 (x) {fields.rpartition(' ')[0]}")


def test_a_tree_is_a_process_and_all_that_descend_from_it() -> None:
    parents = {1: 0, 5: 1, 6: 5, 7: 6, 8: 1}
    assert sorted(proc.tree(parents, 5)) == [5, 6, 7]
    assert proc.tree(parents, 99) == []


def test_a_cgroup() -> None:
    assert proc.cgroup_cpu_s("usage_usec 1500000\nuser_usec 1\n") == 1.5
    assert proc.cgroup_written("8:0 rbytes=1 wbytes=20 rios=0\n8:16 wbytes=3\n") == 23
    assert proc.cgroup_faults("anon 1\npgmajfault 9\n") == 9


@pytest.mark.parametrize(
    "parse", [proc.cpu, proc.pressure, proc.disks, proc.tcp, proc.process, proc.scheduled, proc.cgroup_cpu_s]
)
@given(
    text=st.text(max_size=200)
    | st.sampled_from([STAT, PRESSURE, DISKSTATS, NETSTAT, PROCESS]).flatmap(
        lambda whole: st.integers(0, len(whole)).map(lambda end: whole[:end])
    )
)
def test_a_text_of_another_shape_is_a_value_error_or_nothing(parse: Callable[[str], Any], text: str) -> None:
    with suppress(ValueError, StopIteration):
        parse(text)


def test_what_a_thread_ran_and_waited_for_a_core() -> None:
    assert proc.scheduled("1500000000 250000000 77\n") == proc.Scheduled(1.5, 0.25)


# -- what changed between two looks ---------------------------------------------------------------------


def machine(folder: Path, **texts: str) -> Path:
    whole = {"stat": STAT, "pressure/io": PRESSURE, "diskstats": DISKSTATS, "net/netstat": NETSTAT, **texts}
    for name, text in whole.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_host_is_seen_from_the_second_look_on(tmp_path: Path) -> None:
    host = HostSampler(machine(tmp_path))
    first = host.sample(100.0)
    assert first["host.running"] == 7
    assert "host.io_pressure" not in first
    later = STAT.replace("793254", "793354").replace("911152", "911352").replace("1537", "1637")
    later_disks = DISKSTATS.replace("2000 40 160000 3000 3 2500", "2100 40 160000 3900 3 3500")
    later_disks = later_disks.replace("400 900", "500 1000")
    machine(
        tmp_path,
        stat=later,
        pressure__io=PRESSURE.replace("160678946", "161178946"),
        diskstats=later_disks,
        net__netstat=NETSTAT.replace(" 4 5", " 10 5"),
    )  # fmt: skip
    values = host.sample(102.0)
    assert values["host.io_pressure"] == pytest.approx(0.25)
    assert values["host.cpu_user"] == pytest.approx(0.25)
    assert values["host.cpu_steal"] == pytest.approx(0.25)
    assert values["host.cpu_busy"] == pytest.approx(0.5)
    assert values["host.listen_overflows"] == pytest.approx(3.0)
    assert values["disk.vda.flushes"] == pytest.approx(50.0)
    assert values["disk.vda.busy"] == pytest.approx(0.5)
    assert values["disk.vda.await"] == pytest.approx((0.9 + 0.1) / (100 + 100))
    assert host.missing == {"pressure/cpu", "pressure/memory", "meminfo"}


def test_all_tasks_stand_still_only_for_what_is_not_a_core(tmp_path: Path) -> None:
    host = HostSampler(machine(tmp_path, pressure__cpu=PRESSURE, pressure__memory=PRESSURE))
    host.sample(100.0)
    values = host.sample(101.0)
    assert {name: value for name, value in values.items() if name.endswith("pressure_full")} == {
        "host.io_pressure_full": 0.0,
        "host.memory_pressure_full": 0.0,
    }
    assert values["host.cpu_pressure"] == 0.0


def test_two_looks_at_one_moment_make_no_rate() -> None:
    rates = _Rates()
    assert [rates.of({"read": 7.0 + at}, at) for at in (3.0, 3.0, 5.0)] == [{}, {}, {"read": 1.0}]


def test_a_counter_that_went_back_gives_nothing(tmp_path: Path) -> None:
    host = HostSampler(machine(tmp_path))
    host.sample(1.0)
    machine(tmp_path, pressure__io=PRESSURE.replace("160678946", "5"), stat=STAT.replace("8458", "8000"))
    values = host.sample(2.0)
    assert "host.io_pressure" not in values
    assert "host.cpu_busy" not in values


def test_this_machine_can_be_seen() -> None:
    host = HostSampler(room=Path("/"))
    host.sample(0.0)
    values = host.sample(1.0)
    assert {"host.running", "host.blocked", "host.memory_available", "space.free"} <= values.keys()


def test_the_tree_of_this_process_is_seen_from_the_second_look_on(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text(f"  {os.getpid()}\n")
    sampler = TreeSampler(pid_in(file), named_by=file)
    sampler.sample(1.0)
    sum(range(10_000_000))  # some ticks of 10 ms
    values = sampler.sample(2.0)
    assert values["server.cpu"] > 0
    assert values["server.processes"] >= 1
    file.unlink()
    assert sampler.sample(3.0) == {}
    unread = f"the server's processes: {file} holds no process id, or cannot be read"
    assert sampler.missing == {unread}
    file.write_text(str(2**22 + 1))  # beyond any process of Linux
    assert sampler.sample(4.0) == {}
    assert sampler.missing == {unread, f"the server's processes: {file} names one that is gone"}


def process_of(folder: Path, pid: int, state: str, ran_s: float, waited_s: float, children: str = "") -> None:
    """As /proc has it; of a process with one thread."""
    at = folder / str(pid) / "task" / str(pid)
    at.mkdir(parents=True, exist_ok=True)
    for file in (folder / str(pid) / "stat", at / "stat"):
        file.write_text(PROCESS.replace("42 (", f"{pid} (").replace(") S 7", f") {state} 7"))
    (at / "schedstat").write_text(f"{ran_s * 1e9:.0f} {waited_s * 1e9:.0f} 5\n")
    (at / "children").write_text(children)


def test_what_a_tree_wrote_is_known_when_all_of_it_is(tmp_path: Path) -> None:
    sampler = TreeSampler(lambda: 5, tmp_path)
    for at, octets in ((100.0, 5_000), (102.0, 25_000)):
        process_of(tmp_path, 5, "S", 10.0, 10.0, "6")
        process_of(tmp_path, 6, "S", 10.0, 10.0)
        (tmp_path / "5" / "io").write_text(f"rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: {octets}\n")
        (tmp_path / "6" / "io").write_text("rchar: 1\nwrite_bytes: 7\n")
        values = sampler.sample(at)
    assert values["server.written"] == 10_000.0
    (tmp_path / "6" / "io").write_text("rchar: 1\n")
    assert "server.written" not in sampler.sample(104.0)


@pytest.mark.parametrize("by_cgroup", [False, True])
def test_what_the_servers_threads_wait_for(tmp_path: Path, *, by_cgroup: bool) -> None:
    """Between two looks 6 ran and waited, 7 slept, 9 began; 8 is somebody else's."""
    for pid, children in ((5, "6 7"), (6, ""), (7, ""), (8, "")):
        process_of(tmp_path, pid, "S", 10.0, 10.0, children)
    (tmp_path / "cgroup.procs").write_text("5\n6\n7\n")
    sampler = CgroupSampler(tmp_path, tmp_path) if by_cgroup else TreeSampler(lambda: 5, tmp_path)
    assert {"server.running": 0.0, "server.blocked": 0.0}.items() <= sampler.sample(100.0).items()
    process_of(tmp_path, 5, "S", 10.0, 10.0, "6 7 9")
    process_of(tmp_path, 6, "R", 11.5, 13.0)
    process_of(tmp_path, 8, "R", 99.0, 99.0)
    process_of(tmp_path, 9, "D", 0.25, 1.0)
    (tmp_path / "cgroup.procs").write_text("5\n6\n7\n9\n")
    seen = sampler.sample(102.0)
    assert (seen["server.processes"], seen["server.running"], seen["server.blocked"]) == (4.0, 1.0, 1.0)
    assert seen["server.cpu_wait"] == pytest.approx((3.0 + 1.0) / 2)
    assert seen["server.busiest"] == pytest.approx(1.5 / 2)


def test_each_thread_of_a_process_counts(tmp_path: Path) -> None:
    process_of(tmp_path, 5, "S", 1.0, 0.0)
    for file in (tmp_path / "5/stat", tmp_path / "5/task/5/stat"):
        file.write_text(file.read_text().replace(" 20 0 1 0", " 20 0 2 0"))
    process_of(tmp_path, 6, "D", 3.0, 2.0)
    (tmp_path / "6/task/6").rename(tmp_path / "5/task/6")
    sampler = TreeSampler(lambda: 5, tmp_path)
    assert sampler.sample(1.0)["server.blocked"] == 1.0
    (tmp_path / "5/task/6/schedstat").write_text("3500000000 4000000000 9\n")
    seen = sampler.sample(2.0)
    assert (seen["server.cpu_wait"], seen["server.busiest"], seen["server.processes"]) == (2.0, 0.5, 1.0)


def test_a_kernel_that_lists_no_children_is_searched(tmp_path: Path) -> None:
    for pid, parent in ((5, 1), (6, 5), (7, 6), (8, 1)):
        process_of(tmp_path, pid, "D", 1.0, 1.0)
        (tmp_path / f"{pid}/task/{pid}/children").unlink()
        (tmp_path / f"{pid}/stat").write_text(PROCESS.replace("42 (", f"{pid} (").replace(") S 7", f") D {parent}"))
    sampler = TreeSampler(lambda: 5, tmp_path)
    assert [sampler.sample(at)["server.blocked"] for at in (1.0, 2.0)] == [3.0, 3.0]


def test_a_cgroup_is_seen_from_the_second_look_on(tmp_path: Path) -> None:
    for name, text in (
        ("cpu.stat", "usage_usec 1000000\n"),
        ("io.stat", "8:0 wbytes=100\n"),
        ("cgroup.procs", "1\n2\n"),
    ):
        (tmp_path / name).write_text(text)
    sampler = CgroupSampler(tmp_path, tmp_path / "no processes")
    now = {"server.processes": 2.0, "server.running": 0.0, "server.blocked": 0.0}
    assert sampler.sample(10.0) == now
    (tmp_path / "cpu.stat").write_text("usage_usec 2000000\n")
    assert sampler.sample(12.0) == {"server.cpu": 0.5, "server.written": 0.0} | now
    assert sampler.missing == {str(tmp_path / "memory.stat")}
