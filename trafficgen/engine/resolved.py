"""A plan with everything decided that follows from it: what each later step reads and none works out again.

Takes     a plan
Gives     `ResolvedPlan`: run id, domains and shares, schedule and its end, what files hold; `at`: where, by how many
Fails     PlanError that names the field: a file that cannot be read, sizes that make no sense
Not here  whether a target may be sent to (guard); a corpus, which is made ready when a run begins (workload.prepared)
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

from trafficgen import workload
from trafficgen.engine.password import Login, read_authorization, read_logins
from trafficgen.errors import PlanError
from trafficgen.guard import Route
from trafficgen.plan import Plan, Security
from trafficgen.schedule import Schedule
from trafficgen.workload import Messages
from trafficgen.workload.address_book import address_book
from trafficgen.workload.signing import sign


@dataclass(frozen=True, kw_only=True)
class ResolvedPlan:
    """What a run is made from, a dry run too; the same object for supervisor, workers, monitor and results."""

    plan: Plan
    """Checked, with a run id."""
    domains: tuple[str, ...]
    """By index, without the suffix; the long tail's after the named ones."""
    shares: tuple[float, ...]
    """The wanted share of each; they sum to 1."""
    schedule: Schedule | None
    """Intended starts; None in the closed model."""
    planned: int | None
    """Messages of this shard that start if nothing stops the run; None where only time ends it."""
    sending_ns: int | None
    """No message starts at this time of the run or later; None where only a count ends it."""
    body: bytes | None = field(default=None, repr=False)
    """What the body file holds, CRLF line ends; None without one."""
    logins: tuple[Login, ...] = field(default=(), repr=False)
    """Users of sessions; none where nobody logs in."""
    authorization: str = field(default="", repr=False)
    """Value of the Authorization header of every request; "" without one."""
    signatures: tuple[bytes, ...] = field(default=(), repr=False)
    """DKIM signatures of the pool that messages are taken from; empty until `signed`, and without keys."""
    route: Route | None = None
    """Addresses of the target; None until they were looked up, which a dry run never does."""
    planned_by_all: int | None = None
    """The same of all shards together."""
    more_routes: tuple[Route, ...] = ()
    """Of further targets, in the order of the plan."""
    workers: int = 0
    """Processes that send; decided with the route."""

    @classmethod
    def of(cls, plan: "Plan | ResolvedPlan") -> "ResolvedPlan":
        """Decide everything but the route. Reads the body file, passwords, certificates and the beginning of a
        corpus."""
        if isinstance(plan, ResolvedPlan):
            return plan
        if not isinstance(plan, Plan):
            raise PlanError(f"expected a Plan, got {str(plan)[:80]!r}", field="plan", flag="Plan")
        plan = plan.identified()
        schedule = Schedule(plan) if plan.load else None
        logins = read_logins(plan.session.auth)
        authorization_file = plan.session.injection.authorization_file
        authorization = read_authorization(authorization_file) if authorization_file else ""
        if plan.session.security is not Security.PLAIN:
            from trafficgen.engine.tls import client_context  # `ssl` is not imported for plain sessions

            client_context(plan.session)
        body = workload.read_body(plan)
        workload.check(plan, body)
        addresses = address_book(plan)
        planned = schedule.planned if schedule else plan.max_messages
        mine = plan.shard.arrivals if schedule else plan.shard.numbers
        return cls(
            plan=plan,
            domains=addresses.domains,
            shares=tuple(addresses.shares.tolist()),
            schedule=schedule,
            planned=None if planned is None else len(mine(planned)),
            planned_by_all=planned,
            sending_ns=schedule.duration_ns if schedule else plan.duration_ns,
            body=body,
            logins=logins,
            authorization=authorization,
        )

    def at(self, route: Route, workers: int, more_routes: tuple[Route, ...] = ()) -> "ResolvedPlan":
        """The same with where it goes and how many processes send; never more of them than sessions.

        Where domains have sessions of their own, every process has one for each.
        """
        most = self.sessions // (1 + len(more_routes)) if self.plan.exchangers else self.sessions
        return replace(self, route=route, more_routes=more_routes, workers=min(workers, most))

    def signed(self, date: str) -> "ResolvedPlan":
        """The same with its pool signed, where the plan has keys. Raises PlanError and SetupError."""
        return replace(self, signatures=sign(self.plan, date, self.body))

    def with_plan(self, plan: Plan) -> "ResolvedPlan":
        """The same for a plan that differs in what decides nothing here: its corpus made ready, what is remembered."""
        return replace(self, plan=plan)

    @property
    def routes(self) -> tuple[Route, ...]:
        """Of all targets."""
        return () if self.route is None else (self.route, *self.more_routes)

    @property
    def sessions(self) -> int:
        """Sessions of this shard."""
        return self.plan.shard.share(self.plan.sessions)

    @property
    def sessions_of_all(self) -> int | None:
        """The same, where any of them may get any message; None where domains have sessions of their own."""
        return None if self.plan.exchangers else self.sessions

    @property
    def idle_sessions(self) -> int:
        """Sessions that carry no message, of this machine's share."""
        return self.plan.shard.share(self.plan.session.shape.idle_sessions)

    def arrivals(self, worker: int) -> range:
        """Which arrivals of the open model are this worker's."""
        assert self.planned_by_all is not None  # with a rate, the schedule says it
        first, step = self.plan.shard.lane(worker, self.workers)
        return range(first, self.planned_by_all, step)

    @property
    def weighted_domains(self) -> list[tuple[str, float]]:
        """Domains with their shares, by index."""
        return list(zip(self.domains, self.shares, strict=True))

    @cached_property
    def addressed(self) -> Messages:
        """The run's messages as far as their envelopes go: who gets which. Contents are not made ready."""
        return Messages(self.plan, date="", contents=False)
