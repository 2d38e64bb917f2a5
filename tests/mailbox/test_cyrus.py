"""Both documented profiles, with shorter times, against a second real store, Cyrus IMAP: what is left in its mailboxes,
as Python's own client sees it, is what our account says."""

import imaplib
from collections.abc import Iterator

import pytest

from tests.mailbox.profiles import ADVANCED, POP3
from tests.mailbox.test_dovecot import changed, count, names
from tests.peers.cyrus import PASSWORD, Cyrus, running
from trafficgen.mailbox.plan import MailboxPlan, MailboxService
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.results import Results
from trafficgen.plan import TcpTarget
from trafficgen.runs.mailbox import run_mailbox

S = 1_000_000_000
USERS = 10


@pytest.fixture(scope="module", params=[True, False], ids=["folders beside the inbox", "folders below the inbox"])
def cyrus(request: pytest.FixtureRequest) -> Iterator[Cyrus]:
    with running(altnamespace=request.param) as server:
        yield server


def run(cyrus: Cyrus, name: str, text: str) -> tuple[Results, MailboxCounts]:
    text = changed(
        names(text, name), ("total_user_count = 500", f"total_user_count = {USERS}"), ("count = 175", "count = 10")
    )
    # Cyrus makes a mailbox for who logs in for the first time, and refuses another who does so at the same moment.
    assert messages(cyrus, name, "INBOX") == 0
    imap, pop3, lmtp = (MailboxService(TcpTarget("127.0.0.1", port)) for port in (cyrus.imap, cyrus.pop3, cyrus.lmtp))
    plan = MailboxPlan(
        parse_profile(text).profile, imap, pop3, lmtp, password=PASSWORD, duration_ns=3 * S, connections=50
    )
    results = run_mailbox(plan)
    assert results.mailboxes is not None
    return results, results.mailboxes


def messages(cyrus: Cyrus, name: str, folder: str) -> int:
    """How many messages all users of one test have in a folder."""
    found = 0
    for place in range(USERS):
        with imaplib.IMAP4("127.0.0.1", cyrus.imap) as client:
            client.login(f"{name}_{501 + place:03d}@example.com", PASSWORD)
            status, (number,) = client.select(folder)
            found += int(number or b"0") if status == "OK" else 0
    return found


def test_what_the_pop3_profile_leaves_behind(cyrus: Cyrus):
    results, counts = run(cyrus, "pop", changed(POP3, ("rampup_time = 5", "rampup_time = 1"), ("7s", "1s")))
    assert counts.clean
    assert not results.failures
    assert counts.delivered == results.messages.accepted == results.messages.started > 0
    assert counts.deleted == count(results, "dele") > 0
    assert counts.read == count(results, "retr") >= counts.deleted
    assert messages(cyrus, "pop", "INBOX") == counts.delivered - counts.deleted


def test_what_the_imap_profile_leaves_behind(cyrus: Cyrus):
    text = changed(
        ADVANCED,
        ("rampup_time = 5s", "rampup_time = 1s"), ("interval = 5s", "interval = 1s"),
        ("interval = 120s", "interval = 1s"),
        ("3 min", "200 ms"), ("20 min", "3s"), ("action_delay = 2s", "action_delay = 200 ms"),
        ("repeat_delay = 10s", "repeat_delay = 100 ms"), ("session_length = 200 ms", "session_length = 1s"),
        ("5 min", "1s"), ("move_percentage = 5", "move_percentage = 50"),
        ("filter_percentage = 10", "filter_percentage = 40"),
        ("count = 10%", "count = 0%"), ("count = 90%", "count = 100%"),
    )  # fmt: skip
    results, counts = run(cyrus, "adv", text)
    assert counts.clean
    assert not results.failures
    assert counts.delivered == results.messages.accepted == results.messages.started > 0
    assert count(results, "login") == count(results, "logout") > count(results, "select") > 0
    assert counts.read > 0
    assert counts.deleted > 0
    assert counts.moved > 0
    assert messages(cyrus, "adv", "INBOX") == counts.delivered - counts.deleted - counts.moved
    assert sum(messages(cyrus, "adv", folder) for folder in ("Spam", "INBOX/Spam")) == counts.moved
