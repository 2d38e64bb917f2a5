"""imaptest's profile files: the documented ones word for word, odd forms, and what is refused."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mailbox.profiles import ADVANCED, POP3
from trafficgen.errors import PlanError
from trafficgen.mailbox.population import deliveries_at_once, expand, populate
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.reading import parse_profile, read_profile

S = 1_000_000_000
MINIMAL = """\
lmtp_port = 2424
total_user_count = 10
user a {
  username_format = u%n@example.com
  count = 100%
}
client c {
  count = 100%
  connection_max_count = 1
  protocol = pop3
}
"""


def test_the_pop3_profile_of_the_documentation():
    profile, notes = parse_profile(POP3)
    assert (profile.lmtp_port, profile.lmtp_max_parallel_count, profile.total_user_count) == (24, 175, 500)
    assert profile.rampup_time == 5 * S
    (user,) = profile.users
    assert (user.name, user.count, user.username_format) == ("aggressive", 100, "testuser_%03n@example.com")
    assert (user.mail_inbox_delivery_interval, user.mail_spam_delivery_interval) == (S, 0)
    assert (user.mail_action_delay, user.mail_action_repeat_delay) == (2 * S, S)
    first, second = profile.clients
    assert (first.protocol, first.count, first.pop3_keep_mails, first.login_interval) == (
        MailProtocol.POP3, 95, False, 7 * S,
    )  # fmt: skip
    assert (second.count, second.pop3_keep_mails, second.login_interval) == (5, True, 60 * S)
    assert [note for note in notes if "seconds" in note] == [
        "profile, line 4: rampup_time = 5 is taken for seconds; imaptest wants a unit since 2.3"
    ]
    assert sum("a brace behind a value" in note for note in notes) == 3


def test_the_advanced_profile_of_the_documentation():
    profile, _ = parse_profile(ADVANCED)
    aggressive, normal = profile.users
    assert (aggressive.count, normal.count) == (10, 90)
    assert (aggressive.mail_session_length, normal.mail_session_length) == (180 * S, 1200 * S)
    assert (normal.mail_action_delay, normal.mail_inbox_delete_percentage) == (180 * S, 80)
    assert aggressive.mail_inbox_move_filter_percentage == 10
    thunderbird, apple = profile.clients
    assert thunderbird.protocol is MailProtocol.IMAP
    assert (thunderbird.connection_max_count, thunderbird.imap_status_interval) == (2, 300 * S)
    assert thunderbird.imap_fetch_immediate.startswith("UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To")
    assert thunderbird.imap_fetch_immediate.endswith("Content-Type)]")
    assert apple.imap_fetch_immediate.endswith(")] MODSEQ")
    assert apple.imap_fetch_manual == "BODYSTRUCTURE BODY.PEEK[]"


def test_users_of_both_sections_share_mailboxes_and_that_is_said():
    profile, _ = parse_profile(ADVANCED)
    population = populate(profile, seed=1)
    assert len(population.users) == 500
    assert population.mailboxes == 450
    assert population.users[0].name == population.users[50].name == "testuser_501@example.com"
    assert population.users[0].mailbox == population.users[50].mailbox
    assert "50 users of section" in population.notes[0]


def test_mail_programs_are_rolled_one_by_one():
    profile, _ = parse_profile(POP3)
    population = populate(profile, seed=1)
    both = sum(len(user.clients) == 2 for user in population.users)
    assert 10 <= both <= 45
    assert all(user.clients for user in population.users)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_every_user_has_one_worker_and_is_the_same_in_any_number_of_them(workers: int):
    profile, _ = parse_profile(ADVANCED)
    dealt = [populate(profile, 5).of_worker(worker, workers) for worker in range(workers)]
    assert sorted(user.index for users in dealt for user in users) == list(range(500))
    by_mailbox = {user.mailbox: worker for worker, users in enumerate(dealt) for user in users}
    assert all(by_mailbox[user.mailbox] == worker for worker, users in enumerate(dealt) for user in users)


@pytest.mark.parametrize(
    ("username_format", "name"),
    [
        ("u%n@x", "u7@x"), ("u%03n@x", "u007@x"), ("u%{username_idx}", "u7"), ("100%%u%n", "100%u7"),
        ("u%{ username_idx | lfill(3, '0') }", "u007"), ("u%1.2n", "u"),
    ],
)  # fmt: skip
def test_names_are_made_as_either_version_of_dovecot_makes_them(username_format: str, name: str):
    assert expand(username_format, 7) == name


def test_numbers_that_are_longer_than_their_place_are_not_cut():
    assert expand("u%03n", 1000) == "u1000"
    assert expand("u%2n", 1234) == "u12"


def test_forms_that_imaptest_refuses_are_read_and_said():
    text = MINIMAL.replace("lmtp_port = 2424", "lmtp_port = 2424 # here").replace("100%\n}", "100\n}")
    profile, notes = parse_profile(text)
    assert profile.users[0].count == 100
    assert notes == ("profile, line 1: a comment behind a value is none for imaptest",)
    braces = MINIMAL.replace("u%n@example.com", "u%{username_idx}")
    assert parse_profile(braces).profile.users[0].username_format == "u%{username_idx}"


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        ("5", 5 * S), ("5s", 5 * S), ("5 sec", 5 * S), ("2m", 120 * S), ("2 min", 120 * S), ("1h", 3600 * S),
        ("250 ms", S // 4), ("1 day", 86400 * S), ("1 week", 7 * 86400 * S), ("0", 0), ("unlimited", 0),
    ],
)  # fmt: skip
def test_times(value: str, ns: int):
    profile, _ = parse_profile(f"rampup_time = {value}\n{MINIMAL}")
    assert profile.rampup_time == ns


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            ("count = 100%", "count = lots"),
            'profile, line 5: expected a share from 0 to 100, such as 50% for count, got "lots"',
        ),
        (("lmtp_port = 2424", "lmtp_port = 0"), "line 1: expected a port from 1 to 65535 for lmtp_port"),
        (("user a {", "users a {"), 'line 3: expected "key = value"'),
        (("protocol = pop3", "protocol = jmap"), "line 10: expected imap or pop3 for protocol"),
        (("  protocol = pop3\n", ""), "line 10: expected imap_fetch_immediate in a section that speaks IMAP"),
        (("  username_format = u%n@example.com\n", ""), "expected username_format or userfile"),
        (("u%n@example.com", "u%n@x@y"), "expected username_format to make addresses"),
        (("count = 100%", "count = 90%"), "expected the count of all user sections to be 100% together"),
        (("lmtp_port = 2424\n", ""), "expected lmtp_port"),
        (("lmtp_port", "lmtp_prot"), 'line 1: expected a setting outside of sections (lmtp_port'),
        (("connection_max_count = 1", "pop3_keep_mails = maybe"), "expected yes or no for pop3_keep_mails"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_with_what_was_expected(change: tuple[str, str], text: str):
    with pytest.raises(PlanError) as raised:
        populate(parse_profile(MINIMAL.replace(*change, 1)).profile, 1)
    assert text in raised.value.as_typed
    assert raised.value.flag == "--profile"


def test_a_section_that_does_not_end_is_not_lost():
    with pytest.raises(PlanError, match='expected "}" at the end of the last section'):
        parse_profile(MINIMAL.rstrip().removesuffix("}"))


def test_a_userfile_gives_names_and_passwords(tmp_path: Path):
    users = tmp_path / "users"
    users.write_text("anna:secret\n\nbert\n:\n" + "".join(f"u{n}\n" for n in range(9)))
    text = MINIMAL.replace("username_format = u%n@example.com", f"userfile = {users}")
    population = populate(parse_profile(text).profile, 1)
    assert [(user.name, user.password) for user in population.users[:2]] == [("anna", "secret"), ("bert", None)]
    users.write_text("anna\n")
    with pytest.raises(PlanError, match="expected 10 users"):
        populate(parse_profile(text).profile, 1)


def test_a_missing_profile_is_named(tmp_path: Path):
    with pytest.raises(PlanError, match="cannot read"):
        read_profile(tmp_path / "none.conf")


@given(st.lists(st.sampled_from([*MINIMAL.splitlines(), *ADVANCED.splitlines(), "}", "x = y", "user {"]) | st.text()))
def test_any_lines_are_a_profile_or_refused(lines: list[str]):
    with suppress(PlanError):
        parse_profile("\n".join(lines))


@pytest.mark.parametrize(
    ("cap", "interval", "expected"),
    [("0", "1s", 500), ("0", "10s", 50), ("0", "7s", 72), ("175", "1s", 175), ("175", "0", 0), ("0", "0", 0)],
)
def test_open_files_are_reserved_for_the_deliveries_that_there_can_be(cap: str, interval: str, expected: int):
    text = POP3.replace("max_parallel_count = 175", f"max_parallel_count = {cap}")
    profile = parse_profile(
        text.replace("inbox_delivery_interval = 1s", f"inbox_delivery_interval = {interval}")
    ).profile
    users = populate(profile, 0).users
    assert deliveries_at_once(users, profile.lmtp_max_parallel_count) == expected


def test_a_pop3_program_has_one_session_at_a_time_and_that_is_said():
    text = POP3.replace("connection_max_count = 1", "connection_max_count = 3", 1)
    _, notes = parse_profile(text)
    said = [note for note in notes if "connection_max_count" in note]
    assert said == [
        "profile, line 21: connection_max_count of pop3: one at a time, as a POP3 session locks the mailbox"
    ]
