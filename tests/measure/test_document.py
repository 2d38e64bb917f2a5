"""What JSON may hold before anybody looks for a type in it."""

import pytest

from trafficgen.measure.document import parse


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_has_a_limit_to_the_level(opening: bytes, closing: bytes) -> None:
    assert parse(opening * 32 + b"1" + closing * 32)
    with pytest.raises(ValueError, match="at most 32 levels of lists and objects, got more"):
        parse(opening * 33 + b"1" + closing * 33)


def test_nesting_beyond_every_stack_is_one_line() -> None:
    with pytest.raises(ValueError) as caught:  # whoever gives up first says it in words of its own
        parse(b"[" * 100_000 + b"]" * 100_000)
    assert "\n" not in str(caught.value)
