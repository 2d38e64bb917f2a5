"""Headers and bodies of generated messages, put together for a span at a time.

Takes     the plan's sizes or body file; a span with its addresses
Gives     heads, bodies and tails by column, wire-ready
Refuses   sizes that cannot be: below two octets of body, or too small for the header block
Not here  where a body's octets come from (bodies), whole messages from a file (corpus)

A size given in figures is the body's. A preset's sizes are those of whole messages, as its source measured them, so
the body gets what the header block leaves, and none at all when a message has more recipients than its size has room.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mboxgen import sizes, streams
from trafficgen.errors import PlanError
from trafficgen.plan import BodyFile, Plan, SizedBodies
from trafficgen.workload import people
from trafficgen.workload.bodies import END_OF_DATA, MIN_BODY, FileBody, TextBodies
from trafficgen.workload.columns import hexadecimal
from trafficgen.workload.envelopes import Addressed, Envelopes
from trafficgen.workload.grid import GRID, Span
from trafficgen.workload.headers import Alternatives, header_layout


class Filled(NamedTuple):
    """What goes between the envelope and the next one, by column."""

    heads: Iterable[bytes]
    bodies: Iterable[bytes | memoryview]
    tails: Iterable[bytes]
    octets: Iterable[int]
    eight_bit: Iterable[bool]


class Contents(Protocol):
    """What `Messages` asks for."""

    def fill(self, span: Span, addressed: Addressed) -> Filled:
        """Heads, bodies and tails of a span."""


class _Headers:
    """The header blocks of generated messages."""

    def __init__(self, plan: Plan, date: str, envelopes: Envelopes, content: tuple[str, ...]) -> None:
        self._seed = plan.seed
        self._layout = header_layout(plan, date, envelopes, content)
        self._subjects = len(people.subjects(plan.seed))
        self._alternatives = Alternatives(plan)
        self.picks = lru_cache(maxsize=2)(self._draw)

    def octets(self, span: Span, addressed: Addressed) -> NDArray[np.int64]:
        """Length of every header block, the empty line included."""
        to = np.fromiter(map(len, addressed.texts["to"]), np.int64, count=len(span.digits))
        picks = {name: column[span.part] for name, column in self.picks(span.grid).items()}
        return self._layout.octets(addressed.picks | picks, {"number": 12, "crc32": 8, "to": to})

    def rows(self, span: Span, addressed: Addressed, crc32: NDArray[np.uint32]) -> list[bytes]:
        """Header blocks that carry these checksums."""
        drawn = {name: column[span.part] for name, column in self.picks(span.grid).items()}
        picks = {name: column.tolist() for name, column in (addressed.picks | drawn).items()}
        return self._layout.rows(picks, addressed.texts | {"number": span.digits, "crc32": hexadecimal(crc32)})

    def _draw(self, grid: int) -> dict[str, NDArray[np.int64]]:
        subjects = streams.below(streams.raw(self._seed, "workload/subject", grid, GRID), self._subjects)
        return {"subject": subjects} | self._alternatives.picks(grid)


class SizedContents:
    """Text of set sizes."""

    def __init__(self, plan: Plan, content: SizedBodies, date: str, envelopes: Envelopes) -> None:
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
        self._bodies = TextBodies(plan.seed, self._sizes.max_octets)
        self._drawn = lru_cache(maxsize=2)(self._draw)

    def fill(self, span: Span, addressed: Addressed) -> Filled:
        """Heads, bodies and tails of a span."""
        drawn, pools = self._drawn(span.grid)
        head_octets = self._headers.octets(span, addressed)
        body_octets = drawn[span.part]
        if self._whole:
            body_octets = np.maximum(body_octets - head_octets, 0)
            body_octets[body_octets == 1] = MIN_BODY
        cut = self._bodies.cut(pools[span.part], body_octets, span.digits)
        heads = self._headers.rows(span, addressed, cut.crc32)
        return Filled(heads, cut.bodies, cut.tails, (head_octets + body_octets).tolist(), repeat(False))

    def _draw(self, grid: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        drawn = self._sizes.draw(streams.raw(self._seed, "workload/size", grid, GRID))
        return drawn, streams.below(streams.raw(self._seed, "workload/pool", grid, GRID), self._bodies.pools)

    def _check_room(self, envelopes: Envelopes) -> None:
        """The smallest size of a preset must hold the headers of a message with the fewest recipients."""
        span = Span.of(0, 0, GRID)
        addressed = envelopes.address(span)
        fewest = addressed.recipients == addressed.recipients.min()
        needed = int(self._headers.octets(span, addressed)[fewest].max())
        if self._sizes.min_octets < needed:
            least = self._sizes.min_octets
            raise _unfit(f"expected messages of at least {needed} octets, as headers take that much, got {least}")


class FileContents:
    """The same body for all, from a file, under generated headers."""

    def __init__(self, plan: Plan, content: BodyFile, date: str, envelopes: Envelopes) -> None:
        self._body = FileBody(content)
        self._headers = _Headers(plan, date, envelopes, self._body.content)

    def fill(self, span: Span, addressed: Addressed) -> Filled:
        """Heads, bodies and tails of a span."""
        crcs = np.full(len(span.digits), self._body.crc32, dtype=np.uint32)
        heads = self._headers.rows(span, addressed, crcs)
        octets = (self._headers.octets(span, addressed) + self._body.octets).tolist()
        return Filled(heads, repeat(self._body.body), repeat(END_OF_DATA), octets, repeat(self._body.eight_bit))


def is_preset(content: SizedBodies) -> bool:
    """Whether sizes are those of whole messages, header block included."""
    return content.sizes[0].strip().lower() in sizes.PRESETS


def _unfit(text: str) -> PlanError:
    return PlanError(text, field="content", flag="--body-size")
