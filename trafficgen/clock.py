"""The one clock.

`now_ns` counts nanoseconds on the system's monotonic clock, which all processes of one machine share
(clock_gettime(2), CLOCK_MONOTONIC; mach_absolute_time on macOS), so times of different workers compare.
Wall-clock time appears once per run, to date it for people.
"""

import time
from typing import Final

now_ns = time.monotonic_ns

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
