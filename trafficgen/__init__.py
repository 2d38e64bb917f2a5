"""Weighted mail traffic at line speed, with every message accounted for.

A first run, to a sink in a process of its own; its ledger proves that all of it arrived:

>>> from trafficgen import Plan, run
>>> results = run(Plan(max_messages=100))
>>> results.messages.accepted, results.ledger.clean
(100, True)

A run starts processes, and they import the script that it was called from: there, it stands behind
`if __name__ == "__main__":`.

**What shall be sent.** A `Plan` is a frozen value, checked when it is made (`PlanError`): a `target` (`TcpTarget`,
`UnixTarget`, or `parse_target` of a text; none is the embedded sink), a `Workload` (domains and their weights, bodies
from `SizedBodies`, a `BodyFile` or a `Corpus`), a `SessionPlan` (TLS, AUTH, pipelining, how the client looks), and
when: as fast as so many `sessions` get answers (the closed model), or with `OpenLoop` at a rate, whatever the server
does. Times are whole nanoseconds. It ends after `max_messages`, after `duration_ns`, or when it is stopped.

>>> from trafficgen import OpenLoop, SizedBodies, WeightedDomain, Workload
>>> mail = Workload(
...     domains=(WeightedDomain("gmail.com", 3), WeightedDomain("yahoo.com", 1)),
...     content=SizedBodies(("10kb:9", "80kb:1")),
... )
>>> results = run(Plan(max_messages=50, load=OpenLoop(rate_per_s=500.0), workload=mail, seed=1))
>>> results.run.model, sorted(results.domains)
('open', ['gmail.com', 'yahoo.com'])

**A run under way.** `run` returns when all is over. `RunHandle` returns at once, from any thread or a running asyncio
loop: `with` or `async with` it, `watch()` it or `async for`, `stop()` it, `wait()` for its results or `await` them.
`progress=` is called with each `Progress`. `run(plan, control=control)` is stopped by its `RunControl`.

>>> from trafficgen import RunHandle
>>> with RunHandle(Plan(duration_ns=3600 * 10**9)) as handle:
...     for now in handle.watch():
...         if now.snapshot.accepted >= 100:
...             handle.stop()
>>> handle.wait().ledger.clean
True

**What came of it.** What a server answers is never an exception: each message ends as one `Outcome`, and `Results`
counts them. SetupError and its like mean that the run could not be done, all of them `TrafficgenError`.

>>> counts = results.messages
>>> counts.started == counts.accepted + counts.unsuccessful + counts.in_doubt
True
>>> results.latency_ns["response"].p99 > 0
True

`results.to_json()` is the results file, `read_results` reads one, of every version since 0.1.0. `to_text` and
`to_html` make reports, `tables_of` tables for pandas, polars or Arrow. `rejudge` holds results to thresholds:

>>> from trafficgen import parse_threshold, rejudge, to_text
>>> judged = rejudge([parse_threshold("accepted.rate>0.999"), parse_threshold("response.p99<1h")], results)
>>> [one.passed for one in judged.thresholds]
[True, True]
>>> "accepted.rate>0.999" in to_text(judged)
True

**A test that expects mail.** `trafficgen.testing` has a sink for tests of other programs, and pytest has it as the
fixture `mail_sink`, from this package alone.

What is named here is public, and changes as docs/reference/compatibility.md says; what is not named may change at any
time. Everything is imported on first use, so that a command line that only wants a help text does not wait for numpy.
"""

from typing import TYPE_CHECKING, Any

