"""Texts by the column are what the same texts one by one would be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mboxgen.columns import TextTable, distinct, hexadecimal, once_each, rows
from mboxgen.message.headers import MessageIds, MessageTimes
from mboxgen.recipe.recipe import MAX_COUNT

NUMBERS = st.lists(st.integers(0, MAX_COUNT - 1), min_size=1, max_size=30)


@given(NUMBERS, st.binary(min_size=1, max_size=20).filter(lambda text: not text.endswith(b"\0")))
def test_rows_join_constants_and_columns(numbers: list[int], text: bytes) -> None:
    written = hexadecimal(np.array(numbers), 10)
    found = rows(len(numbers), text, written, b"-", written, b"\r\n").tolist()
    assert found == [b"%b%010x-%010x\r\n" % (text, number, number) for number in numbers]


@given(NUMBERS)
def test_message_ids_have_the_number_the_digest_and_the_domain(numbers: list[int]) -> None:
    found = MessageIds(b"0123456789ab", b"a.example").of(np.array(numbers)).tolist()
    assert found == [b"<%010x.0123456789ab@a.example>" % number for number in numbers]


def test_times_are_written_as_a_date_and_as_asctime() -> None:
    times = MessageTimes(np.array([0, 951_782_399, 1_763_765_700, 4_102_444_799]))
    assert times.dates.tolist() == [
        b"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n",
        b"Date: Mon, 28 Feb 2000 23:59:01 +0000\r\n",
        b"Date: Fri, 21 Nov 2025 22:55:04 +0000\r\n",
        b"Date: Thu, 31 Dec 2099 23:59:05 +0000\r\n",
    ]
    lines = times.from_lines(TextTable([b"From a@b.example"]), np.zeros(4, dtype=np.int64))
    assert lines.octets.tolist() == [len(text) for text in lines.texts]
    assert lines.texts == [
        b"From a@b.example Thu Jan  1 00:00:50 1970\r\n",
        b"From a@b.example Mon Feb 28 23:59:59 2000\r\n",
        b"From a@b.example Fri Nov 21 22:55:50 2025\r\n",
        b"From a@b.example Thu Dec 31 23:59:59 2099\r\n",
    ]


def test_a_table_knows_octets_and_checksums() -> None:
    table = TextTable([b"", b"a", b"abc"])
    assert table.octets.tolist() == [0, 1, 3]
    assert table.crcs.tolist() == [0, 0xE8B7BE43, 0x352441C2]
    assert list(table.pick(np.array([2, 0]))) == [b"abc", b""]


@given(st.lists(st.integers(-50, 50), min_size=1))
def test_distinct_numbers_are_those_of_numpy(numbers: list[int]) -> None:
    values, places = distinct(np.array(numbers))
    wanted, inverse = np.unique(numbers, return_inverse=True)
    assert (values.tolist(), places.tolist()) == (wanted.tolist(), inverse.tolist())


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 3)))
def test_numbers_once_each_are_those_of_numpy(numbers: list[int]) -> None:
    assert once_each(np.array(numbers, np.int64)).tolist() == sorted(set(numbers))
