"""`traffic-gen doctor`: is this machine ready for a big run, and what is it?

Takes     how many sessions the run is to have
Gives     versions, limits, and what would hold the run back, each with the command that mends it
Not here  reading the facts (host.machine, host.extras), how fast the machine is (`traffic-gen calibrate`)
"""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Final

import click

from mboxgen.counted import number_of
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode, PlanError, ResultsError
from trafficgen.host.machine import Machine
from trafficgen.printable import printable

EPILOG: Final = """\
Examples:

\b
  traffic-gen doctor
  traffic-gen doctor --concurrency 50000 --fail
  traffic-gen doctor --json

Nothing is changed and nobody is asked over the network. Put what it says into a report of a problem.

Exit codes: 0 shown, 99 with --fail when something would hold such a run back.
"""

_SESSIONS: Final = 10_000
_MAX_SESSIONS: Final = 1_000_000
_MOST_PORTS: Final = 65_535 - 1_024 + 1
_BASE_OCTETS: Final = 200_000_000
_SESSION_OCTETS: Final = 20_000
"""A run with the embedded sink and 2 workers took 127 MB with 20 sessions and 143 MB with 4,000 (proportional set
size, 2026-11-27, 2 cores): 4 kB a session, and as much again for each socket's two ends in the kernel."""

