"""What a run by a plan will never measure, known before it begins.

Takes     a quantity; a plan
Gives     why no run by this plan has a value for it; None where one may have
Not here  what a server decides: whether it offers TLS, refuses mail, ends sessions. That shows in the results
"""

from typing import Final

from trafficgen.measure.phases import OF_MAILBOXES
from trafficgen.measure.recorder import MAX_TIMED_DOMAINS
from trafficgen.plan import Plan, Security
from trafficgen.verdict.quantities import Quantity, matching_domain

OPENING: Final = ("connect", "tls", "greeting", "ehlo", "auth")
"""What is timed when a session opens, and not again while it lasts."""

_OF_INTENDED_STARTS: Final = ("response", "response_rejected", "lateness")


def why_never(quantity: Quantity, plan: Plan) -> str | None:
    """Why no run by this plan can measure it, with what would."""
    name = quantity.name
    if quantity.subject == "delivery" or quantity.subject in OF_MAILBOXES.timed:
        return f'"{name}": a run that sends mail reads no mailboxes'
    if quantity.command is not None:
        return f'"{name}": a run that sends mail measures messages, no other commands'
    if quantity.domain is not None:
        return _why_no_domain(quantity, quantity.domain, plan)
    if plan.load is None and quantity.subject in _OF_INTENDED_STARTS:
        return f'"{name}" needs intended starts, which the closed model has not: add --rate'
    if quantity.subject == "tls" and plan.session.security is Security.PLAIN:
        return f'"{name}" needs TLS, and sessions are plain: add --starttls or --tls'
    if quantity.subject in ("greeting", "ehlo", "auth") and plan.target and plan.target.dialect.injects:
        return f'"{name}": mail that goes in requests of HTTP has no such step'
    if quantity.subject == "auth" and plan.session.auth is None:
        return f'"{name}" needs a login: add --auth-user or --auth-users'
    return None


def _why_no_domain(quantity: Quantity, domain: str, plan: Plan) -> str | None:
    workload = plan.workload
    if workload.recipients_file is not None:
        return None  # what it holds shows in the results
    names = tuple(dict.fromkeys(one.domain for one in workload.recipients))
    names = names or tuple(workload.with_suffix(one.name) for one in workload.domains)
    found = matching_domain(domain, names)
    if found is None:
        return f'no mail goes to the domain of "{quantity.name}"; it is none of those named'
    if names.index(found) >= MAX_TIMED_DOMAINS:
        return f'"{quantity.name}": only the first {MAX_TIMED_DOMAINS} domains are timed; name this one earlier'
    return None
