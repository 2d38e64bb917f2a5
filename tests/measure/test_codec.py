"""What JSON may hold before anybody looks for a type in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from msgspec import Meta

from trafficgen.measure.codec import Count, Nanoseconds, from_plain, parse


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_has_a_limit_to_the_level(opening: bytes, closing: bytes) -> None:
    assert parse(opening * 32 + b"1" + closing * 32)
    with pytest.raises(ValueError, match="at most 32 levels of lists and objects, got more"):
        parse(opening * 33 + b"1" + closing * 33)


def test_nesting_beyond_every_stack_is_one_line() -> None:
    with pytest.raises(ValueError) as caught:  # whoever gives up first says it in words of its own
        parse(b"[" * 100_000 + b"]" * 100_000)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("form", "most"), [(Count, 9_007_199_254_740_992), (Nanoseconds, 9_223_372_036_854_775_807)])
def test_counts_and_times_have_a_largest_value(form: Any, most: int) -> None:
    """Counts up to where JSON numbers are whole for every reader (RFC 8259 section 6), times up to 64 bits."""
    assert from_plain(form, most) == most
    assert from_plain(form, 0) == 0
    for value in (most + 1, -1):
        with pytest.raises(ValueError, match="expected"):
            from_plain(form, value)


@dataclass(frozen=True)
class _Counted:
    counts: Mapping[Annotated[str, Meta(pattern="^[ab]$")], Count]


@dataclass(frozen=True)
class _Outer:
    inner: _Counted


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"a": 1, "x": 2}, "inner.counts: expected as key str matching regex '^[ab]$', got \"x\""),
        ({"a": 1, "b": -2}, "inner.counts.b: expected int >= 0, got -2"),
    ],
)
def test_a_key_or_a_value_of_a_mapping_that_does_not_fit_is_named(plain: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        from_plain(_Outer, {"inner": {"counts": plain}})
