"""What goes wrong with servers, each with its exact outcome, against a store that misbehaves on purpose."""

import re
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.mailbox.store import HangUp, ImapSession, LmtpSession, Pop3Session, Store, listening
from trafficgen.errors import ExitCode, SetupError
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.plan import MailboxPlan, MailboxService
from trafficgen.mailbox.profile import Profile
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.results import Results
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import TcpTarget
from trafficgen.runs.mailbox import run_mailbox
from trafficgen.verdict.reading import harm_of

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


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_without_a_fault_nothing_is_wrong(protocol: str):
    results = run(Store(), protocol=protocol)
    counts = counts_of(results)
    assert counts.clean
    assert counts.read > 0
    assert counts.deleted > 0
    assert not results.failures
    assert results.exit_code(keep_going=False) is ExitCode.DONE


def test_addresses_that_do_not_answer_are_passed_over(several_addresses: str):
    results = run(Store(), host=several_addresses)
    assert counts_of(results).read > 0
    assert not results.failures


def test_sessions_that_never_open_are_no_success():
    class Refuses(ImapSession):
        def run(self) -> None:
            raise HangUp

    results = run(Store(), imap=Refuses, settings="")
    assert results.failures
    assert not sum(command.errors for command in results.commands.values())
    assert results.exit_code(keep_going=False) is ExitCode.FAILED
    assert results.exit_code(keep_going=True) is ExitCode.DONE
    harm = str(harm_of(results, tolerate_refusals=False))
    assert f"{results.failures[0].count} × {results.failures[0].phase}: {results.failures[0].reason}" in harm
    assert harm_of(results, tolerate_refusals=True) is None


