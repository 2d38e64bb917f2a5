"""Mail that goes by SMTP, and by TLS, to real servers; and recipients who could be real people."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.check.lab import PASSWORD as LAB_PASSWORD
from tests.check.lab import USER, Lab, lab
from tests.mailbox.faulty_run import PROFILE
from tests.peers.certificates import Certificate
from tests.peers.dovecot import PASSWORD, Dovecot, running
from tests.peers.private_sink import private_sink
from trafficgen.errors import PlanError
from trafficgen.mailbox.plan import Delivering, MailboxPlan, MailboxService, Protection
from trafficgen.mailbox.reading import parse_profile
from trafficgen.plan import TcpTarget
from trafficgen.runs.mailbox import run_mailbox

S = 1_000_000_000
NOBODY_LOGS_IN = ("connection_max_count = 1", "connection_max_count = 0")


def here(port: int, protection: Protection = Protection.NONE) -> MailboxService:
    return MailboxService(TcpTarget("127.0.0.1", port), protection)


def plan_of(*changes: tuple[str, str], protocol: str = "imap", **services: Any) -> MailboxPlan:
    text = PROFILE.format(protocol=protocol, settings="mail_inbox_delete_percentage = 100")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    given = {"imap": here(1), "pop3": here(1), "duration_ns": S, "final_ns": 30 * S, "verify_tls": False, **services}
    return MailboxPlan(profile=parse_profile(text).profile, **given)


@pytest.fixture(scope="module")
def dovecot(certificate: Certificate) -> Iterator[Dovecot]:
    with running(certificate=(certificate.certificate, certificate.key)) as server:
        yield server


@pytest.fixture(scope="module")
def servers() -> Iterator[Lab]:
    with private_sink() as outside, lab(outside.port, right=True) as running_servers:
        yield running_servers
        assert outside.received == 0


@pytest.mark.parametrize("pipelining", [True, False])
def test_smtp_to_our_sink_hands_over_every_mail_with_its_mark(*, pipelining: bool):
    with private_sink() as sink:
        plan = plan_of(
            NOBODY_LOGS_IN, delivery=here(sink.port), delivering=Delivering.SMTP, pipelining=pipelining
        ).identified()
        results = run_mailbox(plan)
        assert results.messages.accepted == results.messages.planned > 0
        assert not results.failures
        arrived = sink.arrivals(plan.run_id)
        assert sink.received == results.messages.accepted
        assert sink.unmarked == 0
        assert arrived.messages == results.messages.accepted


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_by_smtp_with_starttls_through_postfix_to_dovecot_and_read_there(servers: Lab, protocol: str):
    results = run_mailbox(
        plan_of(
            ("u%n@example.com", USER), ("total_user_count = 2", "total_user_count = 1"), protocol=protocol,
            imap=here(servers.ports["imap"], Protection.STARTTLS),
            pop3=here(servers.ports["pop3"], Protection.STARTTLS),
            delivery=here(servers.ports["smtp"], Protection.STARTTLS),
            delivering=Delivering.SMTP, password=LAB_PASSWORD, duration_ns=3 * S,
        )
    )  # fmt: skip
    counts = results.mailboxes
    assert counts is not None
    assert not results.failures
    assert counts.clean
    assert counts.delivered == results.messages.planned > 0
    assert 0 < counts.deleted <= counts.read + counts.earlier  # of the test before, in the same mailbox


@pytest.mark.parametrize("protection", [Protection.TLS, Protection.STARTTLS])
def test_lmtp_with_tls(dovecot: Dovecot, protection: Protection):
    port = dovecot.lmtps if protection is Protection.TLS else dovecot.lmtp
    before = dovecot.count("saved mail to INBOX")
    plan = plan_of(imap=here(dovecot.imap), password=PASSWORD, delivery=here(port, protection))
    results = run_mailbox(plan)
    assert not results.failures
    assert results.mailboxes is not None
    assert results.mailboxes.clean
    assert results.messages.accepted == dovecot.count("saved mail to INBOX") - before > 0
    assert results.histograms["tls"].count == results.messages.accepted


def test_a_certificate_of_nobody_we_trust_ends_the_delivery_and_is_said(dovecot: Dovecot):
    plan = plan_of(NOBODY_LOGS_IN, delivery=here(dovecot.lmtps, Protection.TLS), verify_tls=True)
    results = run_mailbox(plan)
    assert results.messages.failed == results.messages.planned > 0
    assert {failure.reason for failure in results.failures} == {"TLS failed"}


@pytest.mark.parametrize("delivering", Delivering)
@pytest.mark.parametrize("name", ["u%n@corp.com", "u%n@example.com.co", "u%n@com"])
def test_recipients_on_real_domains_are_refused_before_anything_is_sent(name: str, delivering: Delivering):
    with private_sink() as sink:
        plan = plan_of(NOBODY_LOGS_IN, ("u%n@example.com", name), delivery=here(sink.port), delivering=delivering)
        with pytest.raises(PlanError, match=r"may reach real people.*--allow-real-domains") as refused:
            run_mailbox(plan)
        assert refused.value.flag == "--profile"
        assert sink.received == 0


def test_names_without_a_domain_are_the_stores_own_by_lmtp_and_anybodys_by_smtp(dovecot: Dovecot):
    plan = plan_of(NOBODY_LOGS_IN, ("u%n@example.com", "u%n"), delivery=here(dovecot.lmtp))
    with pytest.raises(PlanError, match='"u1" may reach real people'):
        run_mailbox(replace(plan, delivering=Delivering.SMTP))
    assert run_mailbox(plan).messages.accepted > 0


def test_real_domains_that_are_allowed_or_get_no_mail_are_not_refused():
    with private_sink() as sink:
        named = (NOBODY_LOGS_IN, ("u%n@example.com", "u%n@corp.com"))
        plan = plan_of(*named, delivery=here(sink.port), delivering=Delivering.SMTP)
        run_mailbox(plan_of(*named, ("= 100 ms\n  mail_action_delay", "= 0\n  mail_action_delay"), delivery=here(1)))
        assert sink.received == 0
        assert run_mailbox(replace(plan, allow_real_domains=True)).messages.accepted == sink.received > 0
