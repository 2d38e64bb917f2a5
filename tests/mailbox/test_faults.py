"""What goes wrong with servers, each with its exact outcome, against a store that misbehaves on purpose."""

import pytest

from tests.mailbox.faulty_run import Doubles, Loses, counts_of, run
from tests.mailbox.store import HangUp, ImapSession, Store
from trafficgen.errors import ExitCode
from trafficgen.verdict.reading import harm_of


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


class Damages(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        return super().deliver(user, octets.replace(b"meaning", b"Meaning"))


class Misplaces(Store):
    def deliver(self, user: str, octets: bytes) -> str:
        return super().deliver("u2@example.com" if user.startswith("u1") else "u1@example.com", octets)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize(
    ("store", "outcome"), [(Loses, "missing"), (Doubles, "doubled"), (Damages, "damaged"), (Misplaces, "misplaced")]
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
