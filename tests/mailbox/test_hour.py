"""An hour of users, with a clock that jumps from one deadline to the next."""

from collections import Counter
from itertools import pairwise
from math import exp

import pytest

from tests.mailbox.profiles import ADVANCED, POP3
from trafficgen.mailbox.chance import Chance
from trafficgen.mailbox.deliveries import PER_MAILBOX, Deliveries
from trafficgen.mailbox.director import LONGEST_PAUSE_NS, Director, Visitor
from trafficgen.mailbox.habits import MailAction
from trafficgen.mailbox.marks import Mark
from trafficgen.mailbox.population import User, populate
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.reading import parse_profile

S = 1_000_000_000
HOUR = 3600 * S


class Instant:
    """Hands for which nothing takes any time: a delivery is noticed at once, every session succeeds."""

    def __init__(self, *, failing: bool = False) -> None:
        self.deliveries: list[tuple[int, int]] = []
        self.logins: list[tuple[int, int]] = []
        self.actions: Counter[MailAction] = Counter()
        self.noticed = 0
        self.filtered = 0
        self.failing = failing
        self._inside: dict[int, list[Visitor]] = {}
        self._uids: Counter[int] = Counter()

    def deliver(self, user: User, spam: bool, due_ns: int, now_ns: int) -> None:
        self.deliveries.append((due_ns, user.index))
        self._uids[user.mailbox] += 1
        for visitor in self._inside.get(user.mailbox, []):
            self.noticed += 1
            self.filtered += visitor.habits.noticed(self._uids[user.mailbox], now_ns)

    def login(self, visitor: Visitor, due_ns: int, now_ns: int) -> None:
        self.logins.append((due_ns, visitor.user.index))
        if self.failing or visitor.client.protocol is MailProtocol.POP3:
            visitor.director.over(visitor, now_ns, now_ns, failed=self.failing)
            return
        self._inside.setdefault(visitor.user.mailbox, []).append(visitor)
        visitor.habits.logged_in(Open(self, visitor), now_ns)


class Open:
    """A session of an IMAP program in which every action is done at once."""

    def __init__(self, hands: Instant, visitor: Visitor) -> None:
        self._hands = hands
        self._visitor = visitor

    def carry_out(self, action: MailAction, uid: int, due_ns: int, now_ns: int) -> None:
        self._hands.actions[action] += 1
        if action is MailAction.LOGOUT:
            self._hands._inside[self._visitor.user.mailbox].remove(self._visitor)
            self._visitor.habits.logged_out()
            self._visitor.director.over(self._visitor, now_ns, now_ns, failed=False)


def simulate(text: str, *, seed: int = 7, worker: int = 0, workers: int = 1, failing: bool = False) -> Instant:
    profile, _ = parse_profile(text)
    hands = Instant(failing=failing)
    users = populate(profile, seed).of_worker(worker, workers)
    director = Director(profile, users, seed, hands, max_connections=10_000)
    director.begin(0)
    while (due := director.agenda.next_ns) is not None and due < HOUR:
        director.agenda.run_due(due)
    return hands


def within(count: int, nominal: float, share: float = 0.01) -> bool:
    return abs(count / nominal - 1) < share


def test_an_hour_of_the_pop3_profile_has_the_nominal_rates():
    hands = simulate(POP3.replace("total_user_count = 500", "total_user_count = 30"))
    assert within(len(hands.deliveries), 30 * 3600)
    profile, _ = parse_profile(POP3)
    users = populate(profile, 7).users[:30]
    nominal = sum(3600 * S / client.login_interval for user in users for client in user.clients)
    assert within(len(hands.logins), nominal)


def test_an_hour_of_the_advanced_profile_has_the_nominal_rates():
    hands = simulate(ADVANCED)
    aggressive = sum(user < 50 for _, user in hands.deliveries)
    normal = len(hands.deliveries) - aggressive
    assert within(aggressive, 50 * 3600 / 5)
    assert within(normal, 450 * 3600 / 120)
    profile, _ = parse_profile(ADVANCED)
    programs = sum(len(user.clients) for user in populate(profile, 7).users)
    assert within(hands.actions[MailAction.STATUS], programs * 3600 / 300)
    # Sessions that ended; users log in again at once.
    sessions = sum(len(user.clients) * HOUR / user.section.mail_session_length for user in populate(profile, 7).users)
    assert within(hands.actions[MailAction.LOGOUT], sessions)
    assert within(hands.filtered, 0.10 * hands.noticed)
    assert hands.actions[MailAction.DELETE] > hands.actions[MailAction.MOVE] > 0
    assert hands.actions[MailAction.WRITE] == hands.actions[MailAction.REPLY] > 0


