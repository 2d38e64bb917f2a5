"""Users who do not exist, and users who get no connection: said once, with how many."""

import pytest

from tests.mailbox.faulty_run import counts_of, run
from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store
from trafficgen.mailbox.refused import Refusals, RefusedUsers
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.results import Results

KNOWN = ("u1@example.com", "u2@example.com")
FIVE_USERS = (("total_user_count = 2", "total_user_count = 5"),)


class ImapOfTwo(ImapSession):
    def on_login(self, argument: str) -> None:
        if argument.startswith(KNOWN):
            super().on_login(argument)
        else:
            self.say(f"{self.tag} NO [AUTHENTICATIONFAILED] Authentication failed.")


class Pop3OfTwo(Pop3Session):
    def on_pass(self, argument: str) -> None:
        if self.user in KNOWN:
            super().on_pass(argument)
        else:
            self.say("-ERR [AUTH] Authentication failed.")


class LmtpOfTwo(LmtpSession):
    @property
    def rcpt(self) -> str:  # type: ignore[override]
        return "250 ok" if self.user in KNOWN else "550 5.1.1 User doesn't exist"


def texts_of(results: Results, kind: CaveatKind) -> list[str]:
    return [caveat.text for caveat in results.caveats if caveat.kind is kind]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("protocol", "words"),
    [("imap", "NO [AUTHENTICATIONFAILED] Authentication failed."), ("pop3", "-ERR [AUTH] Authentication failed.")],
)
def test_users_that_do_not_exist_are_said_once_with_how_many(protocol: str, words: str, workers: int):
    said: list[str] = []
    results = run(
        Store(), protocol=protocol, imap=ImapOfTwo, pop3=Pop3OfTwo, lmtp=LmtpOfTwo, said=said, workers=workers,
        changes=FIVE_USERS,
    )  # fmt: skip
    (text,) = texts_of(results, CaveatKind.USERS_UNKNOWN)
    never_in, no_recipients = text.split("; ")
    assert never_in.startswith("3 users were never let in: u")
    assert never_in.endswith(f" ({words})")
    assert no_recipients.startswith("3 users were never accepted as recipients: u")
    assert no_recipients.endswith(" (550 5.1.1 User doesn't exist)")
    for name in ("u3@example.com", "u4@example.com", "u5@example.com"):
        assert name in never_in
        assert name in no_recipients
    assert sum("Authentication failed" in line for line in said) == 1
    counts = counts_of(results)
    assert counts.clean
    assert counts.read > 0
    assert results.messages.rejected_permanent > 0


def test_where_all_are_known_nothing_is_said():
    results = run(Store())
    assert not texts_of(results, CaveatKind.USERS_UNKNOWN)
    assert not texts_of(results, CaveatKind.USERS_WAITED)


def test_a_refusal_for_now_does_not_make_a_user_unknown():
    class Busy(ImapSession):
        def on_login(self, argument: str) -> None:
            self.say(f"{self.tag} NO [UNAVAILABLE] try later")

    assert not texts_of(run(Store(), imap=Busy), CaveatKind.USERS_UNKNOWN)


def test_users_who_wait_for_a_connection_are_said_with_how_many():
    results = run(Store(), protocol="pop3", connections=1, changes=FIVE_USERS)
    (text,) = texts_of(results, CaveatKind.USERS_WAITED)
    assert text == "up to 4 users waited at a time for one of 1 connection (clients=)"


def test_who_was_let_in_once_is_known_and_of_many_the_first_are_named():
    refusals = Refusals()
    for mailbox in range(6):
        refusals.refused(mailbox, f"u{mailbox}", f"NO {mailbox}")
    refusals.accepted(0)
    refusals.refused(0, "u0", "NO again")
    assert str(refusals.users) == "u1, u2, u3 and 2 more (NO 1)"
    nobody = Refusals().users
    assert RefusedUsers.of_all([nobody, refusals.users, RefusedUsers(1, ("x",), "NO")]).users == 6
    assert RefusedUsers.of_all([nobody]) == nobody
