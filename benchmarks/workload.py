"""What a message costs before it is sent: `Messages.block` and its parts.

    python -m benchmarks.workload            # all plans; words as arguments choose some

µs of CPU a message, asked for 4,096 and 64 at a time, and ms until the first message of a block of random draws: best
of several, as other work on the machine can only add. Nothing is sent. A message costs the engine some 15 µs.
"""

import sys
import time

from trafficgen.plan import LongTail, Plan, SizedBodies, Users, WeightedDomain, Workload
from trafficgen.protocol.smtp.layout import BY_DATA
from trafficgen.workload import Messages
from trafficgen.workload.grid import GRID

DATE = "Fri, 21 Nov 2025 22:55:00 +0000"
BLOCKS = 12
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


def cost_us(messages: Messages, piece: int) -> float:
    """µs of CPU a message, asked for `piece` at a time."""
    spans = []
    for first in range(0, BLOCKS * 4096, 4096):
        begin = time.process_time_ns()
        for number in range(first, first + 4096, piece):
            messages.block(number, number + piece)
        spans.append((time.process_time_ns() - begin) / 4096 / 1e3)
    return min(spans)


def first_ms(messages: Messages) -> float:
    """ms until the first message of a block of draws is there."""
    spans = []
    for first in range(GRID * 1000, GRID * 1030, GRID):
        begin = time.perf_counter_ns()
        messages.block(first, first + 1)
        spans.append((time.perf_counter_ns() - begin) / 1e6)
    return min(spans)


def main() -> None:
    """Print the table."""
    print(f"{'plan':28}{'set-up s':>10}{'µs, by 4096':>13}{'µs, by 64':>13}{'first ms':>10}")
    for name, workload in PLANS.items():
        if len(sys.argv) == 1 or any(word in name for word in sys.argv[1:]):
            begin = time.perf_counter()
            messages = Messages(Plan(max_messages=1, workload=workload, seed=0).identified(), date=DATE, layout=BY_DATA)
            built = time.perf_counter() - begin
            costs = f"{cost_us(messages, 4096):13.2f}{cost_us(messages, 64):13.2f}{first_ms(messages):10.2f}"
            print(f"{name:28}{built:10.2f}{costs}")


if __name__ == "__main__":
    main()
