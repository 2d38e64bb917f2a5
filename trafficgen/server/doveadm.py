"""What Dovecot counts of its commands, by `doveadm stats dump`: how many a second, and how long they took.

Takes     the command, such as "doveadm" or "doveadm -c lab.conf"; `metric {}` blocks of Dovecot say what is there
Gives     `dovecot.NAME`, events a second since the last look, and `dovecot.NAME.took`, their mean duration in seconds
Fails     never: a command that cannot be run is said once (`missing`)
Cost      15 ms of CPU a look (Dovecot 2.3.19, five metrics)
Source    doveadm-stats(1); tab-separated: metric_name field count sum min max avg median stddev %95, durations in µs
"""

import re
import shlex
import subprocess
from typing import Final

from trafficgen.errors import reason_of

PATIENCE_S: Final = 5.0
_US_PER_S: Final = 1e6
_NAME: Final = re.compile(r"[^A-Za-z0-9_:-]")


def parse_dump(text: str) -> dict[str, tuple[int, float]]:
    """Of each metric how often, and how many seconds in all. ValueError for a text of something else."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("metric_name\tfield\tcount\tsum\t"):
        raise ValueError(f'expected what "doveadm stats dump" prints, got "{lines[0][:80] if lines else ""}"')
    found = {}
    for line in lines[1:]:
        cells = line.split("\t")
        if len(cells) < 4:
            raise ValueError(f'expected a metric with its count and sum, got "{line[:80]}"')
        if cells[1] == "duration":
            found[_NAME.sub("_", cells[0])] = (int(cells[2]), int(cells[3]) / _US_PER_S)
    return found


class DoveadmStats:
    """Asks again and again; the first answer has nothing to compare with."""

    def __init__(self, command: str) -> None:
        self._command = [*shlex.split(command), "stats", "dump"]
        self._before: dict[str, tuple[int, float]] = {}
        self._before_s: float | None = None
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        """Since the last look. A count that went back is of a Dovecot that was started anew."""
        try:
            counted = parse_dump(self._dump())
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.missing.add(f"{shlex.join(self._command)}: {reason_of(error)}")
            return {}
        passed_s = None if self._before_s is None else now_s - self._before_s
        before, self._before, self._before_s = self._before, counted, now_s
        if not passed_s:
            return {}
        values: dict[str, float] = {}
        for name, (count, took_s) in counted.items():
            count_before, took_before_s = before.get(name, (0, 0.0))
            if (many := count - count_before) < 0:
                many, took_before_s = count, 0.0
            values[f"dovecot.{name}"] = many / passed_s
            if many:
                values[f"dovecot.{name}.took"] = (took_s - took_before_s) / many
        return values

    def _dump(self) -> str:
        done = subprocess.run(self._command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        if done.returncode:
            raise ValueError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed")
        return done.stdout
