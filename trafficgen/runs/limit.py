"""How much a server takes: runs that look for the highest rate at which it keeps what was promised.

Takes     a plan with a target; thresholds; a search (verdict.limit)
Gives     the capacity that a short run without a rate shows; steps at rates, until the search has found the limit
Not here  which rate comes next (verdict.limit)
"""

from dataclasses import replace
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.errors import SetupError
from trafficgen.plan import Plan
from trafficgen.runs.monitor import MonitorOptions, run_monitored

CAPACITY_NS: Final = 5 * NS_PER_S


def capacity(plan: Plan, *, duration_ns: int = CAPACITY_NS) -> float:
    """Messages a second that the target accepts in a closed loop of the plan's sessions; SetupError for none."""
    closed = replace(plan, load=None, max_messages=None, duration_ns=duration_ns, keep_going=True, run_id="")
    results = run_monitored(closed, MonitorOptions(from_ns=duration_ns // 5))
    window = results.window or results
    rate = window.rate.messages_per_s
    if not rate:
        raise SetupError(f"{plan.target} accepted nothing in {duration_ns / NS_PER_S:g} s without a rate")
    return rate
