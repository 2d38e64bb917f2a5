"""The load of a gate whose builds are stores: users of mailboxes, the same for both.

Takes     a plan for each side: one seed, so the same users do the same at the same times; the builds differ in where
          their servers are
Gives     runs with ids of their own, so that mail of an earlier run is told from that of this one
Fails     PlanError when the guard or a file refuses, before anything connects
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from secrets import token_hex

from trafficgen.host.signals import CountedSignals, RunControl
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.measure.results import Results
from trafficgen.runs.mailbox import prepare, run_mailbox, run_mailbox_monitored
from trafficgen.runs.monitor import MonitorOptions
from trafficgen.verdict.gating import Side


@dataclass(frozen=True, slots=True)
class MailboxUsers:
    """Users who get mail and read it. `runner` makes a run in place of `runs.mailbox.run_mailbox`."""

    plans: Mapping[Side, MailboxPlan]
    monitor: MonitorOptions
    runner: Callable[..., Results] = run_mailbox

    def check(self, side: Side) -> None:
        """All that a run looks at before anybody logs in."""
        prepare(self.plans[side])

    def run(self, side: Side) -> Results:
        """From the first delivery to the last goodbye."""
        plan = replace(self.plans[side], run_id=token_hex(8))
        control = RunControl()
        with CountedSignals(control):
            return run_mailbox_monitored(plan, self.monitor, control=control, runner=self.runner)
