"""A run, described: what to send, when, to whom, with which care.

Takes     values that are already numbers; text is parsed by `units`, `mboxgen.recipe.sizes` and the command line
Gives     a frozen, checked, picklable `Plan`: the same object from flags, a scenario file or a library call
Refuses   what makes no sense, with a `PlanError` that names the field and its flag
Not here  anything that touches a file, a socket or a clock: a plan can be checked anywhere
"""

from trafficgen.plan.exchangers import ExchangerPlan
from trafficgen.plan.extensions import ByMode, DeliverBy, ExtensionPlan, Notify, Ret
from trafficgen.plan.identity import AddressRange, ClientAttribute, ClientPlan, ProxyProtocol, WeightedName
from trafficgen.plan.load import Arrivals, OpenLoop, Stage
from trafficgen.plan.login import Auth, AuthUsers, Mechanism
from trafficgen.plan.retry import Retried, RetryPlan
from trafficgen.plan.run import DEFAULT_DURATION_NS, Plan, draw_run_id, draw_seed
from trafficgen.plan.session import MAX_CHUNKS, Injection, Pipelining, SessionPlan
from trafficgen.plan.shape import Departure, LeavingStep, ShapePlan
from trafficgen.plan.shard import Shard
from trafficgen.plan.signing import DkimKey
from trafficgen.plan.targets import (
    RESERVED_SUFFIXES,
    Dialect,
    Target,
    TcpTarget,
    UnixTarget,
    WeightedTarget,
    is_domain,
    is_reserved,
    may_be_a_registry,
    parse_listen,
    parse_service,
    parse_target,
)
from trafficgen.plan.tls import Security, TlsOptions, TlsVersion
from trafficgen.plan.workload import (
    DEFAULT_DOMAINS,
    DEFAULT_SUFFIX,
    MAX_RECIPIENTS,
    BodyFile,
    Corpus,
    Header,
    LongTail,
    SizedBodies,
    Users,
    WeightedAddress,
    WeightedDomain,
    Workload,
)

__all__ = [
    "DEFAULT_DOMAINS",
    "DEFAULT_DURATION_NS",
    "DEFAULT_SUFFIX",
    "MAX_CHUNKS",
    "MAX_RECIPIENTS",
    "RESERVED_SUFFIXES",
    "AddressRange",
    "Arrivals",
    "Auth",
    "AuthUsers",
    "BodyFile",
    "ByMode",
    "ClientAttribute",
    "ClientPlan",
    "Corpus",
    "DeliverBy",
    "Departure",
    "Dialect",
    "DkimKey",
    "ExchangerPlan",
    "ExtensionPlan",
    "Header",
    "Injection",
    "LeavingStep",
    "LongTail",
    "Mechanism",
    "Notify",
    "OpenLoop",
    "Pipelining",
    "Plan",
    "ProxyProtocol",
    "Ret",
    "Retried",
    "RetryPlan",
    "Security",
    "SessionPlan",
    "ShapePlan",
    "Shard",
    "SizedBodies",
    "Stage",
    "Target",
    "TcpTarget",
    "TlsOptions",
    "TlsVersion",
    "UnixTarget",
    "Users",
    "WeightedAddress",
    "WeightedDomain",
    "WeightedName",
    "WeightedTarget",
    "Workload",
    "draw_run_id",
    "draw_seed",
    "is_domain",
    "is_reserved",
    "may_be_a_registry",
    "parse_listen",
    "parse_service",
    "parse_target",
]
