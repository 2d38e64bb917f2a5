"""What arrived, held against what was accepted."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.peers.running import plan_for
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.engine.run_account import RunAccount
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.proof.comparison import compare
from trafficgen.runs.run import _recipients
from trafficgen.workload import Messages


def numbers(*found: int) -> NDArray[np.int64]:
    return np.array(found, np.int64)


def proof(
    arrived: list[int],
    *,
    accepted: dict[int, int] | None = None,
    in_doubt: dict[int, int] | None = None,
    damaged: list[int] | None = None,
) -> LedgerCounts:
    """Of messages by number, and how many recipients each has."""
    accepted, in_doubt = accepted or {}, in_doubt or {}
    return compare(
        accepted=numbers(*accepted),
        recipients=numbers(*accepted.values()),
        in_doubt=numbers(*in_doubt),
        in_doubt_recipients=numbers(*in_doubt.values()),
        arrived=np.flatnonzero(arrived),
        arrived_recipients=np.array([count for count in arrived if count], np.uint32),
        damaged=damaged or [],
    )


@pytest.mark.parametrize(
    ("arrived", "accepted", "in_doubt", "expected"),
    [
        ([], {}, {}, LedgerCounts(0, 0, 0, 0, 0)),
        ([1, 1, 1], {0: 1, 1: 1, 2: 1}, {}, LedgerCounts(3, 3, 0, 0, 0)),
        ([1, 0, 1], {0: 1, 1: 1, 2: 1}, {}, LedgerCounts(3, 2, 1, 0, 0)),
        ([1], {0: 1, 1: 1}, {}, LedgerCounts(2, 1, 1, 0, 0)),
        ([1, 2, 1], {0: 1, 1: 1, 2: 1}, {}, LedgerCounts(3, 3, 0, 1, 0)),
        ([3, 2], {0: 3, 1: 3}, {}, LedgerCounts(2, 1, 1, 0, 0)),
        ([3, 4], {0: 3, 1: 3}, {}, LedgerCounts(2, 2, 0, 1, 0)),
        ([1, 0], {0: 1}, {1: 1}, LedgerCounts(1, 1, 0, 0, 0)),
        ([1, 1], {0: 1}, {1: 1}, LedgerCounts(1, 1, 0, 0, 0)),
        ([1, 2], {0: 1}, {1: 1}, LedgerCounts(1, 1, 0, 1, 0)),
        ([1, 1], {0: 1}, {}, LedgerCounts(1, 1, 0, 1, 0)),
        ([0, 0, 0, 0, 0, 1], {}, {}, LedgerCounts(0, 0, 0, 1, 0)),
        ([2, 0, 0, 0, 0, 1], {0: 1}, {}, LedgerCounts(1, 1, 0, 2, 0)),
    ],
    ids=[
        "nothing sent", "all there", "one missing", "the last one missing", "one twice", "a recipient missing",
        "a recipient twice", "in doubt and not there", "in doubt and there", "in doubt and twice",
        "refused and there all the same", "never sent and there all the same",
        "one twice and one never sent",
    ],
)  # fmt: skip
def test_what_is_missing_and_what_is_there_too_often(
    arrived: list[int], accepted: dict[int, int], in_doubt: dict[int, int], expected: LedgerCounts
) -> None:
    assert proof(arrived, accepted=accepted, in_doubt=in_doubt) == expected
    assert expected.clean == (expected.missing == expected.duplicated == 0)


def test_a_message_damaged_twice_counts_once() -> None:
    assert proof([2], accepted={0: 2}, damaged=[0, 0]).corrupted == 1
    assert not proof([1], accepted={0: 1}, damaged=[0]).clean


@given(
    st.dictionaries(st.integers(0, 50), st.integers(1, 5)),
    st.dictionaries(st.integers(0, 50), st.integers(1, 5)),
    st.lists(st.integers(0, 6), max_size=60),
)
def test_the_ledger_is_what_counting_one_by_one_gives(
    accepted: dict[int, int], in_doubt: dict[int, int], arrived: list[int]
) -> None:
    in_doubt = {number: count for number, count in in_doubt.items() if number not in accepted}
    got = dict(enumerate(arrived))
    everything = set(got) | set(accepted) | set(in_doubt)
    most = {number: accepted.get(number, in_doubt.get(number, 0)) for number in everything}
    assert proof(arrived, accepted=accepted, in_doubt=in_doubt) == LedgerCounts(
        expected=len(accepted),
        received=sum(got.get(number, 0) >= count for number, count in accepted.items()),
        missing=sum(got.get(number, 0) < count for number, count in accepted.items()),
        duplicated=sum(got.get(number, 0) > most[number] for number in everything),
        corrupted=0,
    )


def account(partial: dict[int, int]) -> RunAccount:
    """All that the question needs of an account."""
    return cast("RunAccount", SimpleNamespace(partial=partial))


def test_recipients_that_were_refused_are_not_expected() -> None:
    plan = plan_for(25, messages=10, workload={"recipients_per_message": ((3, 1.0),)})
    found = _recipients(ResolvedPlan.of(plan), account({2: 1, 7: 2}), numbers(0, 2, 5, 7, 9))
    assert found.tolist() == [3, 1, 3, 2, 3]


def test_drawn_numbers_of_recipients_are_those_that_were_sent() -> None:
    plan = plan_for(25, messages=100, workload={"recipients_per_message": ((1, 1.0), (4, 1.0), (9, 1.0))})
    resolved = ResolvedPlan.of(plan)
    sent = [message.recipients for message in Messages(plan, date="").block(0, 100)]
    assert set(sent) == {1, 4, 9}
    assert _recipients(resolved, account({}), numbers(*range(0, 100, 3))).tolist() == sent[::3]
    assert _recipients(resolved, account({}), numbers()).tolist() == []
