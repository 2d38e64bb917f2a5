"""What `traffic-gen gate` can be told, and a record of all that it was told.

Gives     click options in groups, in the order of help; `GateOptions` with a field for each
Not here  what they mean together (gate_plan)

None is read from the environment, which is left to the options of send: some have the same names.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import click

from mboxgen.console import FILE, PATH, WHOLE
from trafficgen.cli.grouped import group, options_of

_load, _builds, _verdict, _slices, _runs, _files = (
    partial(group(title), envvar=None) for title in ("Load", "Builds", "Verdict", "Slices", "Whole runs", "Files")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """What `traffic-gen gate` was told, by parameter name."""

    # An option is its field: one, a few lines; a table, which the formatter would take apart.
    # fmt: off
    scenario: Annotated[str | None, _load("--scenario", metavar="FILE", type=FILE,
        help="The load, as for send or mailbox.")]
    rate: Annotated[str | None, _load("--rate", metavar="RATE|half", help="""
        Gate latency in the open model, at this many messages a second such as 200/s, the same for both builds; half:
        half of what A accepts in a short run without a rate. By slices only.""")]
    threshold: Annotated[tuple[str, ...], _load("--threshold", multiple=True, metavar="EXPR",
        help="With --rate half: half of the highest rate at which A keeps this, such as p99<250ms, as find-limit finds "
             "it.")]
    a: Annotated[str | None, _builds("--a", metavar="HOST[:PORT]",
        help="Where the build to compare with is, or comes up.")]
    b: Annotated[str | None, _builds("--b", metavar="HOST[:PORT]",
        help="Where the build under test is, or comes up. [default: as --a]")]
    a_start: Annotated[str | None, _builds("--a-start", metavar="CMD",
        help="Bring A up before each of its runs, without a shell; waits for a 220.")]
    a_stop: Annotated[str | None, _builds("--a-stop", metavar="CMD",
        help="Take A down after each of its runs; waits until it is gone.")]
    b_start: Annotated[str | None, _builds("--b-start", metavar="CMD", help="The same for B.")]
    b_stop: Annotated[str | None, _builds("--b-stop", metavar="CMD", help="The same for B.")]
    a_cgroup: Annotated[str | None, _builds("--a-cgroup", metavar="DIR", type=FILE,
        help="A's cgroup, to read what A used; else its process tree, if it is here.")]
    b_cgroup: Annotated[str | None, _builds("--b-cgroup", metavar="DIR", type=FILE, help="The same for B.")]
    a_queue: Annotated[Path | None, _builds("--a-queue", metavar="DIR", type=PATH,
        help="A's Postfix queue: whose queue grew is said. By slices only.")]
    b_queue: Annotated[Path | None, _builds("--b-queue", metavar="DIR", type=PATH, help="The same for B.")]
    metric: Annotated[tuple[str, ...], _verdict("--metric", multiple=True, metavar="NAME[:PERCENT%[+TIME]]", help="""
        What must not get worse, and by how much it may, such as throughput:5%, p99:10%+2ms (10 %, or 2 ms if that is
        more), server.cpu:3%; of mailboxes also command{login}.p99:10%. At most three. [default: throughput:5%; with
        --rate p50:10%+2ms p95:10%+2ms; of whole runs throughput:5% p99:10%+2ms; of mailboxes p95:10%+2ms
        seen.p95:10%+2ms]""")]
    on_inconclusive: Annotated[str, _verdict("--on-inconclusive", type=click.Choice(["inconclusive", "fail", "pass"]),
        default="inconclusive", help="How warn and inconclusive end: 120, 99 or 0. [default: inconclusive]")]
    tolerate_refusals: Annotated[bool, _verdict("--tolerate-refusals", is_flag=True,
        help="Rejected and failed messages and commands are part of this load.")]
    budget: Annotated[str | None, _slices("--budget", metavar="TIME", help="Decide within this time. [default: 10m]")]
    slice: Annotated[str | None, _slices("--slice", metavar="TIME",
        help="How long a slice is measured, after a third as long that is not. [default: 1500ms]")]
    whole_runs: Annotated[bool, _runs("--whole-runs", is_flag=True,
        help="Make whole runs in turns, as is done where only one build can be up.")]
    looks: Annotated[str | None, _runs("--looks", metavar="N,N…", help="Judge after so many pairs. [default: 8,16,24]")]
    control: Annotated[int | None, _runs("--control", type=WHOLE, metavar="N",
        help="Pairs of A against A first; 0: trust this machine. [default: 8]")]
    keep: Annotated[Path | None, _runs("--keep", metavar="DIR", type=PATH, help="Keep the results of every run here.")]
    state: Annotated[Path | None, _files("--state", metavar="FILE", type=PATH,
        help="Keep what was measured here; called again with the same file, an interrupted gate goes on.")]
    history: Annotated[Path | None, _files("--history", metavar="FILE", type=PATH,
        help="Append ratios and medians to this CSV file, to watch slow drift.")]
    label: Annotated[str, _files("--label", default="", metavar="TEXT",
        help="What to call this gate in the history: a commit, a branch.")]
    json: Annotated[Path | None, _files("--json", metavar="FILE", type=PATH, help="Write all numbers as JSON.")]
    junit: Annotated[Path | None, _files("--junit", metavar="FILE", type=PATH, help="Write the verdict as JUnit XML.")]
    html: Annotated[Path | None, _files("--html", metavar="FILE", type=PATH,
        help="Write one page with the slices and the verdict. By slices only.")]
    # fmt: on
    send: tuple[str, ...]

    @property
    def by_slices(self) -> bool:
        """Whether both builds are up at the same time."""
        commands = (self.a_start, self.a_stop, self.b_start, self.b_stop)
        return self.b is not None and not self.whole_runs and not any(commands) and not self.of_mailboxes

    @property
    def of_mailboxes(self) -> bool:
        """Whether the load is users of mailboxes: their command is named behind the `--`."""
        return self.send[:1] == ("mailbox",)


gate_options: Final = options_of(GateOptions)
"""Adds every option of `gate` to a click command."""
