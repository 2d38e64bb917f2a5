"""What a run may send to whom, held against its plan.

Takes     a plan and the route to its target
Refuses   public targets (guard), and recipients on real domains, unless the user allowed those: the server under test
          may relay them to people; passwords over plain sessions to another machine
Not here  which addresses are public (guard), connecting (opening)
"""

import ipaddress

from trafficgen.errors import PlanError
from trafficgen.guard import Route, is_local, refuse_public, resolve
from trafficgen.plan import Plan, TcpTarget, is_reserved
from trafficgen.workload.address_book import given

__all__ = ["Route", "check", "is_local", "resolve"]


def check(plan: Plan, route: Route) -> None:
    """Refuse to send where mail could reach strangers. Raises PlanError that says what to type."""
    if not plan.allow_public_target:
        refuse_public(route)
    _refuse_passwords_in_the_clear(plan, route)
    if plan.allow_real_domains:
        return
    workload = plan.workload
    real = workload.real_domains
    if workload.recipients_file is not None and not real:
        real = tuple(one.domain for one in given(workload) if not is_reserved(one.domain))
    if real and (workload.recipients or workload.recipients_file or workload.from_addresses):
        raise PlanError(
            f'mail for or from "{real[0]}" may reach real people: addresses are used as they are given; use a name '
            "that is reserved for tests, such as lab.test, or add --allow-real-domains (allow_real_domains=True) when "
            "you are sure that mail cannot leave",
            field="recipients",
            flag="--to",
        )
    if real:
        raise PlanError(
            f'mail for "{real[0]}" may be relayed to real people by the server under test; '
            "leave --domain-suffix away, or add --allow-real-domains (allow_real_domains=True) when you are "
            "sure that it cannot leave",
            field="domain_suffix",
            flag="--domain-suffix",
        )


def _refuse_passwords_in_the_clear(plan: Plan, route: Route) -> None:
    far = [one for one in route.addresses if isinstance(one, TcpTarget) and not _is_loopback(one.host)]
    if far and plan.session.auth and not plan.session.surely_protected:
        text = f"a password never goes over a plain session, here to {far[0].host}: add --starttls or --tls"
        raise PlanError(text, field="auth", flag="--auth-user")


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback
