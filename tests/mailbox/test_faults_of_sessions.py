"""Sessions and deliveries that are refused, cut short or answered with what is no answer."""

from pathlib import Path
from typing import Any

import pytest

from tests.mailbox.faulty_run import counts_of, failures_of, run
from tests.mailbox.store import HangUp, ImapSession, LmtpSession, Pop3Session, Store
from trafficgen.errors import ExitCode


class CreatedByOthers(ImapSession):
    def on_create(self, argument: str) -> None:
        self.say(f"{self.tag} NO [ALREADYEXISTS] Mailbox exists")


class Prefixed(ImapSession):
    def on_create(self, argument: str) -> None:
        if argument.startswith("INBOX."):
            super().on_create(argument)
        else:
            self.say(f"{self.tag} NO [CANNOT] Invalid mailbox name")


@pytest.mark.parametrize("imap", [CreatedByOthers, Prefixed])
def test_folders_that_others_made_or_that_have_a_prefix(imap: type[ImapSession]):
    store = Store()
    results = run(store, imap=imap, settings="mail_inbox_move_percentage = 100")
    assert counts_of(results).moved > 0
    assert not results.failures
    if imap is Prefixed:
        assert "INBOX.Spam" in store.folders


def refusing(command: str, word: str) -> type[ImapSession]:
    def answer(self: ImapSession, argument: str) -> None:
        self.say(f"{self.tag} {word} [SERVERBUG] not today")

    return type("Refusing", (ImapSession,), {f"on_{command}": answer})


@pytest.mark.parametrize(
    ("command", "operation", "word"),
    [
        ("login", "login", "NO"), ("list", "list", "BAD"), ("create", "create", "NO"), ("select", "select", "NO"),
        ("select", "select", "BAD"), ("idle", "idle_begin", "NO"), ("uid_fetch", "fetch", "NO"),
        ("uid_fetch", "fetch", "BAD"), ("uid_store", "store", "NO"), ("uid_expunge", "expunge", "BAD"),
        ("uid_move", "move", "NO"), ("noop", "noop", "BAD"), ("logout", "logout", "NO"),
    ],
)  # fmt: skip
def test_a_refusal_is_counted_where_it_belongs(command: str, operation: str, word: str):
    settings = "mail_inbox_delete_percentage = 50\n mail_inbox_move_percentage = 100"
    results = run(Store(), imap=refusing(command, word), settings=settings)
    counts = counts_of(results)
    assert (operation, f"{word} [SERVERBUG]") in failures_of(results)
    assert results.commands[operation].refused > 0
    assert counts.clean, counts
    assert results.exit_code(keep_going=False) is ExitCode.FAILED


class ByeInIdle(ImapSession):
    def on_idle(self, _argument: str) -> None:
        self.say("+ idling\r\n* BYE [UNAVAILABLE] going down")
        raise HangUp


class CutLiteral(ImapSession):
    def content(self, octets: bytes, argument: str) -> bytes:
        if "X-Traffic-Gen" in argument:
            return super().content(octets, argument)
        self.store.send(self.peer, b"* 1 FETCH (BODY[] {5000}\r\n" + octets[:100])
        raise HangUp


class LongLiteral(ImapSession):
    def content(self, octets: bytes, argument: str) -> bytes:
        found = super().content(octets, argument)
        return found + b"more than\r\nannounced" if "X-Traffic-Gen" not in argument else found


class LongLine(ImapSession):
    def on_select(self, argument: str) -> None:
        self.say(b"* OK " + b"x" * 1_000_000)


class Wrong(ImapSession):
    def on_select(self, argument: str) -> None:
        self.say("200 OK\r\nContent-Type: text/html")


@pytest.mark.parametrize(
    ("imap", "failure", "example"),
    [
        (ByeInIdle, "BYE [UNAVAILABLE]", "going down"),
        (CutLiteral, "closed by the server", "octets of a literal are missing"),
        (LongLiteral, "not IMAP", ""), (LongLine, "not IMAP", "response line over"),
        (Wrong, "not IMAP", "expected an answer to a command"),
    ],
)  # fmt: skip
def test_a_session_that_ends_is_said_with_its_reason(imap: type[ImapSession], failure: str, example: str):
    results = run(Store(), imap=imap)
    found = [one for one in results.failures if one.reason == failure]
    assert found
    assert any(example in one.example for one in found)
    assert counts_of(results).clean


def test_replies_octet_by_octet_are_the_same_replies():
    class Slow(Store):
        def send(self, peer: Any, octets: bytes) -> None:
            for octet in octets:
                peer.sendall(bytes([octet]))

    results = run(Slow())
    assert counts_of(results).read > 0
    assert counts_of(results).clean
    assert not results.failures


def test_uidvalidity_that_changes_begins_anew():
    class Anew(ImapSession):
        def on_select(self, argument: str) -> None:
            self.store.uid_validity += 1
            super().on_select(argument)

    settings = "mail_session_length = 300 ms\n mail_inbox_delete_percentage = 50"
    results = run(Store(), imap=Anew, settings=settings)
    assert results.commands["login"].count > 2
    assert counts_of(results).clean
    assert not results.failures


