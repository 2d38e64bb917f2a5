"""Measure what this machine's generator is capable of, and remember it.

Takes     message sizes and numbers of sessions; how long each measurement lasts
Gives     a `Ceiling`, and its place on this machine: $XDG_STATE_HOME/traffic-gen/ceiling.json
Means     the rate towards our own sink on the same machine, which shares its cores: with the server elsewhere the
          generator has more
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trafficgen.errors import OutputError, SetupError
from trafficgen.host.output import Output
from trafficgen.host.version import VERSION
from trafficgen.measure.generator import Host
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan, SizedBodies, Workload
from trafficgen.runs.run import run
from trafficgen.verdict.ceiling import Ceiling, CeilingPoint


def ceiling_path() -> Path:
    """Where this user's calibration is kept (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "traffic-gen" / "ceiling.json"


def measure_ceiling(
    sizes: Sequence[str], sessions: Sequence[int], duration_ns: int, *, notice: Callable[[CeilingPoint], None]
) -> Ceiling:
    """One run for each size with each number of sessions. `notice` gets each point as it is measured."""
    points = []
    for size in sizes:
        for count in sessions:
            workload = Workload(content=SizedBodies((size,)))
            results = run(Plan(sessions=count, duration_ns=duration_ns, workload=workload, ledger=False))
            if results.stopped_by is StoppedBy.INTERRUPTED:
                raise KeyboardInterrupt
            if not results.messages.accepted:
                raise SetupError("the embedded sink accepted nothing, so there is no ceiling to measure")
            mean = results.messages.bytes / results.messages.accepted
            points.append(CeilingPoint(mean, count, results.rate.messages_per_s))
            notice(points[-1])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Ceiling(now, VERSION, Host.here(), tuple(points))


def save_ceiling(ceiling: Ceiling, path: Path) -> None:
    """For later runs to say what share of it they used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'cannot make the folder "{path.parent}": {os.strerror(error.errno or 0).lower()}') from error
    Output(path, "XDG_STATE_HOME").write(ceiling.to_json())