class Loses(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        return "250 2.0.0 saved, or so I say"


class Doubles(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        self.add(user, octets)
        return super().deliver(user, octets)


class Damages(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        return super().deliver(user, octets.replace(b"meaning", b"Meaning"))


class Misplaces(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        return super().deliver("u2@example.com" if user.startswith("u1") else "u1@example.com", octets)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize(
    ("store", "outcome"),
    [(Loses, "missing"), (Doubles, "doubled"), (Damages, "damaged"), (Misplaces, "misplaced")],
)
def test_a_store_that_is_not_to_be_trusted_is_found_out(store: type[Store], outcome: str, protocol: str):
    results = run(store(), protocol=protocol, settings="mail_inbox_delete_percentage = 0")
    counts = counts_of(results)
    assert getattr(counts, outcome) > 0
    wrong = {"missing", "doubled", "damaged", "misplaced"} - {outcome}
    if store is Misplaces:  # what is in the wrong mailbox is not in the right one
        wrong.discard("missing")
    assert not any(getattr(counts, name) for name in wrong)
    assert results.exit_code(keep_going=True) is ExitCode.VERDICT_FAILED


class NoMove(Store):
    capabilities = "IMAP4rev1 IDLE UIDPLUS"


def test_without_move_mail_is_copied_and_deleted():
    store = NoMove()
    results = run(store, settings="mail_inbox_move_percentage = 100")
    counts = counts_of(results)
    assert counts.moved > 0
    assert counts.deleted == 0
    assert results.commands["copy"].count > 0
    assert "UID_MOVE" not in store.said
    assert not results.failures


def test_without_uidplus_nobody_elses_mail_is_expunged():
    class Bare(Store):
        capabilities = "IMAP4rev1"

    said: list[str] = []
    store = Bare()
    results = run(store, said=said)
    assert "EXPUNGE" not in store.said
    assert counts_of(results).deleted == 0
    assert sum("no UIDPLUS" in line for line in said) == 1


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
    ("pop3", "failure"),
    [(ErrInTheMiddle, ("retr", "-ERR [SYS/TEMP]")), (InUse, ("pop3_login", "-ERR [IN-USE]"))],
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


def test_deliveries_above_the_cap_are_dropped_and_counted():
    class Slow(Store):
        def deliver(self, user: str, octets: bytes) -> str:
            event.wait(20)
            return super().deliver(user, octets)

    event = threading.Event()
    said: list[str] = []
    timer = threading.Timer(1.5, event.set)
    timer.start()
    text = PROFILE.format(protocol="imap", settings="")
    profile = parse_profile(text.replace("total_user_count", "lmtp_max_parallel_count = 1\ntotal_user_count")).profile
    with ExitStack() as stack:
        store = Slow()
        ports = [
            stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer)))  # type: ignore[misc]
            for kind in (ImapSession, Pop3Session, LmtpSession)
        ]
        results = run_mailbox(plan_of(profile, ports, duration_ns=2 * S), say=said.append)
    timer.join()
    counts = counts_of(results)
    assert counts.dropped == results.messages.not_started > 0
    assert any(line == "LMTP: Reached 1 connections, throttling" for line in said)
    assert counts.clean


def test_a_server_that_is_gone_is_asked_less_and_less():
    profile = parse_profile(PROFILE.format(protocol="pop3", settings="")).profile
    said: list[str] = []
    results = run_mailbox(plan_of(profile, [1, 1, 1], duration_ns=2 * S), say=said.append)
    assert ("pop3_connect", "connection refused") in failures_of(results)
    assert sum("POP3 connect: connection refused" in line for line in said) == 1
    refused = next(one.count for one in results.failures if one.phase == "pop3_connect")
    assert refused <= 6  # two users, at once and after one second
    assert results.messages.failed > 0
    assert counts_of(results).clean


@pytest.mark.parametrize(("times", "protocol"), [(1, "imap"), (2, "imap"), (1, "pop3")])
def test_stopped_once_users_log_out_and_twice_it_ends_at_once_and_the_account_is_right(times: int, protocol: str):
    control = RunControl()
    timer = threading.Timer(1.0, lambda: [control.stop() for _ in range(times)])
    timer.start()
    results = run(Store(), protocol=protocol, control=control, duration_ns=60 * S)
    timer.join()
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert counts_of(results).clean
    assert results.run.duration_s < 20
    assert results.exit_code(keep_going=True) is ExitCode.INTERRUPTED
    if times == 1 and protocol == "imap":
        assert results.commands["logout"].count == 2
        assert not results.failures


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_several_workers_give_one_account(protocol: str):
    results = run(Store(), protocol=protocol, workers=2)
    counts = counts_of(results)
    assert counts.clean
    assert counts.read > 0
    assert len(results.generator.workers) == 2
    assert results.run.model == "open"
    assert not results.failures


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_rawlog_has_what_both_sides_said_for_its_owner_alone(tmp_path: Path, protocol: str, workers: int):
    results = run(Store(), protocol=protocol, workers=workers, rawlog=str(tmp_path), password="the password")
    files = sorted(tmp_path.iterdir())
    login = "login" if protocol == "imap" else "pop3_login"
    assert len(files) == results.commands[login].count
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    text = next(path for path in files if path.name.endswith(".1")).read_bytes()
    said = re.findall(rb"(?m)^-- (\d+\.\d{6}) (client|server) (\d+)$", text)
    assert [who for _, who, _ in said[:2]] == [b"server", b"client"]
    assert sorted(said, key=lambda one: float(one[0])) == said
    assert b"the password" in text
    for line in (b" LOGOUT\r\n",) if protocol == "imap" else (b"USER u", b"QUIT\r\n"):
        assert line in text
    assert sum(path.read_bytes().count(b"What is written here") for path in files) >= 50


def test_a_rawlog_that_cannot_be_written_ends_the_run(tmp_path: Path):
    with pytest.raises(SetupError, match=r"cannot write .*rawlog.1.* \(rawlog\)"):
        run(Store(), rawlog=str(tmp_path / "missing"), duration_ns=30 * S)


def test_a_bug_of_ours_ends_the_run_and_is_no_outcome(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("trafficgen.mailbox.pop3_program.Pop3Program._list", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(Store(), protocol="pop3", duration_ns=30 * S)
