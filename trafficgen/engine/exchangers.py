"""Where mail for each domain of a run goes: its mail exchangers, looked up once, before anything is sent.

Takes     a resolved plan that asks for it, and a name server
Gives     the plan with a target for each domain, weighted by the domain's share, and their routes
Refuses   a domain that takes no mail or has no exchanger (SetupError), and addresses that the guard refuses
          (PlanError); each by its name
Not here  questions to the DNS (host.lookups), which session carries whose mail (sorting)

RFC 5321 section 5.1: the lowest preference first, those of one preference in random order; without MX records the
domain's own addresses. RFC 7505: a lone MX "." means that a domain takes no mail. Aliases are followed.
"""

import random
from dataclasses import replace
from typing import Final

from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import PlanError, SetupError
from trafficgen.guard import Route
from trafficgen.host.lookups import Lookups, NoAnswer, bare
from trafficgen.plan import ExchangerPlan, Plan, TcpTarget, WeightedTarget
from trafficgen.workload.address_book import address_book

_PATIENCE_S: Final = 10.0
"""For the answer to one question, all tries together."""


def look_up(resolved: ResolvedPlan) -> tuple[Plan, tuple[Route, ...]]:
    """A target and a route for each domain, in the order of the domains. Raises SetupError and PlanError."""
    plan = resolved.plan
    assert plan.exchangers is not None
    if resolved.sessions < len(resolved.domains):
        text = f"expected a session for each of {len(resolved.domains)} domains, got {resolved.sessions}"
        raise PlanError(text, field="sessions", flag="--concurrency")
    lookups = Lookups(plan.exchangers.resolver, _PATIENCE_S, [], ("--mx", "--resolver"))
    chance = random.Random(plan.seed)
    names = address_book(plan).on_wire
    found = tuple(_route(name, plan.exchangers, lookups, chance) for name in names)
    first, *more = [
        WeightedTarget(TcpTarget(name, plan.exchangers.port), share)
        for name, share in zip(names, resolved.shares, strict=True)
    ]
    plan = replace(plan, target=first.target, target_weight=first.weight, more_targets=tuple(more))
    return plan, found


def _route(domain: str, asked: ExchangerPlan, lookups: Lookups, chance: random.Random) -> Route:
    try:
        groups = _exchangers(domain, lookups, chance)
        hosts = [[(host, address) for host in group for address in lookups.addresses(host)] for group in groups]
    except NoAnswer as error:
        raise SetupError(f'cannot look up where mail for "{domain}" goes: {error} (--mx)') from error
    reached = [group for group in hosts if group]
    if not reached:
        names = ", ".join(host for group in groups for host in group)
        what = "it has neither MX records nor an address" if names == domain else f"no address for {names}"
        raise SetupError(f'nobody takes mail for "{domain}": {what} (--mx)')
    return Route(
        domain,
        tuple(TcpTarget(address, asked.port) for group in reached for _, address in group),
        hosts=tuple(host for group in reached for host, _ in group),
        equal=len(reached[0]),
    )


def _exchangers(domain: str, lookups: Lookups, chance: random.Random) -> list[list[str]]:
    """Host names by preference, the best first; the domain itself where it has no MX records."""
    by_preference: dict[int, list[str]] = {}
    for record in lookups.records(domain, "MX"):
        by_preference.setdefault(int(record.preference), []).append(bare(record.exchange))
    if not by_preference:
        return [[domain]]
    if any("" in group for group in by_preference.values()):
        alone = sum(map(len, by_preference.values())) == 1
        what = "it says so (a null MX, RFC 7505)" if alone else "a null MX stands beside others (RFC 7505 section 3)"
        raise SetupError(f'"{domain}" takes no mail: {what} (--mx)')
    groups = [sorted(group) for _, group in sorted(by_preference.items())]
    for group in groups:
        chance.shuffle(group)
    return groups
