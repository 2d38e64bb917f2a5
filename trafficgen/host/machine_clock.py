"""Which clock a time was read from, so that times of two processes are subtracted only when that means something.

Gives     an id that all processes of one machine share until it is started again: their `clock.now_ns` is one clock
          the offset from that clock to the time of day, as it is now
Not here  comparing clocks of different machines: nothing here knows how far apart they are
"""

import hashlib
import platform
import time
from pathlib import Path
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns

ID_DIGITS: Final = 16

_LINUX: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """16 hexadecimal digits that name this machine since it was started."""
    try:
        name = _LINUX.read_text("ascii")
    except OSError:
        # Elsewhere: the machine's name and the minute it was started in. Two processes may see different minutes, and
        # then report no latency; they never report a wrong one.
        name = f"{platform.node()} {wall_offset_ns() // (60 * NS_PER_S)}"
    return hashlib.sha256(name.encode()).hexdigest()[:ID_DIGITS]


def wall_offset_ns() -> int:
    """What to add to `clock.now_ns` to get nanoseconds since 1970."""
    return time.time_ns() - now_ns()
