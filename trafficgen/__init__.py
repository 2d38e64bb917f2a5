"""Weighted mail traffic at line speed, with every message accounted for.

    from trafficgen import Plan, run

    if __name__ == "__main__":  # a run starts processes, and they import this script
        results = run(Plan(max_messages=10_000))  # to a sink in a process of its own
        assert results.messages.accepted == 10_000 and results.ledger.clean

`RunHandle(plan)` begins a run and returns at once: `watch()` it, `stop()` it (in good order, with results; a second
time at once), `wait()` for its results; in an asyncio loop `async for` and `await`. `run(plan, control=control)` is
stopped by its `RunControl` in the same way, from any thread or from its own callbacks.

`Plan` and what it is made of are plain frozen values; `run` sends and returns `Results`. Everything is imported on
first use, so that a command line that only wants a help text does not wait for numpy.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

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
    from trafficgen.plan import Arrivals as Arrivals
    from trafficgen.plan import Auth as Auth
    from trafficgen.plan import AuthUsers as AuthUsers
    from trafficgen.plan import BodyFile as BodyFile
    from trafficgen.plan import Corpus as Corpus
    from trafficgen.plan import DkimKey as DkimKey
    from trafficgen.plan import Header as Header
    from trafficgen.plan import Injection as Injection
    from trafficgen.plan import LongTail as LongTail
    from trafficgen.plan import Mechanism as Mechanism
    from trafficgen.plan import OpenLoop as OpenLoop
    from trafficgen.plan import Pipelining as Pipelining
    from trafficgen.plan import Plan as Plan
    from trafficgen.plan import Retried as Retried
    from trafficgen.plan import RetryPlan as RetryPlan
    from trafficgen.plan import Security as Security
    from trafficgen.plan import SessionPlan as SessionPlan
    from trafficgen.plan import SizedBodies as SizedBodies
    from trafficgen.plan import Stage as Stage
    from trafficgen.plan import TcpTarget as TcpTarget
    from trafficgen.plan import TlsOptions as TlsOptions
    from trafficgen.plan import TlsVersion as TlsVersion
    from trafficgen.plan import UnixTarget as UnixTarget
    from trafficgen.plan import Users as Users
    from trafficgen.plan import WeightedDomain as WeightedDomain
    from trafficgen.plan import Workload as Workload
    from trafficgen.plan import parse_target as parse_target
    from trafficgen.runs.handle import RunHandle as RunHandle
    from trafficgen.runs.run import Progress as Progress
    from trafficgen.runs.run import run as run

_HOMES = {
    "trafficgen.errors": ("ExitCode", "PlanError", "ResultsError", "SetupError", "StoppedError", "TrafficgenError"),
    "trafficgen.host.signals": ("RunControl",),
    "trafficgen.measure.results": ("Results", "read_results"),
    "trafficgen.outcomes": ("Outcome", "Phase"),
    "trafficgen.plan": (
        "Arrivals", "Auth", "AuthUsers", "BodyFile", "Corpus", "DkimKey", "Header", "Injection", "LongTail",
        "Mechanism", "OpenLoop", "Pipelining", "Plan", "Retried", "RetryPlan", "Security", "SessionPlan", "SizedBodies",
        "Stage", "TcpTarget",
        "TlsOptions", "TlsVersion", "UnixTarget", "Users", "WeightedDomain", "Workload", "parse_target",
    ),
    "trafficgen.runs.handle": ("RunHandle",),
    "trafficgen.runs.run": ("Progress", "run"),
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