from trafficgen.host.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from trafficgen.errors import ExitCode as ExitCode
    from trafficgen.errors import PlanError as PlanError
    from trafficgen.errors import ResultsError as ResultsError
    from trafficgen.errors import SetupError as SetupError
    from trafficgen.errors import StoppedError as StoppedError
    from trafficgen.errors import TrafficgenError as TrafficgenError
    from trafficgen.host.signals import RunControl as RunControl
    from trafficgen.measure.results import Results as Results
    from trafficgen.measure.results import read_results as read_results
    from trafficgen.outcomes import Outcome as Outcome
    from trafficgen.outcomes import Phase as Phase
    from trafficgen.outcomes import StoppedBy as StoppedBy
    from trafficgen.plan import AddressRange as AddressRange
    from trafficgen.plan import Arrivals as Arrivals
    from trafficgen.plan import Auth as Auth
    from trafficgen.plan import AuthUsers as AuthUsers
    from trafficgen.plan import BodyFile as BodyFile
    from trafficgen.plan import ByMode as ByMode
    from trafficgen.plan import ClientAttribute as ClientAttribute
    from trafficgen.plan import ClientPlan as ClientPlan
    from trafficgen.plan import Corpus as Corpus
    from trafficgen.plan import DeliverBy as DeliverBy
    from trafficgen.plan import Departure as Departure
    from trafficgen.plan import Dialect as Dialect
    from trafficgen.plan import DkimKey as DkimKey
    from trafficgen.plan import ExchangerPlan as ExchangerPlan
    from trafficgen.plan import ExtensionPlan as ExtensionPlan
    from trafficgen.plan import Header as Header
    from trafficgen.plan import Injection as Injection
    from trafficgen.plan import LeavingStep as LeavingStep
    from trafficgen.plan import LongTail as LongTail
    from trafficgen.plan import Mechanism as Mechanism
    from trafficgen.plan import Notify as Notify
    from trafficgen.plan import OpenLoop as OpenLoop
    from trafficgen.plan import Pipelining as Pipelining
    from trafficgen.plan import Plan as Plan
    from trafficgen.plan import ProxyProtocol as ProxyProtocol
    from trafficgen.plan import Ret as Ret
    from trafficgen.plan import Retried as Retried
    from trafficgen.plan import RetryPlan as RetryPlan
    from trafficgen.plan import Security as Security
    from trafficgen.plan import SessionPlan as SessionPlan
    from trafficgen.plan import ShapePlan as ShapePlan
    from trafficgen.plan import Shard as Shard
    from trafficgen.plan import SizedBodies as SizedBodies
    from trafficgen.plan import Stage as Stage
    from trafficgen.plan import Target as Target
    from trafficgen.plan import TcpTarget as TcpTarget
    from trafficgen.plan import TlsOptions as TlsOptions
    from trafficgen.plan import TlsVersion as TlsVersion
    from trafficgen.plan import UnixTarget as UnixTarget
    from trafficgen.plan import Users as Users
    from trafficgen.plan import WeightedAddress as WeightedAddress
    from trafficgen.plan import WeightedDomain as WeightedDomain
    from trafficgen.plan import WeightedName as WeightedName
    from trafficgen.plan import WeightedTarget as WeightedTarget
    from trafficgen.plan import Workload as Workload
    from trafficgen.plan import parse_target as parse_target
    from trafficgen.proof.waiting import DeliveryWait as DeliveryWait
    from trafficgen.report.to_html import to_html as to_html
    from trafficgen.report.to_tables import ResultTable as ResultTable
    from trafficgen.report.to_tables import ResultTables as ResultTables
    from trafficgen.report.to_tables import tables_of as tables_of
    from trafficgen.report.to_text import to_text as to_text
    from trafficgen.runs.handle import RunHandle as RunHandle
    from trafficgen.runs.run import Progress as Progress
    from trafficgen.runs.run import run as run
    from trafficgen.verdict.thresholds import Threshold as Threshold
    from trafficgen.verdict.thresholds import parse_threshold as parse_threshold
    from trafficgen.verdict.thresholds import rejudge as rejudge

_HOMES = {
    "trafficgen.errors": ("ExitCode", "PlanError", "ResultsError", "SetupError", "StoppedError", "TrafficgenError"),
    "trafficgen.host.signals": ("RunControl",),
    "trafficgen.measure.results": ("Results", "read_results"),
    "trafficgen.outcomes": ("Outcome", "Phase", "StoppedBy"),
    "trafficgen.plan": (
        "AddressRange", "Arrivals", "Auth", "AuthUsers", "BodyFile", "ByMode", "ClientAttribute", "ClientPlan",
        "Corpus", "DeliverBy", "Departure", "Dialect", "DkimKey", "ExchangerPlan", "ExtensionPlan", "Header",
        "Injection", "LeavingStep", "LongTail", "Mechanism", "Notify", "OpenLoop", "Pipelining", "Plan",
        "ProxyProtocol", "Ret", "Retried", "RetryPlan", "Security", "SessionPlan", "ShapePlan", "Shard",
        "SizedBodies", "Stage", "Target", "TcpTarget", "TlsOptions", "TlsVersion", "UnixTarget", "Users",
        "WeightedAddress", "WeightedDomain", "WeightedName", "WeightedTarget", "Workload", "parse_target",
    ),
    "trafficgen.proof.waiting": ("DeliveryWait",),
    "trafficgen.report.to_html": ("to_html",),
    "trafficgen.report.to_tables": ("ResultTable", "ResultTables", "tables_of"),
    "trafficgen.report.to_text": ("to_text",),
    "trafficgen.runs.handle": ("RunHandle",),
    "trafficgen.runs.run": ("Progress", "run"),
    "trafficgen.verdict.thresholds": ("Threshold", "parse_threshold", "rejudge"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