class RemovedByOthers(ImapSession):
    """Somebody else removes each message at the moment when its body is fetched, and this session hears of it so."""

    how: str

    def on_uid_fetch(self, argument: str) -> None:
        if "X-Traffic-Gen" in argument:
            super().on_uid_fetch(argument)
            return
        uid = int(argument.split(" ")[0])
        octets = next((octets for each, octets in self.view if each == uid), None)
        self.remove(str(uid))
        if self.how == "after the body" and octets is not None:
            self.say(b"* %d FETCH (UID %d %s)" % (len(self.view) + 1, uid, self.content(octets, argument)))
        self.ok() if self.how != "refused" else self.say(f"{self.tag} NO [EXPUNGEISSUED] Some of them no longer exist")


@pytest.mark.parametrize("how", ["before the answer", "after the body", "refused"])
def test_an_expunge_of_what_is_being_fetched_is_no_error_and_missing_where_it_is_only_not_there(how: str):
    kind = type("Removed", (RemovedByOthers,), {"how": how})
    results = run(Store(), imap=kind, settings="")
    counts = counts_of(results)
    assert not results.failures
    assert (counts.missing > 0) is (how == "before the answer")  # shown, not read, and removed by none of ours
    assert counts.doubled == counts.damaged == counts.misplaced == 0
    assert results.commands["body"].count > 0
    assert results.commands["body"].errors == 0
    assert (counts.read > 0) is (how == "after the body")
    assert counts.seen > 0
    assert results.exit_code(keep_going=False) is (ExitCode.VERDICT_FAILED if counts.missing else ExitCode.DONE)


class ErrInTheMiddle(Pop3Session):
    def on_retr(self, argument: str) -> None:
        self.say("-ERR [SYS/TEMP] disk trouble")


class InUse(Pop3Session):
    def on_pass(self, _argument: str) -> None:
        self.say("-ERR [IN-USE] another session has it")


@pytest.mark.parametrize(
    ("pop3", "failure"), [(ErrInTheMiddle, ("retr", "-ERR [SYS/TEMP]")), (InUse, ("pop3_login", "-ERR [IN-USE]"))]
)
def test_pop3_errors_end_the_visit_and_nothing_is_called_missing(pop3: type[Pop3Session], failure: tuple[str, str]):
    results = run(Store(), protocol="pop3", pop3=pop3)
    assert failures_of(results) == {failure}
    counts = counts_of(results)
    assert counts.clean
    assert counts.read == 0
    assert 0 < results.commands[failure[0]].refused <= 8  # it backs off


def test_lmtp_refusals_have_their_outcomes_and_are_nowhere_missing():
    class Full(Store):
        def deliver(self, user: str, octets: bytes) -> str:
            return "452 4.2.2 mailbox full" if user.startswith("u1") else super().deliver(user, octets)

    results = run(Full())
    assert results.messages.rejected_temporary > 0
    assert results.messages.accepted > 0
    assert counts_of(results).clean


class RefusesRecipients(LmtpSession):
    rcpt = "450 4.2.1 busy"


class RefusesInGroups(RefusesRecipients):
    offers = "250-lmtp\r\n250 PIPELINING"


@pytest.mark.parametrize("lmtp", [RefusesRecipients, RefusesInGroups])
def test_a_recipient_who_is_refused_for_now_gets_nothing_and_misses_nothing(lmtp: type[LmtpSession]):
    results = run(Store(), lmtp=lmtp)
    assert results.messages.rejected_temporary == results.messages.planned > 0
    assert counts_of(results).clean
    assert not results.failures


def test_mail_beyond_ascii_is_announced_as_such_where_the_server_takes_it(tmp_path: Path):
    class EightBit(LmtpSession):
        offers = "250-lmtp\r\n250 8BITMIME"

    (tmp_path / "mbox").write_bytes("From a Thu Jan  1 00:00:00 2026\nSubject: x\n\nKäse\n".encode())
    for lmtp, words in ((EightBit, "MAIL FROM:<> BODY=8BITMIME"), (LmtpSession, "MAIL FROM:<>")):
        store = Store()
        assert counts_of(run(store, lmtp=lmtp, mbox=tmp_path / "mbox")).clean
        assert {line for line in store.said if line.startswith("MAIL")} == {words}


class NeverStops(LmtpSession):
    rcpt = "250 ok\r\n250 and more"


class HangsUp(LmtpSession):
    def read(self) -> str:
        if (line := super().read()).startswith("RCPT"):
            raise HangUp
        return line


@pytest.mark.parametrize(
    ("lmtp", "reason"), [(NeverStops, "a reply that nothing asked for"), (HangsUp, "closed by the server")]
)
def test_a_delivery_that_breaks_off_is_failed_with_its_reason(lmtp: type[LmtpSession], reason: str):
    results = run(Store(), lmtp=lmtp)
    assert results.messages.failed == results.messages.planned > 0
    assert {failure.reason for failure in results.failures} == {reason}
