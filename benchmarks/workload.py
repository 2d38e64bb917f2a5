"""What a message costs before it is sent: `Messages.block` and its parts.

    python -m benchmarks.workload            # µs a message for usual plans, median of blocks of 4,096

Nothing is sent. The engine's budget is 12-18 µs of CPU a message at 5 KB, so this must stay a small part of it.
"""

import statistics
import sys
import time

from trafficgen.plan import LongTail, Plan, SizedBodies, Users, WeightedDomain, Workload
from trafficgen.workload import Messages
from trafficgen.workload.grid import GRID

DATE = "Fri, 21 Nov 2025 22:55:00 +0000"
BLOCKS = 15
SPEC_RECIPIENTS = ((1, 85.73), (2, 3.0), (5, 5.0), (10, 4.0), (20, 2.27))
PLANS = {
    "5 kB, 1 recipient": Workload(),
    "100 kB": Workload(content=SizedBodies(("100kb",))),
    "mix of 4 sizes": Workload(content=SizedBodies(("10kb:5", "80kb:5", "150kb:5", "250kb:5"))),
    "spec2001 sizes": Workload(content=SizedBodies(("spec2001",))),
    "list-all sizes (a curve)": Workload(content=SizedBodies(("list-all",))),
    "Zipf users": Workload(users=Users(100_000, zipf=1.0)),
    "tagged users": Workload(users=Users(100_000, tagged=True)),
    "100,000 domains": Workload(domains=(WeightedDomain("gmail.com", 67.4),), long_tail=LongTail(100_000, 30.0)),
    "1 to 20 recipients": Workload(recipients_per_message=SPEC_RECIPIENTS),
}


def cost_us(workload: Workload) -> tuple[float, float]:
    """(seconds until the first block can be asked for, median µs a message)."""
    begin = time.perf_counter()
    messages = Messages(Plan(max_messages=1, workload=workload), date=DATE)
    built = time.perf_counter() - begin
    spans = []
    for block in range(BLOCKS):
        begin = time.perf_counter()
        messages.block(block * GRID, (block + 1) * GRID)
        spans.append((time.perf_counter() - begin) / GRID * 1e6)
    return built, statistics.median(spans)


def main() -> None:
    """Print the table; with words as arguments, only the plans whose names contain them."""
    print(f"{'plan':28}{'set-up s':>10}{'µs/message':>12}")
    for name, workload in PLANS.items():
        if len(sys.argv) == 1 or any(word in name for word in sys.argv[1:]):
            built, cost = cost_us(workload)
            print(f"{name:28}{built:10.2f}{cost:12.2f}")


if __name__ == "__main__":
    main()
