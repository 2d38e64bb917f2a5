"""What a run may send to whom, held against its plan.

Takes     a plan and the route to its target; recipients that are used as they are given
Refuses   public targets (guard), and recipients on real domains, unless the user allowed those: the server under test
          may relay them to people; passwords over plain sessions to another machine
Not here  which addresses are public (guard), connecting (opening)
"""

import ipaddress
from collections.abc import Iterable

from trafficgen.engine.exchangers import look_up
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import PlanError
from trafficgen.guard import Route, is_local, refuse_public, resolve
from trafficgen.plan import Plan, Security, TcpTarget, is_reserved
from trafficgen.workload.address_book import given

__all__ = ["Route", "check", "exchangers", "is_local", "refuse_real_recipients", "resolve", "routes"]


def check(plan: Plan, route: Route) -> None:
    """Refuse to send where mail could reach strangers. Raises PlanError that says what to type."""
    if not plan.allow_public_target:
        refuse_public(route)
    _refuse_slow_senders(plan, route)
    _refuse_passwords_in_the_clear(plan, route)
    if plan.allow_real_domains:
        return
    workload = plan.workload
    real = workload.real_domains
    if workload.recipients_file is not None and not real:
        real = tuple(one.domain for one in given(workload) if not is_reserved(one.domain))
    if real and (workload.recipients or workload.recipients_file or workload.from_addresses):
        raise _may_reach_people(real[0], "recipients", "--to")
    if real:
        raise PlanError(
            f'mail for "{real[0]}" may be relayed to real people by the server under test; '
            "leave --domain-suffix away, or add --allow-real-domains (allow_real_domains=True) when you are "
            "sure that it cannot leave",
            field="domain_suffix",
            flag="--domain-suffix",
        )


def _refuse_slow_senders(plan: Plan, route: Route) -> None:
    """Connections that are held for long with little are an attack of their own, also where mail is welcome."""
    public = [one.host for one in route.addresses if isinstance(one, TcpTarget) and not is_local(one.host)]
    if public and plan.session.shape.slow_share:
        text = f"slow senders go to loopback, private and link-local addresses only, and not to {public[0]}"
        raise PlanError(text, field="slow_share", flag="--slow-senders")


def _refuse_passwords_in_the_clear(plan: Plan, route: Route) -> None:
    far = [one for one in route.addresses if isinstance(one, TcpTarget) and not _is_loopback(one.host)]
    in_the_clear = plan.session.security is Security.PLAIN
    if far and in_the_clear and plan.session.injection.authorization_file is not None:
        raise PlanError(
            "an Authorization header goes to a loopback address only: plain HTTP shows it to everybody on the way; "
            "use https://",
            field="injection",
            flag="--http-authorization-file",
        )
    if far and plan.session.auth and not plan.session.surely_protected:
        text = f"a password never goes over a plain session, here to {far[0].host}: add --starttls or --tls"
        raise PlanError(text, field="auth", flag="--auth-user")


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def routes(plan: Plan) -> tuple[Route, ...]:
    """The addresses of every target of `plan`, looked up and checked. Raises SetupError and PlanError."""
    found = tuple(resolve(one.target).of_version(plan.ip_version) for one in plan.targets)
    for route in found:
        check(plan, route)
    return found


def exchangers(resolved: ResolvedPlan) -> tuple[Plan, tuple[Route, ...]]:
    """The same for a plan whose domains' mail exchangers are its targets, and the plan with them."""
    plan, routes_found = look_up(resolved)
    found = tuple(route.of_version(plan.ip_version) for route in routes_found)
    for route in found:
        check(plan, route)
    return plan, found


def refuse_real_recipients(recipients: Iterable[str], field: str, flag: str, *, bare: bool) -> None:
    """Refuse the first recipient whose domain is not reserved. `bare`: whether names without a domain are allowed.

    Raises PlanError that says what to type.
    """
    for recipient in recipients:
        domain = recipient.rpartition("@")[2] if "@" in recipient else ""
        if not (is_reserved(domain) if domain else bare):
            raise _may_reach_people(domain or recipient, field, flag)


def _may_reach_people(name: str, field: str, flag: str) -> PlanError:
    return PlanError(
        f'mail for or from "{name}" may reach real people: addresses are used as they are given; use a name '
        "that is reserved for tests, such as lab.test, or add --allow-real-domains (allow_real_domains=True) when "
        "you are sure that mail cannot leave",
        field=field,
        flag=flag,
    )
