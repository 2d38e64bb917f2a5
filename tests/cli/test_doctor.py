"""What is said of a machine: its real limits, and what would hold a big run back with the command that mends it."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import trafficgen
from trafficgen.cli.doctor import obstacles
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.host.extras import EXTRAS, extras, libraries
from trafficgen.host.machine import Machine, read_machine

ROOMY = Machine(
    system="Linux", cores=8, cores_online=8, cpu_limit=None, cpu_group=None, governor=None, load=0.5, memory=64 << 30,
    memory_available=60 << 30, open_files=1_024, open_files_hard=1 << 20, open_files_room=1 << 20, ports=28_232,
    listen_queue=4_096, tracked=None, clock_source="tsc", clock_sources=("tsc", "hpet", "acpi_pm"),
)  # fmt: skip
GROUP = "/system.slice/cron.service"


def test_what_is_said_is_what_is_here(capsys):
    assert call(["doctor", "--json"]) is ExitCode.DONE
    said = json.loads(capsys.readouterr().out)
    assert said["versions"]["traffic-gen"] == trafficgen.__version__
    assert said["versions"]["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert said["libraries"]["numpy"] == version("numpy")
    assert {"click", "uvloop"} < set(said["libraries"])
    assert set(said["extras"]) == set(EXTRAS)
    machine = said["machine"]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (machine["open_files"], machine["open_files_hard"]) == limits
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert 0 < machine["memory_available"] <= machine["memory"]
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert machine["ports"] == int(last) - int(first) + 1


def test_it_is_one_screen(capsys):
    assert call(["doctor", "--concurrency", "1000000"]) is ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 50
    assert any(line.startswith("what would hold back a run of 1,000,000 sessions") for line in lines)


def test_it_asks_for_files_and_leaves_the_limit_as_it_was():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert read_machine(sessions=before[0]).open_files == before[0]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_a_process_that_may_open_few_files_is_told_so_and_how_to_mend_it():
    # Root may raise its limits by a capability, which is taken away first.
    dropped = ["setpriv", "--bounding-set", "-sys_resource"] if os.geteuid() == 0 else []
    script = 'ulimit -n 300; exec "$@" -m trafficgen doctor --concurrency 500 --fail'
    command = ["sh", "-c", script, "sh", *dropped, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.VERDICT_FAILED, done.stderr
    assert "open files    300 a process (ulimit -n), 300 at most (ulimit -Hn)\n" in done.stdout
    assert "take 564 open files; it may have 300\n      sudo prlimit --pid $$ --nofile=564:564\n" in done.stdout


def test_the_mend_for_open_files_mends_it():
    script = (
        'prlimit --pid $$ --nofile=300:4000; prlimit --pid $$ --nofile=564:4000; exec "$0" -m trafficgen '
        "doctor --json --concurrency 500"
    )
    done = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["machine"]["open_files"] == 564
    assert "open files" not in [one["name"] for one in said["obstacles"]]


def test_a_roomy_machine_holds_nothing_back():
    assert list(obstacles(ROOMY, 10_000)) == []


@pytest.mark.parametrize(
    ("machine", "sessions", "name", "mend"),
    [
        ({"open_files_room": 1_024}, 961, "open files", "sudo prlimit --pid $$ --nofile=1025:1025"),
        ({"open_files_room": 256, "system": "macOS-15"}, 500, "open files", "sudo launchctl limit maxfiles 564 564"),
        ({}, 28_233, "local ports", 'sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"'),
        ({"ports": 64_512}, 64_513, "local ports", "traffic-gen --source-ip FIRST-LAST ..."),
        ({"memory_available": 300_000_000}, 10_000, "memory", "traffic-gen --concurrency 5000 ..."),
        ({"listen_queue": 128}, 10_000, "listen queue", "sudo sysctl -w net.core.somaxconn=4096"),
        ({"tracked": (9, 10_000)}, 10_000, "tracked connections", "sysctl -w net.netfilter.nf_conntrack_max=20018"),
        ({"cores": 1}, 10, "cores", "taskset -cp 0-7 $$"),
        ({"cores": 1, "cores_online": 1}, 10, "cores", "two cores or more"),
        ({"cpu_limit": 1.5, "cpu_group": GROUP}, 10, "CPU limit", "set-property --runtime cron.service CPUQuota="),
        ({"cpu_limit": 1.5, "cpu_group": "/"}, 10, "CPU limit", "docker update --cpus=8 CONTAINER"),
        ({"clock_source": "hpet"}, 10, "clock source", "echo tsc | sudo tee /sys/devices/system/clocksource/"),
        ({"clock_source": "hpet", "clock_sources": ("hpet",)}, 10, "clock source", "another clock source"),
        ({"governor": "powersave"}, 10, "CPU speed", "cpupower frequency-set -g performance"),
        ({"load": 4.5}, 10, "other work", "top -b -n 1"),
    ],
)
def test_each_obstacle_is_named_with_what_mends_it(monkeypatch, machine, sessions, name, mend):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (found,) = obstacles(replace(ROOMY, **machine), sessions)
    assert found.name == name
    assert mend in found.mend


def test_just_enough_is_enough():
    least: dict[str, Any] = {
        "open_files_room": 10_064, "ports": 10_000, "memory_available": 400_000_000, "tracked": (0, 10_000),
        "cores": 2, "cpu_limit": 2.0, "load": 1.0,
    }  # fmt: skip
    assert list(obstacles(replace(ROOMY, **least), 10_000)) == []


def test_a_pod_is_told_where_its_limit_is(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    (found,) = obstacles(replace(ROOMY, cpu_limit=1.0, cpu_group="/"), 10)
    assert "resources.limits.cpu" in found.mend


def other_machine(root: Path, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read_machine(10, root)


def test_the_narrowest_group_limits_the_cpu(tmp_path):
    machine = other_machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a.slice/b.service\n",
            "sys/fs/cgroup/a.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/a.slice/b.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a.slice/memory.max": "1000000000\n",
            "sys/fs/cgroup/a.slice/memory.current": "900000000\n",
            "sys/fs/cgroup/a.slice/memory.stat": "anon 5\ninactive_file 300000000\n",
            "sys/fs/cgroup/a.slice/b.service/memory.max": "max\n",
            "sys/fs/cgroup/a.slice/b.service/memory.current": "5\n",
            "proc/meminfo": "MemTotal:       8000000 kB\nMemFree: 1 kB\nMemAvailable:   7000000 kB\n",
            "proc/loadavg": "0.75 0.50 0.25 1/200 4000\n",
        },
    )
    assert (machine.cpu_limit, machine.cpu_group) == (1.5, "/a.slice")
    assert (machine.memory, machine.memory_available) == (1_000_000_000, 400_000_000)
    assert machine.load == 0.75


def test_groups_of_the_first_kind_are_read_too(tmp_path):
    machine = other_machine(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",  # in a container only its own folder is there
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
        },
    )
    assert (machine.cpu_limit, machine.cpu_group) == (0.5, "/")
    assert machine.memory is None


def test_a_system_that_says_nothing_is_not_judged(tmp_path):
    machine = other_machine(tmp_path, {})
    unknown = (machine.ports, machine.memory, machine.listen_queue, machine.clock_source, machine.load, machine.tracked)
    assert unknown == (None,) * 6
    names = [one.name for one in obstacles(replace(machine, cores=8, open_files_room=1 << 20), 10_000)]
    assert names == []


def test_a_damaged_calibration_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "traffic-gen").mkdir()
    (tmp_path / "traffic-gen" / "ceiling.json").write_text("{}")
    assert call(["doctor"]) is ExitCode.DONE
    assert "cannot use the calibration" in capsys.readouterr().out


def test_a_missing_extra_is_shown_with_the_line_that_gets_it(monkeypatch, capsys):
    monkeypatch.setattr("trafficgen.host.extras.extras", lambda: {"dns": None, "dkim": "1.1.8"})
    assert call(["doctor"]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "extras        dkim 1.1.8\n" in out
    assert f"  no dns        {sys.executable} -m pip install 'dnspython>=2.6'\n" in out


def test_versions_are_those_of_the_packages_behind_extras():
    assert extras()["dns"] == version("dnspython")
    assert libraries()["stringzilla"] == version("stringzilla")


@pytest.mark.parametrize("sessions", ["0", "-1", "1000001"])
def test_an_impossible_run_is_wrong_usage(capsys, sessions):
    assert call(["doctor", "--concurrency", sessions]) is ExitCode.USAGE
    assert "(--concurrency)" in capsys.readouterr().err
