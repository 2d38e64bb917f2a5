"""What a run may send to whom, held against its plan.

Takes     a plan and the route to its target
Refuses   public targets (guard), and recipients on real domains, unless the user allowed those: the server under test
          may relay them to people
Not here  which addresses are public (guard), connecting (opening)
"""

from trafficgen.errors import PlanError
from trafficgen.guard import Route, is_local, refuse_public, resolve
from trafficgen.plan import Plan

__all__ = ["Route", "check", "is_local", "resolve"]


def check(plan: Plan, route: Route) -> None:
    """Refuse to send where mail could reach strangers. Raises PlanError that says what to type."""
    if not plan.allow_public_target:
        refuse_public(route)
    if (real := plan.workload.real_domains) and not plan.allow_real_domains:
        raise PlanError(
            f'mail for "{real[0]}" may be relayed to real people by the server under test; '
            "leave --domain-suffix away, or add --allow-real-domains (allow_real_domains=True) when you are "
            "sure that it cannot leave",
            field="domain_suffix",
            flag="--domain-suffix",
        )
