"""Readable text at memory speed.

Takes     a seed, a number of octets, a variant
Gives     whole lines and where they end (lines), the pools behind them
Not here  the words themselves (vocabulary), how a run is cut from a pool (pools), HTML and base64 (parts)

Lines have at most 76 octets, end in CRLF, and never begin with "." or "From " nor end in a space, so nothing has to
be quoted or stuffed on any way through mail. Real corporate mail deflates to 0.557 of its size (256stuff.com, 18.6
million mails); words drawn from a dictionary give 0.35, so most words here are two words spliced, with names,
numbers and references between them.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.text import pools, vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mboxgen.text.pools import Pool

POOL_OCTETS = 1 << 20
_STRIDE = 7919  # a prime: neighbouring variants start far apart
_MANY_WORDS = 1 << 15  # fewer repeat inside deflate's window, and text would deflate to less than real mail does
_FEW_WORDS = 1 << 13
_PICKS = 8_192
_ODD_PER_256 = 80
_COINED_PER_256 = 160


def lines(seed: int, octets: int, variant: int = 0) -> tuple[memoryview, NDArray[np.int64]]:
    """Give whole lines of at most `octets` octets together, and where each of them ends.

    All variants of a size are views of the same octets.
    """
    pool = english(seed)
    first = variant * _STRIDE % len(pool.ends)
    lengths = np.roll(np.diff(pool.ends, prepend=0), -first)
    turn = np.cumsum(lengths)
    rounds = octets // len(pool.octets)
    ends = (turn[None, :] + np.arange(rounds + 1)[:, None] * len(pool.octets)).ravel()
    ends = ends[: int(np.searchsorted(ends, octets, side="right"))]
    begin = int(pool.starts[first])
    length = int(ends[-1]) if len(ends) else 0
    return _ring(seed, octets)[begin : begin + length], ends


@lru_cache(maxsize=2)
def _ring(seed: int, octets: int) -> memoryview:
    """The pool again and again, as far as is needed for so many octets from any place in its first round."""
    pool = memoryview(english(seed).octets)
    rounds, rest = divmod(octets, len(pool))
    return memoryview(b"".join([*[pool] * (rounds + 1), pool[:rest]]))


@lru_cache(maxsize=4)
def english(seed: int) -> Pool:
    """The pool of 7-bit English lines of a seed, built once."""
    return pool_of(seed, "en_US", POOL_OCTETS, str.encode)


def forget() -> None:
    """Let go of what text is made from, 4 MB a seed, and of text that nobody holds. It is made again when asked for."""
    for made in (_ring, english, filling_lines, _words):
        made.cache_clear()
    vocabulary.forget()


def pool_of(seed: int, locales: str, octets: int, encode: Callable[[str], bytes]) -> Pool:
    """Build a pool from the words of one or several locales ("de_DE fr_FR"); `encode` takes one word."""
    return pools.build(wrap(tokens(seed, locales, octets, encode), octets), filling_lines(seed))


@lru_cache(maxsize=4)
def filling_lines(seed: int) -> tuple[bytes, ...]:
    """For every n from 2: n octets of one or two 7-bit lines; places 0 and 1 are empty."""
    words = b" ".join(tokens(seed, "en_US", 4 * pools.MAX_FILL, str.encode)).lower()
    fills = [b"", b""]
    for octets in range(2, pools.MAX_FILL):
        longest = pools.LINE_OCTETS + 2
        first = octets if octets <= longest else octets // 2
        fills.append(b"".join(_exact_line(words, n) for n in (first, octets - first) if n))
    return tuple(fills)


def tokens(seed: int, locales: str, octets: int, encode: Callable[[str], bytes]) -> list[bytes]:
    """Give words enough for `octets` octets of text: real, spliced, and now and then a name or a number."""
    many = _MANY_WORDS if octets >= POOL_OCTETS else _FEW_WORDS
    written = map(encode, _words(seed, locales, many))
    table = [word for word in written if len(word) <= pools.LINE_OCTETS // 2]
    found: list[bytes] = []
    used = 0
    for block in range(octets // _PICKS + 1):  # a pick is never below one octet; small blocks keep memory small
        picks = streams.below(streams.raw(seed, f"text {locales}", block, _PICKS), len(table))
        picked = list(map(table.__getitem__, picks.tolist()))
        found += picked
        used += sum(map(len, picked)) + len(picked)
        if used > octets + pools.LINE_OCTETS:
            break
    return found


@lru_cache(maxsize=8)
def _words(seed: int, locales: str, count: int) -> list[str]:
    """Make the words that all text of these locales is picked from; one in 16 ends a sentence and begins the next."""
    words, names = vocabulary.words(locales), vocabulary.family_names(locales)
    draws = streams.raw(seed, f"words {locales}", 0, count)
    kinds, marks = draws & 0xFF, (draws >> 8) & 0xFF
    odd, coined = kinds < _ODD_PER_256, kinds < _ODD_PER_256 + _COINED_PER_256
    ones = (((draws >> 40) & 0xFFF) * len(words) >> 12).tolist()
    others = ((draws >> 52) * len(words) >> 12).tolist()
    # By the column: a step of Python's for each of 32,768 words took a tenth of the time to the first message.
    begins = [word[: (len(word) + 2) // 2] for word in words]
    ends = [word[len(word) // 2 :] for word in words]
    plain = list(map(add, map(begins.__getitem__, ones), map(ends.__getitem__, others)))
    for at in np.flatnonzero(~coined).tolist():
        plain[at] = words[ones[at]]
    for at, number in zip(np.flatnonzero(odd).tolist(), ((draws[odd] >> 16) & 0xFFFFFF).tolist(), strict=True):
        plain[at] = _odd(number, names)
    written = plain[:]
    for at in np.flatnonzero(marks < 16).tolist():
        after = plain[(at + 1) % count]
        written[at] = f"{plain[at]}. {after[:1].upper()}{after[1:]}"
    for at in np.flatnonzero((marks >= 16) & (marks < 32)).tolist():
        written[at] += ","
    return written


def _odd(number: int, names: Sequence[str]) -> str:
    if number % 3 == 0:
        return names[number // 3 % len(names)]
    return f"{number:x}" if number % 3 == 1 else f"{number % 1_000_000}"


def wrap(words: Sequence[bytes], octets: int, limit: int = pools.LINE_OCTETS) -> list[bytes]:
    """Fill lines of at most `limit` octets with words, until `octets` octets are used."""
    together = b" ".join(words)
    ends = (
        np.cumsum(np.fromiter(map(len, words), dtype=np.int64, count=len(words))) + np.arange(1, len(words) + 1)
    ).tolist()
    found, first, begin, used = [], 0, 0, 0
    while first < len(words) and used < octets:
        # A word and its space have an octet at least, so that so many of them fill any line.
        first = max(bisect_right(ends, begin + limit + 1, first, first + limit + 1), first + 1)
        end = ends[first - 1]
        line = together[begin : end - 1]
        if not line.startswith((b"From ", b".")):
            found.append(line)
            used += len(line) + 2
        begin = end
    return found


def wide_line(seed: int, octets: int) -> bytes:
    """Give one line of prose of exactly `octets` octets and CRLF, above the 78 that lines should have."""
    words = b" ".join(tokens(seed, "en_US", 8 * octets, str.encode)).lower()
    return _exact_line(words[words.index(b" ") + 1 :], octets + 2)


def _exact_line(words: bytes, octets: int) -> bytes:
    """Cut a line of exactly `octets` octets with its CRLF; it ends in a full stop when there is room."""
    text = words[: octets - 2]
    return (text[:-1].rstrip() + b"." * (len(text) - len(text[:-1].rstrip())) if len(text) > 1 else text) + b"\r\n"
