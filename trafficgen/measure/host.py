"""What the machine's own host took from it.

Takes     /proc/stat twice (Linux, proc(5)); elsewhere nothing is known and the share is 0
Gives     the share of all CPU time between the two that a virtual machine's host gave to somebody else
"""

from pathlib import Path
from typing import Final, NamedTuple

_STAT: Final = Path("/proc/stat")
_STEAL: Final = 7
"""user nice system idle iowait irq softirq steal; guest and guest_nice are already in the first two."""


class CpuTime(NamedTuple):
    """Clock ticks since the machine started, over all its CPUs."""

    stolen: int
    all: int

    @classmethod
    def now(cls) -> "CpuTime":
        """Both 0 where the system does not say."""
        try:
            ticks = [int(word) for word in _STAT.read_text().partition("\n")[0].split()[1 : _STEAL + 2]]
            return cls(ticks[_STEAL], sum(ticks))
        except (OSError, ValueError, IndexError):
            return cls(0, 0)

    def stolen_share_since(self, before: "CpuTime") -> float:
        """0 to 1; 0 when no time has passed."""
        passed = self.all - before.all
        return max(self.stolen - before.stolen, 0) / passed if passed > 0 else 0.0
