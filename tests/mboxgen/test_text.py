"""Text of an exact size, and checksums of joined pieces."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mboxgen import checksums, streams
from mboxgen.text import parts, prose
from mboxgen.text.pool_set import PoolSet, pool_set_of


def prose_of(seed: int, octets: int, variant: int = 0) -> bytes:
    """One run of English text."""
    zero = np.zeros(1, dtype=np.int64)
    cut = pool_set_of(seed, "en_US", ("ascii",)).cut(zero, zero + octets, zero, streams.raw(variant, "test", 0, 1))
    return b"".join(bytes(piece) + fill for piece, fill in zip(cut.slices, cut.fills, strict=True))


@given(st.integers(2, 3_000) | st.integers(262_000, 800_000), st.integers(0, 10**6))
def test_prose_is_exact_and_made_of_clean_lines(octets: int, variant: int) -> None:
    text = prose_of(1, octets, variant)
    assert len(text) == octets
    assert text.isascii()
    assert text.endswith(b"\r\n")
    assert text.count(b"\n") == text.count(b"\r") == text.count(b"\r\n")
    for line in text.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.startswith((b".", b"From "))
        assert not line.endswith(b" ")


def test_prose_deflates_like_real_mail() -> None:
    for octets in (20_000, 100_000, 1_000_000):
        assert 0.5 < len(zlib.compress(prose_of(2, octets), 6)) / octets < 0.6


def test_prose_is_a_function_of_seed_size_and_draw() -> None:
    assert prose_of(1, 5_000, 3) == prose_of(1, 5_000, 3)
    assert len({prose_of(1, 5_000, variant) for variant in range(100)}) == 100
    assert prose_of(1, 5_000) != prose_of(2, 5_000)


@pytest.mark.parametrize("octets", [0, 1, 80, 5_000, 2_500_000])
def test_lines_can_be_cut_at_every_end(octets: int) -> None:
    view, ends = prose.lines(1, octets, 9)
    whole = bytes(view)
    assert octets - 78 < len(whole) <= octets
    assert all(whole[end - 2 : end] == b"\r\n" for end in ends[:2_000].tolist())
    assert (int(ends[-1]) if len(ends) else 0) == len(whole)


def test_runs_of_a_block_are_exact_and_their_checksums_are_true() -> None:
    kinds = ("ascii", "utf-8", "base64")
    pool_set = PoolSet(1, "en_US de_DE", kinds)
    octets = np.array([0, 2, 78, 79, 82, 1_018, 5_062, 250_006, 262_145, 65_537, 1_000_000] * 40)
    numbers = np.arange(len(octets)) % len(kinds)
    octets[numbers == 2] = [parts.base64_octets(wanted) for wanted in octets[numbers == 2]]
    copies = np.where(octets == 250_006, 7, 0)
    cut = pool_set.cut(numbers, octets, copies, streams.raw(1, "test", 0, len(octets)))
    runs: list[bytes] = [b""] * len(octets)
    for at, run in enumerate(cut.runs.tolist()):
        piece, fill = bytes(cut.slices[at]), cut.fills[at]
        assert (len(piece), len(fill)) == (cut.slice_octets[at], cut.fill_octets[at])
        assert (zlib.crc32(piece), zlib.crc32(fill)) == (cut.slice_crcs[at], cut.fill_crcs[at])
        assert cut.eight_bit[at] == (not piece.isascii())
        runs[run] += piece + fill
    assert [len(run) for run in runs] == octets.tolist()
    assert all(run.endswith(b"\r\n") for run in runs if run)
    assert len({run for run, copy in zip(runs, copies, strict=True) if copy}) == len(kinds) - 1
    assert all(base64.b64decode(run) for run in (runs[at] for at in np.flatnonzero(numbers == 2)) if run)


def test_a_run_of_one_octet_is_refused() -> None:
    one = np.ones(1, dtype=np.int64)
    with pytest.raises(ValueError, match="got one of 1"):
        PoolSet(1, "en_US", ("ascii",)).cut(one - 1, one, one - 1, streams.raw(1, "test", 0, 1))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_joined_checksums_are_those_of_the_joined_octets(a: bytes, b: bytes) -> None:
    assert checksums.join(zlib.crc32(a), zlib.crc32(b), len(b)) == zlib.crc32(a + b)


def test_checksums_join_over_lengths_of_every_digit() -> None:
    zeros = bytes(20_000_001)
    assert checksums.join(zlib.crc32(b"a"), zlib.crc32(zeros), len(zeros)) == zlib.crc32(b"a" + zeros)


@given(st.lists(st.lists(st.binary(max_size=300), min_size=1), min_size=1, max_size=20))
def test_checksums_of_groups_of_pieces_are_those_of_the_joined_octets(groups: list[list[bytes]]) -> None:
    pieces = [piece for group in groups for piece in group]
    starts = np.cumsum([0] + [len(group) for group in groups[:-1]])
    found = checksums.joined(checksums.each(pieces), np.cumsum([len(piece) for piece in pieces]), starts)
    assert found.tolist() == [zlib.crc32(b"".join(group)) for group in groups]


def test_text_that_was_forgotten_is_made_again_as_it_was() -> None:
    before, ends = prose.lines(11, 5_000, variant=3)
    prose.forget()
    again, same_ends = prose.lines(11, 5_000, variant=3)
    assert (again is not before, bytes(again), same_ends.tolist()) == (True, bytes(before), ends.tolist())
