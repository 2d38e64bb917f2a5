"""Whatever the order in which things happen, mail is missing exactly when the store has lost it."""

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given, settings, strategies

from tests.mailbox.world import World
from trafficgen.mailbox.inbox_view import InboxView

PROFILE = """\
lmtp_port = 24
total_user_count = 1
user u {{
  count = 100%
  username_format = u%n@example.com
  mail_inbox_delivery_interval = 30 ms
  mail_action_delay = 10 ms
  mail_action_repeat_delay = 10 ms
  mail_session_length = {length}
  mail_inbox_delete_percentage = 40
  mail_inbox_move_percentage = 40
}}
{clients}
"""
IMAP = """client c {
  count = 100%
  connection_max_count = 1
  login_interval = 20 ms
  imap_fetch_immediate = UID FLAGS
  imap_fetch_manual = BODY.PEEK[]
  imap_status_interval = 20 ms
  imap_idle = yes
}
"""
NOOP = IMAP.replace("imap_idle = yes", "imap_idle = no")
POP3 = """client c {
  count = 100%
  connection_max_count = 1
  protocol = pop3
  login_interval = 20 ms
  pop3_keep_mails = no
}
"""
CLIENTS = [IMAP, NOOP, POP3, IMAP + NOOP, IMAP + POP3, POP3 + POP3.replace("= no", "= yes")]
CAPABILITIES = b"IMAP4rev1 IDLE MOVE UIDPLUS"


@pytest.fixture(autouse=True, scope="module")
def little_is_looked_back() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trafficgen.mailbox.imap_inbox._LOOK_BACK", 1)
        yield


tapes = strategies.binary(min_size=200, max_size=800)
LEAVES_WHILE_SELECT_IS_UNDER_WAY = bytes(
    map(
        int,
        "00000001001000001000030300103004000000000000001002030300103001030303001001001001001001001030300100200303"
        "001001000000001100100100100100100100100100000000103001001000000001030010010010010010010010300103",
    )
)


def play(
    clients: str, tape: Iterable[int], *, length: str = "0", lose: int | None = None, foreign: int = 0
) -> tuple[World, bool]:
    """As the tape says, then Ctrl-C, then to the end; whether message 0 must have been asked for after its 250."""
    profile = PROFILE.format(clients=clients, length=length)
    world = World(profile, tape, capabilities=CAPABILITIES, lose=lose, foreign=foreign)
    due = None
    while world.step():
        assert world.counts.clean or lose is not None, world.counts
        if due is None and world.tape.over:
            world.now += 1
            due = 0 in world.accepted and world.imap_inside
            world.leave()
    assert due is not None
    assert not world.worker.inside
    return world, due


@pytest.mark.parametrize("clients", CLIENTS)
@given(tape=tapes, length=strategies.sampled_from(["0", "100 ms"]), foreign=strategies.sampled_from([0, 3]))
@settings(max_examples=20, deadline=None)
def test_no_order_of_events_makes_mail_missing(clients: str, tape: bytes, length: str, foreign: int):
    play(clients, tape, length=length, foreign=foreign)


@pytest.mark.parametrize("clients", CLIENTS)
@given(tape=tapes, foreign=strategies.sampled_from([0, 3]))
@example(tape=LEAVES_WHILE_SELECT_IS_UNDER_WAY, foreign=0)
@settings(max_examples=10, deadline=None)
def test_what_the_store_loses_is_missing_in_every_order_of_events(clients: str, tape: bytes, foreign: int):
    world, due = play(clients, tape, lose=0, foreign=foreign)
    assert world.counts.missing == 1 if due else world.counts.missing <= 1
    assert {world.counts.doubled, world.counts.damaged, world.counts.misplaced} == {0}


def selected() -> InboxView:
    view = InboxView()
    view.selected(0, now_ns=10, asked_ns=5)
    assert view.take_listed_ns() == 5
    return view


def test_the_answer_to_one_question_lists_nothing_that_came_before_the_next_one_was_asked():
    view = selected()
    view.answered(20)  # NOOP of 20; that of 30 is still under way
    assert view.take_listed_ns() == 20
    assert view.take_listed_ns() is None


def test_what_was_counted_while_a_fetch_was_under_way_is_fetched_before_it_counts_as_listed():
    view = selected()
    assert view.exists(1, 11)
    view.fetching = True
    assert not view.exists(2, 12)
    view.answered(20)
    assert view.take_listed_ns() is None
    assert view.look_at(7)
    assert view.fetched(ok=True)
    view.fetching = True
    assert view.take_listed_ns() is None
    assert (view.shown_ns(1, 99), view.shown_ns(2, 99)) == (11, 12)
    assert not view.fetched(ok=True)
    assert view.take_listed_ns() == 20


def test_uids_of_one_answer_come_in_any_order():
    view = selected()
    view.fetching = True
    assert [view.look_at(uid) for uid in (9, 7, 8, 9)] == [True, True, True, False]
    view.fetched(ok=True)
    assert view.uid_next == 10


def test_a_fetch_that_was_refused_lists_nothing():
    view = selected()
    view.fetching = True
    view.answered(20)
    view.fetched(ok=False)
    assert view.take_listed_ns() is None
    view.fetching = True
    view.fetched(ok=True)
    assert view.take_listed_ns() == 20
