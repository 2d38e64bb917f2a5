"""Deliveries held and released: depth and ages are what Postfix says, and the drain is seen to its end."""

from tests.server.filled_queue import fill_and_drain


def test_a_held_queue_is_as_deep_and_old_as_postfix_says_and_its_drain_is_seen_to_the_end() -> None:
    found = fill_and_drain(500, patience_s=120, every="100ms")
    assert found.sent == found.depth == found.said_depth == 500
    assert found.arrivals == found.said_arrivals
    assert found.drained.at_end_of_sending == 500
    assert (found.drained.before, found.drained.left) == (0, 0)
    assert found.drained.took_s is not None
    assert found.left == 0