@pytest.mark.parametrize("workers", [2, 5])
def test_any_number_of_workers_does_the_same(workers: int):
    text = ADVANCED.replace("total_user_count = 500", "total_user_count = 60")
    alone = simulate(text)
    together = [simulate(text, worker=worker, workers=workers) for worker in range(workers)]
    assert sorted(alone.deliveries) == sorted(one for hands in together for one in hands.deliveries)
    assert sorted(alone.logins) == sorted(one for hands in together for one in hands.logins)
    assert alone.actions == sum((hands.actions for hands in together), Counter())


def test_another_seed_is_another_hour():
    text = POP3.replace("total_user_count = 500", "total_user_count = 5")
    assert simulate(text, seed=1).deliveries != simulate(text, seed=2).deliveries


def test_a_login_that_fails_is_not_tried_in_a_loop():
    text = POP3.replace("total_user_count = 500", "total_user_count = 1").replace("7s", "0").replace("1min", "0")
    hands = simulate(text, failing=True)
    times = sorted(due for due, _ in hands.logins)
    assert [b - a for a, b in pairwise(times[:7])] == [S, 2 * S, 4 * S, 8 * S, 16 * S, 32 * S]
    assert len(times) <= 7 + HOUR // LONGEST_PAUSE_NS


def test_a_message_that_is_not_of_this_run_is_counted_by_where_it_is_from():
    deliveries = Deliveries("0" * 16)
    ours = deliveries.begin(1, spam=False)
    marks = [None, None, Mark("0" * 16, ours + 1, 0), Mark("f" * 16, ours, 0), Mark("0" * 16, 2 * PER_MAILBOX, 0)]
    for uid, mark in enumerate([*marks, Mark("0" * 16, ours, 0)], 1):
        deliveries.saw(1, mark, MailProtocol.IMAP, uid, 0)
    assert (deliveries.foreign, deliveries.earlier, deliveries.misplaced) == (3, 1, 1)


def test_a_stream_is_splitmix64() -> None:
    """Its numbers for 1234567, as Java's SplittableRandom and others give them."""
    chance = Chance(0, 0, 0)
    chance._state = 1234567
    known = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821)
    assert [chance.share() for _ in known] == [(one >> 11) / 2**53 for one in known]


def test_every_user_and_purpose_has_a_stream_of_its_own() -> None:
    first = {Chance(seed, user, purpose).share() for seed in range(9) for user in range(9) for purpose in range(9)}
    assert len(first) == 729


def test_intervals_have_the_mean_they_are_called_by():
    chance = Chance(1, 2, 3)
    drawn = [chance.interval_ns(S) for _ in range(50_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(S, rel=0.01)
    assert 0 <= min(drawn) < max(drawn) <= 2 * S
    # E(X²) / 2 E(X), for a spread around the mean of which E is mean²/4 · (1 - e⁻⁴)
    rest = [chance.rest_of_interval_ns(S) for _ in range(50_000)]
    assert sum(rest) / len(rest) == pytest.approx(S * (1 + (1 - exp(-4)) / 4) / 2, rel=0.01)
    assert 0 <= min(rest) < max(rest) < 2 * S
    assert chance.rest_of_interval_ns(0) == 0


class Slow(Instant):
    """Sessions that somebody else ends."""

    def login(self, visitor: Visitor, due_ns: int, now_ns: int) -> None:
        self.logins.append((due_ns, visitor.user.index))
        self._inside.setdefault(0, []).append(visitor)


def test_connections_are_limited_and_who_waits_is_counted():
    text = POP3.replace("total_user_count = 500", "total_user_count = 9").replace("95%", "100%").replace("5%", "0%")
    profile, _ = parse_profile(text.replace("rampup_time = 5", "rampup_time = 0"))
    hands = Slow()
    director = Director(profile, list(populate(profile, 1).users), 1, hands, max_connections=4)
    director.begin(0)
    director.agenda.run_due(0)
    assert (len(hands.logins), director.connections, director.most_waiting) == (4, 4, 5)
    first = hands._inside[0][0]
    director.over(first, 10, 10, failed=False)
    assert (len(hands.logins), director.connections) == (5, 4)
    director.stop()
    director.over(hands._inside[0][1], 11, 11, failed=False)
    assert (len(hands.logins), director.connections) == (5, 3)


def test_two_pop3_programs_of_one_user_take_turns():
    text = POP3.replace("total_user_count = 500", "total_user_count = 1").replace("5%", "100%").replace("9100%", "100%")
    profile, _ = parse_profile(text)
    hands = Slow()
    director = Director(profile, list(populate(profile, 1).users), 1, hands, max_connections=4)
    director.begin(0)
    director.agenda.run_due(0)
    assert len(hands.logins) == 1
    director.over(hands._inside[0][0], 10, 10, failed=False)
    assert len(hands.logins) == 2
    assert hands._inside[0][0].place != hands._inside[0][1].place
