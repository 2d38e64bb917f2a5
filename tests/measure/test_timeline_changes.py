"""Timelines told of by their changes are those that are told of whole."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.measure.test_timeline import Message, messages, record
from trafficgen.measure.timeline import MAX_INTERVALS, Timeline
from trafficgen.measure.timeline_changes import PartTimeline, TimelineChanges, TimelineSum, TimelineTeller

news = st.lists(st.tuples(st.integers(0, 2), messages, st.sampled_from((0, 0, 1_000, 1_900_000))), max_size=8)
"""Which of three parts has them, what, and how late; some so late that intervals double."""


@settings(max_examples=15)
@given(news, st.randoms(use_true_random=False))
def test_parts_that_speak_in_any_order_are_their_sum(
    told: list[tuple[int, list[Message], int]], any_order: object
) -> None:
    parts, tellers = [Timeline() for _ in range(3)], [TimelineTeller() for _ in range(3)]
    changes: list[list[TimelineChanges]] = [[], [], []]
    for which, more, later_ms in told:
        record(parts[which], [(start + later_ms, end + later_ms, *rest) for start, end, *rest in more])  # type: ignore[misc]
        changes[which].append(pickle.loads(pickle.dumps(tellers[which].changes(parts[which]))))
    spoken = [which for which, _more, _later in told]
    any_order.shuffle(spoken)  # type: ignore[attr-defined]
    so_far, whole = [PartTimeline() for _ in range(3)], TimelineSum()
    for which in spoken:
        whole.tell(so_far[which], changes[which].pop(0))
    expected = Timeline()
    for part, heard in zip(parts, so_far, strict=True):
        assert heard.timeline() == part
        expected += part
    assert whole.timeline() == expected


def test_telling_costs_as_much_after_half_an_hour_as_after_a_minute() -> None:
    def second(at: int) -> list[Message]:
        begins = range(1_000 * at, 1_000 * (at + 1), 20)
        return [(begin, begin + 1 + begin % 900, 0, 1_000) for begin in begins]

    part, teller, octets = Timeline(), TimelineTeller(), []
    for minute in range(1, MAX_INTERVALS // 60):
        record(part, [message for at in range(60 * (minute - 1), 60 * minute) for message in second(at)])
        teller.changes(part)
        octets.append(len(pickle.dumps(teller.changes(record(part, second(60 * minute))))))
    assert octets[-1] <= 1.1 * octets[0]
    assert teller.changes(part).rows.size == 0


def test_only_what_has_changed_is_told() -> None:
    part, teller = Timeline(), TimelineTeller()
    record(part, [(100, 200, 0, 1), (2_100, 2_200, 0, 1)])
    assert teller.changes(part).rows.tolist() == [0, 2]
    record(part, [(150, 2_300, 0, 1)])
    told = teller.changes(part)
    assert told.rows.tolist() == [0, 2]
    assert told.length == 3
    assert np.array_equal(told.part.counts[:, 0], [2, 1])


def test_nothing_is_told_again_when_intervals_double() -> None:
    part, teller, heard, whole = Timeline(), TimelineTeller(), PartTimeline(), TimelineSum()
    record(part, [(1_000 * second, 1_000 * second + 10, 0, 1) for second in range(100)])
    whole.tell(heard, teller.changes(part))
    record(part, [(1_000 * MAX_INTERVALS, 1_000 * MAX_INTERVALS + 5, 0, 1), (7_100, 7_200, 0, 1)])
    told = teller.changes(part)
    assert told.rows.tolist() == [3, MAX_INTERVALS // 2]
    whole.tell(heard, told)
    assert heard.timeline() == whole.timeline() == part
