"""What benchmarks make of their rounds: sides take turns, and each ratio is of one round."""

import pytest

from benchmarks.cost import Cost
from benchmarks.rounds import apart, cpu_ratio, cpu_us, in_turns, per_s, rate_ratio

ROUNDS = [[Cost(1.0, 2.0), Cost(2.0, 4.0)], [Cost(2.0, 5.0), Cost(8.0, 8.0)], [Cost(4.0, 3.0), Cost(4.0, 10.0)]]


def test_another_side_is_first_in_every_round() -> None:
    order: list[str] = []

    def side(name: str, wall_s: float) -> Cost:
        order.append(name)
        return Cost(wall_s, 2 * wall_s)

    found = in_turns([lambda: side("a", 1.0), lambda: side("b", 2.0), lambda: side("c", 3.0)], 4)
    assert "".join(order) == "abcbcacababc"
    assert found == [[Cost(1.0, 2.0), Cost(2.0, 4.0), Cost(3.0, 6.0)]] * 4


def test_a_ratio_is_the_middle_of_those_of_the_rounds() -> None:
    """CPU 2/4, 5/8, 3/10, rates 2/1, 8/2, 4/4; of the medians it would be 3/8 and 4/2."""
    assert cpu_ratio(ROUNDS, 0, 1) == "**0.50** [0.30–0.62]"
    assert rate_ratio(ROUNDS, 0, 1) == "**2.00** [1.00–4.00]"
    assert rate_ratio(ROUNDS, 1, 0) == "**0.50** [0.25–1.00]"
    assert (cpu_us(ROUNDS), per_s(ROUNDS)) == ([3e6, 8e6], [0.5, 0.25])


def test_rounds_are_as_far_apart_as_those_of_the_side_where_that_is_most() -> None:
    """CPU 5/2 and 10/4, wall 4/1 and 8/2: both sides alike; then the second side alone."""
    assert apart(ROUNDS) == "150% / 300%"
    assert apart([[Cost(1, 1), Cost(1, 10)], [Cost(1, 1), Cost(1.25, 11)]]) == "10% / 25%"


@pytest.mark.parametrize(("cost", "said"), [(Cost(0.5, -0.1), "none / 100%"), (Cost(-0.5, 0.5), "100% / none")])
def test_where_more_messages_took_no_longer_than_fewer_there_is_no_ratio(cost: Cost, said: str) -> None:
    rounds = [[Cost(1.0, 1.0), Cost(1.0, 1.0)], [Cost(0.5, 0.5), cost]]
    assert apart(rounds) == said
    ratios = [cpu_ratio(rounds, 0, 1), rate_ratio(rounds, 0, 1)]
    assert sorted(ratios) == ["**1.00** [1.00–1.00]", "none"]
    assert (ratios[0] == "none") == (cost.cpu_s < 0)
