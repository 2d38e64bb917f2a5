"""A user with two mail programs: what one throws away while the other looks is no fault of the server."""

import threading

from tests.mailbox.faulty_run import counts_of, failures_of, run
from tests.mailbox.store import ImapSession, Pop3Session, Store
from trafficgen.errors import ExitCode

MANUAL = "imap_fetch_manual = BODY.PEEK[]"
BOTH = f"""{MANUAL}
}}
client d {{
  count = 100%
  connection_max_count = 1
  protocol = pop3
  login_interval = 50 ms"""


def gone(store: Store, user: str, message: tuple[int, bytes]) -> bool:
    """Whether somebody removes this message within some seconds."""
    for _ in range(300):
        with store.lock:
            if message not in store.mail[user]:
                return True
        threading.Event().wait(0.01)
    return False


class LateRetr(Pop3Session):
    """RETR comes when an IMAP session has expunged the message, and is refused as Dovecot does it."""

    refused = 0

    def on_retr(self, argument: str) -> None:
        if gone(self.store, self.user, self.listed[int(argument) - 1]):
            type(self).refused += 1
            self.say(f"-ERR Message {argument} expunged.")
        else:
            super().on_retr(argument)


class LateFetch(ImapSession):
    """FETCH comes when a POP3 session has removed the message: NIL, as Dovecot says it."""

    nil = 0

    def content(self, octets: bytes, argument: str) -> bytes:
        message = next(one for one in self.view if one[1] == octets)
        if "X-Traffic-Gen" in argument and gone(self.store, self.user, message):
            type(self).nil += 1
            return b"BODY[HEADER.FIELDS (X-Traffic-Gen)] NIL"
        return super().content(octets, argument)


def test_a_message_that_an_imap_program_has_expunged_is_no_error_in_pop3():
    LateRetr.refused = 0
    results = run(Store(), pop3=LateRetr, changes=((MANUAL, BOTH),))
    counts = counts_of(results)
    assert LateRetr.refused > 0
    assert counts.clean
    assert counts.read > 0
    assert not failures_of(results)
    assert results.commands["retr"].errors == 0
    assert results.exit_code(keep_going=False) is ExitCode.DONE


def test_a_refusal_of_what_nobody_has_removed_is_an_error():
    class Refuses(Pop3Session):
        def on_retr(self, _argument: str) -> None:
            self.say("-ERR no")

    results = run(Store(), pop3=Refuses, settings="", changes=((MANUAL, BOTH),))
    assert results.commands["retr"].refused > 0
    assert ("retr", "-ERR") in failures_of(results)


class Vanishes(ImapSession):
    """Shows what there is, and has lost it when its body is asked for."""

    def content(self, octets: bytes, argument: str) -> bytes:
        return super().content(octets, argument) if "X-Traffic-Gen" in argument else b"BODY[] NIL"


def test_a_message_that_was_shown_and_is_gone_when_it_is_read_is_missing():
    results = run(Store(), imap=Vanishes, settings="")
    counts = counts_of(results)
    assert counts.seen > 0
    assert counts.read == 0
    assert counts.missing == results.commands["body"].count > 0
    assert results.exit_code(keep_going=True) is ExitCode.VERDICT_FAILED


def test_a_message_of_which_no_body_is_asked_for_is_not_missing():
    changes = ((MANUAL, "imap_fetch_manual = RFC822.SIZE"),)
    counts = counts_of(run(Store(), imap=Vanishes, settings="", changes=changes))
    assert counts.clean
    assert counts.seen > 0


def test_a_message_that_a_pop3_program_has_removed_is_not_called_foreign():
    LateFetch.nil = 0
    results = run(Store(), imap=LateFetch, settings="", changes=((MANUAL, BOTH),))
    counts = counts_of(results)
    assert LateFetch.nil > 0
    assert counts.clean
    assert counts.foreign == 0
