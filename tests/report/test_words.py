"""Numbers as people read them."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from mboxgen.counted import number_of
from trafficgen.report import words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.1234, "0.123"),
        (0.9996, "1.00"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1234.5, "1,234"),
    ],
)
def test_three_digits(number: float, text: str) -> None:
    assert words.three_digits(number) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (999, "999 B"), (999.9, "1.00 kB"), (24_500_000, "24.5 MB"), (1.2e9, "1.20 GB"), (3e15, "3,000 TB")],
)
def test_size(octets: float, text: str) -> None:
    assert words.size(octets) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 5, "0.00%"),
        (5, 5, "100.00%"),
        (1, 3, "33.33%"),
        (1, 1_000_000, "<0.01%"),
        (999_999, 1_000_000, ">99.99%"),
    ],
)
def test_share(part: int, whole: int, text: str) -> None:
    assert words.share(part, whole) == text


@pytest.mark.parametrize(
    ("ns", "unit"), [(1, ("ns", 1.0)), (1_000, ("µs", 1e3)), (5e6, ("ms", 1e6)), (1e9, ("s", 1e9)), (1e13, ("s", 1e9))]
)
def test_unit_for(ns: float, unit: tuple[str, float]) -> None:
    assert words.unit_for(ns) == unit


@pytest.mark.parametrize(
    ("number", "word", "text"),
    [
        (0, "message", "0 messages"),
        (1, "message", "1 message"),
        (1234, "copy", "1,234 copies"),
        (2, "day", "2 days"),
        (3, "address", "3 addresses"),
        (1, "address", "1 address"),
    ],
)
def test_a_count_and_its_noun(number: int, word: str, text: str) -> None:
    assert number_of(number, word) == text


COUNTED = re.compile(
    r" (messages|sessions|copies|lines|errors|users|blocks|deliveries|runs|connections|workers|shards|steps|thresholds"
    r"|addresses|recipients|mailboxes)\b(?!/)"
)
LIMIT = re.compile(r"_?[A-Z_]+")
MORE_THAN_ONE = frozenset(
    {
        "self.text_from_lines", "self.odd_headers",  # 1 is said otherwise
        "len(workers)",
        "of", "plan.shard.of",  # shards that cannot all have one
        "name",  # of a metric
        "size",  # of a group of blocks, 1 is said otherwise
        "self._parallel",  # imaptest's own words
    }
)  # fmt: skip
"""What is said with a noun in the plural, and never is 1 there; nor is a limit, whose name is in capitals."""


def test_what_may_be_one_is_said_as_one() -> None:
    """ "1 messages accepted" reads as a mistake."""
    folder = Path(__file__).parents[2]
    found = []
    for room in ("mboxgen", "trafficgen"):
        for path in sorted((folder / room).rglob("*.py")):
            for text in (one for one in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(one, ast.JoinedStr)):
                for value, behind in pairwise(text.values):
                    if not (isinstance(value, ast.FormattedValue) and isinstance(behind, ast.Constant)):
                        continue
                    count = ast.unparse(value.value)
                    if COUNTED.match(str(behind.value)) and not (LIMIT.fullmatch(count) or count in MORE_THAN_ONE):
                        found.append(f"{path.name}:{value.lineno} {ast.unparse(text)}")
    assert found == []


def test_shorten() -> None:
    assert words.shorten("abc", 3) == "abc"
    assert words.shorten("abcd", 3) == "ab…"


@pytest.mark.parametrize(("seconds", "text"), [(-0.3, "0 s"), (0.0, "0 s"), (-2.0, "-2 s"), (1234.4, "1,234 s")])
def test_moments_of_a_run_in_whole_seconds(seconds: float, text: str) -> None:
    assert words.whole_seconds(seconds) == text