_SLOW_CLOCKS: Final = frozenset({"acpi_pm", "hpet", "jiffies", "pit", "refined-jiffies", "xen"})
"""Read by a system call or a slow device, where the others are read in the process (clocksource, vdso(7))."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """`mend`: a command to type, with a "#" before what no command can do."""

    name: str
    words: str
    mend: str


@click.command("doctor", cls=GroupedCommand, epilog=EPILOG)
@click.option(
    "--concurrency",
    default=_SESSIONS,
    metavar="N",
    help=f"Sessions of the run that the machine is to be ready for. [default: {_SESSIONS}]",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("--fail", is_flag=True, help="End with 99 when something would hold such a run back.")
def command(concurrency: int, as_json: bool, fail: bool) -> ExitCode:
    """Show versions and limits here, and what would hold a big run back, with the command that mends it."""
    from trafficgen.host.machine import read_machine

    if not 1 <= concurrency <= _MAX_SESSIONS:
        text = f"expected 1 to {_MAX_SESSIONS} sessions, got {concurrency}"
        raise PlanError(text, field="sessions", flag="--concurrency")
    machine = read_machine(concurrency)
    found = list(obstacles(machine, concurrency))
    click.echo(_json(machine, concurrency, found) if as_json else "\n".join(_lines(machine, concurrency, found)))
    return ExitCode.VERDICT_FAILED if fail and found else ExitCode.DONE


def obstacles(machine: Machine, sessions: int) -> Iterator[Obstacle]:
    """What would hold back a run of so many sessions on such a machine, or make its numbers vary."""
    for check in _CHECKS:
        found = check(machine, sessions)
        if found is not None:
            yield found


def _open_files(machine: Machine, sessions: int) -> Obstacle | None:
    from trafficgen.host.limits import SPARE_FILES

    needed = sessions + SPARE_FILES
    if machine.open_files_room >= needed:
        return None
    held = number_of(sessions, "session")
    words = f"{held} of one process (a sink has them all) take {needed:,} open files; it may have "
    mend = f"sudo prlimit --pid $$ --nofile={needed}:{needed}"
    if machine.system.startswith("macOS"):
        mend = f"sudo launchctl limit maxfiles {needed} {needed}"
    return Obstacle("open files", f"{words}{machine.open_files_room:,}", mend)


def _ports(machine: Machine, sessions: int) -> Obstacle | None:
    if machine.ports is None or machine.ports >= sessions:
        return None
    words = f"there are {machine.ports:,} local ports, so as many sessions from one address to one server"
    if sessions > _MOST_PORTS:
        return Obstacle("local ports", words, "traffic-gen --source-ip FIRST-LAST ...  # addresses of this machine")
    return Obstacle("local ports", words, 'sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"')


def _listen_queue(machine: Machine, sessions: int) -> Obstacle | None:
    from trafficgen.sink.listen.server import BACKLOG

    wanted = min(BACKLOG, sessions)
    if machine.listen_queue is None or machine.listen_queue >= wanted:
        return None
    words = (
        f"a sink here lets {number_of(machine.listen_queue, 'connection')} wait; more at once try again a second later"
    )
    return Obstacle("listen queue", words, f"sudo sysctl -w net.core.somaxconn={BACKLOG}")


def _cores(machine: Machine, _sessions: int) -> Obstacle | None:
    if machine.cores > 1:
        return None
    words = "one core is shared by generator, sink and whatever else runs"
    if machine.cores_online > 1:
        return Obstacle("cores", words, f"taskset -cp 0-{machine.cores_online - 1} $$")
    return Obstacle("cores", words, "# take a machine with two cores or more")


def _cpu_limit(machine: Machine, _sessions: int) -> Obstacle | None:
    if machine.cpu_limit is None or machine.cpu_limit >= machine.cores:
        return None
    words = (
        f"a control group is stopped after {machine.cpu_limit:g} of {machine.cores} cores: pauses of up to 0.1 s, "
        "which are measured as the server's"
    )
    unit = (machine.cpu_group or "").rpartition("/")[2]
    if unit.endswith((".service", ".scope", ".slice")):
        return Obstacle("CPU limit", words, f"sudo systemctl set-property --runtime {unit} CPUQuota=")
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return Obstacle("CPU limit", words, "# raise resources.limits.cpu of the pod, or leave it out")
    return Obstacle("CPU limit", words, f"docker update --cpus={machine.cores} CONTAINER  # on the host, or podman")


def _memory(machine: Machine, sessions: int) -> Obstacle | None:
    from trafficgen.report.words import size

    needed = _BASE_OCTETS + sessions * _SESSION_OCTETS
    if machine.memory_available is None or machine.memory_available >= needed:
        return None
    fitting = max((machine.memory_available - _BASE_OCTETS) // _SESSION_OCTETS, 1)
    words = f"a run and its sink take about {size(needed)}, and {size(machine.memory_available)} can be had"
    return Obstacle("memory", words, f"traffic-gen --concurrency {fitting} ...")


def _clock(machine: Machine, _sessions: int) -> Obstacle | None:
    if machine.clock_source not in _SLOW_CLOCKS:
        return None
    words = f"the clock source {machine.clock_source} is read slowly, several times a message"
    better = [name for name in machine.clock_sources if name not in _SLOW_CLOCKS]
    file = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    mend = f"echo {better[0]} | sudo tee {file}" if better else "# take a machine with another clock source"
    return Obstacle("clock source", words, mend)


def _tracked(machine: Machine, sessions: int) -> Obstacle | None:
    if machine.tracked is None or machine.tracked[0] + sessions <= machine.tracked[1]:
        return None
    count, most = machine.tracked
    words = f"the firewall keeps track of {number_of(most, 'connection')} and has {count:,}; it drops what is beyond"
    mend = f"sudo sysctl -w net.netfilter.nf_conntrack_max={2 * (count + sessions)}"
    return Obstacle("tracked connections", words, mend)


def _governor(machine: Machine, _sessions: int) -> Obstacle | None:
    if machine.governor in (None, "performance"):
        return None
    words = f"the cores' speed follows their load (governor {machine.governor}): rates vary with what was before"
    return Obstacle("CPU speed", words, "sudo cpupower frequency-set -g performance")


def _load(machine: Machine, _sessions: int) -> Obstacle | None:
    if machine.load is None or machine.load <= machine.cores / 2:
        return None
    words = f"{machine.load:g} tasks ran here in the last minute on {machine.cores} cores; see who, and end it"
    return Obstacle("other work", words, "top -b -n 1 -o %CPU | head -n 20")


_CHECKS: Final[tuple[Callable[[Machine, int], Obstacle | None], ...]] = (
    _open_files, _ports, _memory, _listen_queue, _tracked, _cores, _cpu_limit, _clock, _governor, _load,
)  # fmt: skip


def _versions() -> dict[str, str]:
    from trafficgen.host.version import VERSION

    python = f"{platform.python_version()} ({platform.python_implementation()})"
    return {"traffic-gen": VERSION, "python": python}


def _json(machine: Machine, sessions: int, found: list[Obstacle]) -> str:
    from trafficgen.host.extras import extras, libraries

    document = {
        "schema_version": 1, "versions": _versions(), "libraries": libraries(), "extras": extras(),
        "machine": asdict(machine), "calibrated": _calibrated(), "sessions": sessions,
        "obstacles": [asdict(one) for one in found],
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False)


def _lines(machine: Machine, sessions: int, found: list[Obstacle]) -> Iterator[str]:
    from trafficgen.host.extras import by_package, extras, libraries

    rows = [("version", ", Python ".join(_versions().values())), ("system", printable(machine.system))]
    rows.append(("libraries", _named(libraries()) or "not installed as a package"))
    have = extras()
    rows.append(("extras", _named({name: version for name, version in have.items() if version}) or "none"))
    yield from _table("traffic-gen", rows)
    # A command stays on its line, so that it can be copied.
    yield from (f"  no {name:<{_COLUMN - 3}}{by_package(name)}" for name, version in have.items() if version is None)
    yield from _table("this machine", list(_machine_rows(machine)))
    yield ""
    if not found:
        yield f"nothing would hold back a run of {number_of(sessions, 'session')}"
        return
    yield f"what would hold back a run of {number_of(sessions, 'session')}"
    for one in found:
        yield from wrap(f"{one.name}: {printable(one.words)}", _WIDTH, initial_indent="  ", subsequent_indent="  ")
        yield f"      {printable(one.mend)}"


def _machine_rows(machine: Machine) -> Iterator[tuple[str, str]]:
    from trafficgen.report.words import size

    limit = "no CPU limit" if machine.cpu_limit is None else f"limited to {machine.cpu_limit:g} by {machine.cpu_group}"
    load = _UNKNOWN if machine.load is None else f"{machine.load:g}"
    yield "cores", f"{machine.cores} of {machine.cores_online}; {limit}; load of the last minute {load}"
    if machine.governor is not None:
        yield "CPU speed", f"governor {machine.governor}"
    memory = [_UNKNOWN if octets is None else size(octets) for octets in (machine.memory_available, machine.memory)]
    yield "memory", f"{memory[0]} to be had of {memory[1]}"
    others = [name for name in machine.clock_sources if name != machine.clock_source]
    yield "clock source", (machine.clock_source or _UNKNOWN) + (f" (also {', '.join(others)})" if others else "")
    yield (
        "open files",
        f"{machine.open_files:,} a process (ulimit -n), {machine.open_files_hard:,} at most (ulimit -Hn)",
    )
    yield "local ports", _UNKNOWN if machine.ports is None else f"{machine.ports:,} towards one server"
    queue = _UNKNOWN if machine.listen_queue is None else f"{number_of(machine.listen_queue, 'connection')} (somaxconn)"
    yield "listen queue", queue
    if machine.tracked is not None:
        yield "firewall", f"{machine.tracked[0]:,} of {number_of(machine.tracked[1], 'connection')} tracked"
    yield "calibrated", printable(_calibrated() or "never: traffic-gen calibrate")


def _calibrated() -> str | None:
    """When this user has measured what the machine is capable of, or why that cannot be read."""
    from trafficgen.runs.calibration import ceiling_path
    from trafficgen.verdict.ceiling import read_ceiling

    try:
        ceiling = read_ceiling(ceiling_path())
    except ResultsError as error:
        return str(error)
    return None if ceiling is None else ceiling.measured_at


def _named(versions: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield title
    for name, words in rows:
        first, *rest = wrap(words, _WIDTH - _COLUMN, break_on_hyphens=False, break_long_words=False)
        yield f"  {name:<{_COLUMN}}{first}"
        yield from (f"  {'':<{_COLUMN}}{line}" for line in rest)


_UNKNOWN: Final = "not known"
_COLUMN: Final = 14
_WIDTH: Final = 100
