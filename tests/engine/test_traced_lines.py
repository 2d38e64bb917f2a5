"""Lines of several workers are shown in the order of their sessions, and none is held back for long."""

from trafficgen.engine.traced_lines import TracedLines


def test_a_worker_that_is_heard_first_does_not_show_its_session_first() -> None:
    traced = TracedLines()
    traced.hear([(2, "220 c"), (2, "EHLO c")])
    traced.told(2)
    assert traced.take({0, 1, 2}) == []
    traced.hear([(1, "220 b")])
    traced.told(1)
    assert traced.take({0, 1, 2}) == []
    traced.told(0)
    assert traced.take({0, 1, 2}) == [(1, "220 b"), (2, "220 c"), (2, "EHLO c")]
    assert traced.take(()) == []


def test_a_worker_that_is_over_is_not_waited_for() -> None:
    traced = TracedLines()
    traced.hear([(1, "221 bye"), (0, "221 bye")])
    traced.told(0)
    assert traced.take({0, 1}) == []
    assert traced.take({0}) == [(0, "221 bye"), (1, "221 bye")]
    traced.hear([(1, "late")])
    assert traced.take(()) == [(1, "late")]
