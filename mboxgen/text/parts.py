"""The pools that the parts of messages are cut from.

Takes     a seed, locales, the name of a kind: "ascii", "utf-8 qp", "html latin-1", "noise", "base64", …
Gives     a pool of lines, built when first asked for
Not here  how runs are cut (pools), the words (text), which part uses which kind (mime)
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.text import pools, prose

if TYPE_CHECKING:
    from collections.abc import Callable

    from mboxgen.text.pools import Pool

_POOL_OCTETS = 256 << 10
_LATIN1_LOCALES = "de_DE fr_FR es_ES"
_TAGS = (b"p", b"td", b"li", b"div", b"span")
_LONGEST_TAG = len(b"<span></span>")
_BASE64_LINES = 8192  # a multiple of four: runs then end at a line's end
_BASE64_LINE = 57  # octets that make 76 characters
_NOISE_LINES = 32_768
_QUOTED = [b"=%02X" % octet if octet > 126 else b"%c" % octet for octet in range(256)]


class Pools:
    """All pools of one seed and one set of locales."""

    def __init__(self, seed: int, locales: str) -> None:
        self._seed = seed
        self._locales = locales
        self._built: dict[str, Pool] = {}

    def of(self, kind: str) -> Pool:
        """Give the pool of a kind."""
        if kind not in self._built:
            self._built[kind] = self._build(kind)
        return self._built[kind]

    def _build(self, kind: str) -> Pool:
        if kind == "ascii":
            return prose.english(self._seed)
        if kind == "noise":
            return noise(self._seed)
        if kind == "base64":
            return base64_lines(self._seed)
        if kind.startswith("html "):
            return self._html(kind.removeprefix("html "))
        locales, encode = self._writing(kind)
        return prose.pool_of(self._seed, locales, _POOL_OCTETS, encode)

    def _html(self, kind: str) -> Pool:
        """Lines of which each is one or two balanced elements, without attributes, so nothing needs quoting."""
        locales, encode = self._writing(kind)
        words = prose.tokens(self._seed, locales, _POOL_OCTETS, encode)
        short = [word for word in words if len(word) < pools.LINE_OCTETS - _LONGEST_TAG]
        inner = prose.wrap(short, _POOL_OCTETS, pools.LINE_OCTETS - _LONGEST_TAG)
        tags = (_TAGS[number % len(_TAGS)] for number in range(len(inner)))
        lines = [b"<%b>%b</%b>" % (tag, line, tag) for tag, line in zip(tags, inner, strict=True)]
        return pools.build(lines, prose.filling_lines(self._seed))

    def _writing(self, kind: str) -> tuple[str, Callable[[str], bytes]]:
        locales = "en_US" if kind == "ascii" else self._locales
        if kind.startswith("latin-1"):
            locales = _LATIN1_LOCALES
        charset, _, quoted = kind.partition(" ")
        if quoted:
            return locales, lambda word: _quoted_printable(word, charset)
        return locales, lambda word: word.encode(charset, "ignore")


def noise(seed: int) -> Pool:
    """Lines of 76 out of 64 symbols, '0' to 'o': nothing in them compresses beyond their six bits, or is quoted."""
    raw = streams.raw(seed, "noise", 0, _NOISE_LINES * 10).astype("<u8")
    symbols = (raw & np.uint64(0x3F3F3F3F3F3F3F3F)) + np.uint64(0x3030303030303030)
    rows = np.empty((_NOISE_LINES, pools.LINE_OCTETS + 2), dtype=np.uint8)
    rows[:, :-2] = symbols.view(np.uint8).reshape(_NOISE_LINES, 80)[:, : pools.LINE_OCTETS]
    rows[:, -2:] = (13, 10)
    ends = np.arange(1, _NOISE_LINES + 1, dtype=np.int64) * (pools.LINE_OCTETS + 2)
    return pools.Pool(rows.tobytes(), ends, prose.filling_lines(seed))


def base64_lines(seed: int) -> Pool:
    """Full lines of base64; a run of any length that `base64_octets` gives decodes without remainder."""
    octets = streams.raw(seed, "base64", 0, _BASE64_LINES * 8).astype("<u8").tobytes()
    step = _BASE64_LINE
    lines = [base64.b64encode(octets[at : at + step]) for at in range(0, _BASE64_LINES * step, step)]
    fills = [b""] * pools.MAX_FILL
    for quads in range(1, pools.LINE_OCTETS // 4 + 1):
        fills[4 * quads + 2] = base64.b64encode(octets[: 3 * quads - 1]) + b"\r\n"
    return pools.build(lines, tuple(fills))


def base64_octets(octets: int) -> int:
    """Give the largest number of octets up to `octets` that lines of base64 can have."""
    rows, rest = divmod(octets, pools.LINE_OCTETS + 2)
    return rows * (pools.LINE_OCTETS + 2) + ((rest - 2) // 4 * 4 + 2 if rest >= 6 else 0)


def _quoted_printable(word: str, charset: str) -> bytes:
    """Quote every octet above 127 (RFC 2045 section 6.7); words have no "=" and no spaces at their ends."""
    octets = word.encode(charset, "ignore")
    return octets if octets.isascii() else b"".join([_QUOTED[octet] for octet in octets])
