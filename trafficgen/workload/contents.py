"""Headers and bodies of generated messages, put together for a span at a time.

Takes     the plan's sizes or body file; a span of message numbers
Gives     heads, bodies and tails by column, wire-ready
Refuses   sizes that cannot be: below two octets of body, or too small for the header block
Not here  where a body's octets come from (bodies), whole messages from a file (corpus)

A size given in figures is the body's. A preset's sizes are those of whole messages, as its source measured them, so
the body gets what the header block leaves, and none at all when a message has more recipients than its size has room.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from mboxgen.recipe import sizes
from trafficgen.errors import PlanError
from trafficgen.plan import Plan, SizedBodies
from trafficgen.workload import people
from trafficgen.workload.bodies import MIN_BODY, BodyCut, FileBody, TextBodies
from trafficgen.workload.columns import Rows, hexadecimal
from trafficgen.workload.envelopes import Envelopes
from trafficgen.workload.grid import GRID, Span
from trafficgen.workload.headers import Alternatives, header_layout
from trafficgen.workload.mail_layout import MailLayout


class Filled(NamedTuple):
    """What goes between the envelope and the next one, by column."""

    heads: Iterable[bytes]
    bodies: Iterable[bytes | memoryview]
    tails: Iterable[bytes]
    octets: list[int]
    eight_bit: list[bool]


class Contents(Protocol):
    """What `Messages` asks for. Made in a moment and refused then if it cannot be; `prepare` does what takes long."""

    def prepare(self) -> None:
        """Make ready what every message needs, once, before the first `fill`."""

    def fill(self, span: Span) -> Filled:
        """Heads, bodies and tails of a span."""


class _Headers:
    """The header blocks of generated messages."""

    def __init__(self, plan: Plan, date: str, envelopes: Envelopes, content: Sequence[str]) -> None:
        self._seed = plan.seed
        self._envelopes = envelopes
        self._layout = header_layout(plan, date, envelopes, content)
        self._subjects = len(people.subjects(plan.seed))
        self._alternatives = Alternatives(plan)
        self._picks = lru_cache(maxsize=2)(self._draw)

    def octets(self, grid: int) -> NDArray[np.int64]:
        """Length of every header block of a grid block, the empty line included."""
        return self._layout.octets(self._envelopes.addressed(grid).columns.with_more(self._picks(grid), {}))

    def rows(self, grid: int, crc32: NDArray[np.uint32]) -> Rows:
        """Header blocks of a grid block whose bodies have these checksums."""
        columns = self._envelopes.addressed(grid).columns
        return self._layout.rows(columns.with_more(self._picks(grid), {"crc32": hexadecimal(crc32)}))

    def _draw(self, grid: int) -> dict[str, NDArray[np.int64]]:
        subjects = streams.below(streams.raw(self._seed, "workload/subject", grid, GRID), self._subjects)
        return {"subject": subjects} | self._alternatives.picks(grid, self._envelopes.addressed(grid).users)


class _BodyBlock(NamedTuple):
    """A grid block, ready but for the joining of its rows."""

    heads: Rows
    cut: BodyCut
    octets: NDArray[np.int64]


class SizedContents:
    """Text of set sizes."""

    def __init__(self, plan: Plan, content: SizedBodies, date: str, envelopes: Envelopes, layout: MailLayout) -> None:
        self._end = layout.end_of_data
        self._seed = plan.seed
        try:
            self._sizes = sizes.parse_sizes(content.sizes)
        except ValueError as error:
            raise _unfit(str(error)) from error
        self._whole = is_preset(content)
        if not self._whole and self._sizes.min_octets < MIN_BODY:
            raise _unfit(f"a body has at least {MIN_BODY} octets, as its last line ends in CRLF")
        self._headers = _Headers(plan, date, envelopes, TextBodies.content)
        if self._whole and self._sizes.values:
            self._check_room(envelopes)
        self._block = lru_cache(maxsize=2)(self._make_block)

    def prepare(self) -> None:
        """Make the pools of text."""
        self._bodies = TextBodies(self._seed, self._sizes.max_octets, self._end)

    def fill(self, span: Span) -> Filled:
        """Heads, bodies and tails of a span."""
        (heads, cut, octets), part = self._block(span.grid), span.part
        tails = cut.tails.part(part)
        return Filled(heads.part(part), cut.bodies[part], tails, octets[part].tolist(), [False] * len(tails))

    def _make_block(self, grid: int) -> _BodyBlock:
        head_octets = self._headers.octets(grid)
        body_octets = self._sizes.draw(streams.raw(self._seed, "workload/size", grid, GRID))
        if self._whole:
            body_octets = np.maximum(body_octets - head_octets, 0)
            body_octets[body_octets == 1] = MIN_BODY
        pools = streams.below(streams.raw(self._seed, "workload/pool", grid, GRID), self._bodies.pools)
        cut = self._bodies.cut(pools, body_octets, grid)
        return _BodyBlock(self._headers.rows(grid, cut.crc32), cut, head_octets + body_octets)

    def _check_room(self, envelopes: Envelopes) -> None:
        """The smallest size of a preset must hold the headers of a message with the fewest recipients."""
        recipients = envelopes.recipients_of(0)
        needed = int(self._headers.octets(0)[recipients == recipients.min()].max())
        if self._sizes.min_octets < needed:
            least = self._sizes.min_octets
            raise _unfit(f"expected messages of at least {needed} octets, as headers take that much, got {least}")


class FileContents:
    """The same body for all, from a file, under generated headers."""

    def __init__(self, plan: Plan, body: FileBody, date: str, envelopes: Envelopes, layout: MailLayout) -> None:
        self._end = layout.end_of_data
        self._body = body
        self._headers = _Headers(plan, date, envelopes, self._body.content)
        self._heads = lru_cache(maxsize=2)(self._make_heads)

    def prepare(self) -> None:
        """Nothing: the file is read."""

    def fill(self, span: Span) -> Filled:
        """Heads, bodies and tails of a span."""
        heads, body = self._heads(span.grid).part(span.part), self._body
        octets = [len(head) + body.octets for head in heads]
        return Filled(heads, repeat(body.body), repeat(self._end), octets, [body.eight_bit] * len(heads))

    def _make_heads(self, grid: int) -> Rows:
        return self._headers.rows(grid, np.full(GRID, self._body.crc32, dtype=np.uint32))


def is_preset(content: SizedBodies) -> bool:
    """Whether sizes are those of whole messages, header block included."""
    return content.sizes[0].strip().lower() in sizes.PRESETS


def _unfit(text: str) -> PlanError:
    return PlanError(text, field="content", flag="--body-size")
