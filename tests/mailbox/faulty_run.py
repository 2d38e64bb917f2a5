"""Runs of users of mailboxes against a store that has faults."""

from contextlib import ExitStack
from typing import Any

from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store, listening
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.plan import MailboxPlan, MailboxService
from trafficgen.mailbox.profile import Profile
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.results import Results
from trafficgen.plan import TcpTarget
from trafficgen.runs.mailbox import run_mailbox

S = 1_000_000_000

PROFILE = """\
lmtp_port = 24
total_user_count = 2
user u {{
  count = 100%
  username_format = u%n@example.com
  mail_inbox_delivery_interval = 100 ms
  mail_action_delay = 10 ms
  mail_action_repeat_delay = 10 ms
  {settings}
}}
client c {{
  count = 100%
  connection_max_count = 1
  protocol = {protocol}
  login_interval = 100 ms
  imap_fetch_immediate = UID FLAGS
  imap_fetch_manual = BODY.PEEK[]
}}
"""


def plan_of(profile: Profile, ports: list[int], host: str = "127.0.0.1", **fields: Any) -> MailboxPlan:
    imap, pop3, delivery = (MailboxService(TcpTarget(host, port)) for port in ports)
    return MailboxPlan(profile=profile, imap=imap, pop3=pop3, delivery=delivery, **fields)


def run(
    store: Store,
    *,
    protocol: str = "imap",
    settings: str = "mail_inbox_delete_percentage = 100",
    imap: type[ImapSession] = ImapSession,
    pop3: type[Pop3Session] = Pop3Session,
    lmtp: type[LmtpSession] = LmtpSession,
    said: list[str] | None = None,
    control: RunControl | None = None,
    changes: tuple[tuple[str, str], ...] = (),
    **fields: Any,
) -> Results:
    with ExitStack() as stack:
        ports = [
            stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer)))  # type: ignore[misc]
            for kind in (imap, pop3, lmtp)
        ]
        text = PROFILE.format(protocol=protocol, settings=settings)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        plan = plan_of(
            parse_profile(text).profile, ports, **{"duration_ns": S, "final_ns": 10 * S, "timeout_ns": 10 * S, **fields}
        )
        return run_mailbox(plan, say=(said if said is not None else []).append, control=control)


def counts_of(results: Results) -> MailboxCounts:
    assert results.mailboxes is not None
    assert results.mailboxes.adds_up
    assert results.messages.accepted == results.mailboxes.delivered
    return results.mailboxes


def failures_of(results: Results) -> set[tuple[str, str]]:
    return {(failure.phase, failure.reason) for failure in results.failures}


class Loses(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        return "250 2.0.0 saved, or so I say"


class Doubles(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        self.add(user, octets)
        return super().deliver(user, octets)
