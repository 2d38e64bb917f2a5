"""Both profiles of imaptest's documentation, word for word, against a private Dovecot: our totals beside its log's.

    python -m benchmarks.mailbox_profiles [--seconds 20] [--workers 1]

Ends with 1 when any two differ, or when mail is missing, doubled, damaged or misplaced. tests/mailbox/test_dovecot.py
has the same with fewer users and shorter times.
"""

import argparse
import re
import sys
from typing import Final

from benchmarks.machine import birth_certificate
from tests.mailbox.profiles import ADVANCED, POP3
from tests.peers import dovecot
from trafficgen.clock import NS_PER_S
from trafficgen.mailbox.plan import MailboxPlan, MailboxService
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.results import Results
from trafficgen.plan import TcpTarget
from trafficgen.report.sections import mailboxes_in_words
from trafficgen.runs.mailbox import run_mailbox

_USER: Final = r"testuser_\d+@example\.com"
_LOGIN: Final = "login: Info: (?:Login|Logged in): user=<USER>"
_CLIENTS: Final = 1200
"""Room for two connections of each of 500 users, some of whom have two programs."""

Totals = dict[str, tuple[int, int]]
"""By what they count: ours, and the log's."""


def lines(log: str, pattern: str) -> list[re.Match[str]]:
    """What the log says of the users."""
    return list(re.finditer(pattern.replace("USER", _USER), log))


def of_pop3(results: Results, log: str) -> Totals:
    """Of a run of the POP3 profile."""
    ended = lines(log, r"pop3\(USER\).*retr=(\d+) del=(\d+)/")
    commands = results.commands
    return {
        "sessions": (commands["pop3_quit"].count, len(ended)),
        "logins": (
            commands["pop3_login"].count,
            len(lines(log, r"pop3-login: Info: (?:Login|Logged in): user=<USER>")),
        ),
        "retrieved": (commands["retr"].count, sum(int(match[1]) for match in ended)),
        "deleted": (commands["dele"].count, sum(int(match[2]) for match in ended)),
    }


def of_imap(results: Results, log: str) -> Totals:
    """Of a run of the advanced profile."""
    counts = results.mailboxes
    assert counts is not None
    commands = results.commands
    # Both programs of a user may remove the same mail before one hears of the other; then the log says so twice.
    removed = {match.groups() for match in lines(log, r"imap\((USER)\).* expunge: box=INBOX, uid=(\d+)")}
    return {
        "logins": (commands["login"].count, len(lines(log, f"imap-{_LOGIN}"))),
        "logouts": (commands["logout"].count, len(lines(log, r"imap\(USER\).*Logged out "))),
        "deleted or moved": (counts.deleted + counts.moved, len(removed)),
    }


def play(name: str, profile: str, seconds: float, workers: int) -> bool:
    """One run with a Dovecot of its own; whether all is as its log says."""
    with dovecot.running() as store:
        imap, pop3, lmtp = (
            MailboxService(TcpTarget("127.0.0.1", port)) for port in (store.imap, store.pop3, store.lmtp)
        )
        plan = MailboxPlan(
            parse_profile(profile).profile, imap, pop3, lmtp, password=dovecot.PASSWORD, connections=_CLIENTS,
            duration_ns=round(seconds * NS_PER_S), final_ns=120 * NS_PER_S, workers=workers,
        )  # fmt: skip
        results = run_mailbox(plan)
        counts, messages, log = results.mailboxes, results.messages, store.log
    assert counts is not None
    of = of_pop3 if "protocol = pop3" in profile else of_imap
    saved = len(lines(log, r"lmtp\(USER\).*saved mail to INBOX"))
    totals = {"delivered": (messages.accepted, saved)} | of(results, log)
    print(f"\n{name}, 500 users, {seconds:g} s, {results.run.duration_s:.1f} s to the last goodbye, {workers} workers")
    for what, (ours, theirs) in totals.items():
        print(f"  {what:20} {ours:8,} ours {theirs:8,} Dovecot's log  {'' if ours == theirs else 'DIFFERENT'}")
    unknown = messages.failed + messages.in_doubt
    print(f"  of {messages.planned:,} due, {counts.dropped:,} dropped, {unknown:,} failed or in doubt")
    print(f"  {mailboxes_in_words(counts)}")
    for failure in results.failures:
        print(f"  failure: {failure.phase}: {failure.reason} ({failure.count}): {failure.example}")
    return counts.clean and all(ours == theirs for ours, theirs in totals.values())


def main() -> int:
    """Both of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    print(birth_certificate("python -m benchmarks.mailbox_profiles"))
    found = [play(name, text, given.seconds, given.workers) for name, text in (("POP3", POP3), ("IMAP", ADVANCED))]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
