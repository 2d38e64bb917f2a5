"""Make one block of messages: every octet of it.

Takes     a Plan and the number of a block
Gives     its messages as pieces with lengths, checksums and flags; the same in every process
Refuses   sizes too small for a header: `smallest` says what is possible
Not here  drawing (draws), MIME shapes (mime), header fields (headers), the file (writer)
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import headers, mime, people
from mboxgen.distributions import with_tail
from mboxgen.draft import Draft, Finished
from mboxgen.draws import Draws
from mboxgen.faults import FAULTS
from mboxgen.flags import Flag
from mboxgen.looks import Charset, Shape
from mboxgen.mime import Letters
from mboxgen.recipe import Body, RecipeError
from mboxgen.shelf import shelf_of
from mboxgen.traces import traces_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mboxgen.headers import Moments
    from mboxgen.plan import Plan
    from mboxgen.recipe import Recipe

_SECONDS_PER_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_AMPLE = 600  # no short header is longer: an address ends at 52 octets, an identity at 49
_MESSAGE_ID_OCTETS = len(b"Message-ID: \r\n")
_TOKEN_OCTETS = 10 + 1 + 8
_SHAPES = tuple(sorted(Shape, key=lambda shape: shape not in (Shape.PLAIN, Shape.HTML)))  # multiparts last
_PLAIN, _HTML = _SHAPES.index(Shape.PLAIN), _SHAPES.index(Shape.HTML)
_ASCII, _UNDECLARED = mime.CHARSETS.index(Charset.ASCII), mime.CHARSETS.index(Charset.UNDECLARED)
_LEAST = np.array([shape.least_body for shape in _SHAPES])
_ATTACHING = np.array([shape in (Shape.MIXED, Shape.NESTED) for shape in _SHAPES])


def smallest(recipe: Recipe) -> int:
    """Give the least octets that every message of a corpus can have: the shortest header, the faults, a line."""
    gathered = people.gather(recipe.seed, _locales(recipe))
    identities = headers.Identities(recipe.seed, gathered)
    longest = max((person.address for person in gathered.persons), key=len)
    identity = max(identities.of(range(4096)), key=len)
    date = headers.Moments(np.zeros(1, dtype=np.int64)).dates[0]
    faults = [FAULTS[name] for name, share in recipe.faults if share]
    content = mime.BROKEN_FIELDS if any(fault.name == "broken-mime" for fault in faults) else b""
    lead = sum(len(fault.body) for fault in faults)
    return len(headers.short(longest, longest, date, identity, content)) + lead + Shape.PLAIN.least_body


def check_sizes(recipe: Recipe) -> None:
    """Refuse sizes that some message of the corpus could not have."""
    sizes = recipe.distribution
    if sizes.min_octets >= _AMPLE + sum(len(FAULTS[name].body) for name, _ in recipe.faults):
        return  # who is in the corpus need not be known, so that workers start at once
    least = smallest(recipe)
    if sizes.min_octets < least:
        raise RecipeError(
            f'sizes "{sizes.name}" go down to {sizes.min_octets} octets; '
            f"a message of this corpus has at least {least} with its header, raise the smallest size"
        )


def _locales(recipe: Recipe) -> str:
    """Give the locales of the people: with SMTPUTF8 there must be some whose addresses need it."""
    return f"{recipe.chosen_look.locales} ja_JP" if recipe.smtputf8 else recipe.chosen_look.locales


@dataclass(frozen=True, slots=True)
class Rendered:
    """A block, ready to be written."""

    messages: Finished
    flags: NDArray[np.uint32]
    epochs: list[int]


@dataclass(slots=True)
class _Drawn:
    """A block as drawn, by column; leads are what the faults in `struck` put before the text."""

    numbers: range
    octets: NDArray[np.int64]
    shapes: NDArray[np.int64]
    charsets: NDArray[np.int64]
    moments: Moments
    senders: NDArray[np.int64]
    recipients: NDArray[np.int64]
    wide: NDArray[np.bool_]
    subjects: NDArray[np.int64]
    earlier: dict[int, list[int]]
    struck: dict[str, NDArray[np.bool_]]
    leads: list[bytes]


class Renderer:
    """Makes blocks of one plan; pools are built once and kept."""

    def __init__(self, plan: Plan) -> None:
        recipe = plan.recipe
        self._plan, self._recipe = plan, recipe
        self._look = look = recipe.chosen_look
        locales = _locales(recipe)
        gathered = people.gather(recipe.seed, locales)
        self._fields = headers.Fields(gathered)
        self._subjects = len(gathered.subjects)
        self._identities = headers.Identities(recipe.seed, gathered)
        self._traces = traces_of(recipe.seed, locales, look.list_mail)
        self._header_sizes = with_tail(look.name, look.headers[:-1], look.headers[-1][1])
        kinds = _kinds(recipe)
        self._shelf = shelf_of(recipe.seed, look.locales, tuple(dict.fromkeys([*kinds, "base64"])))
        self._pools, self._html_pools = np.array([self._shelf.numbers[kind] for kind in kinds]).reshape(2, -1)
        self._contents = [mime.content_fields(shape, charset) for shape in _SHAPES for charset in Charset]
        self._contents.append(mime.BROKEN_FIELDS)
        self._content_octets = mime.lengths(self._contents)
        start = (recipe.start - _EPOCH).days * _SECONDS_PER_DAY
        self._start, self._span = start, recipe.days * _SECONDS_PER_DAY

    def render(self, block: int) -> Rendered:
        """Make a block."""
        draws = Draws(self._recipe.seed, block, self._plan.block_messages)
        drawn = self._drawn(draws, self._plan.numbers(block), self._plan.sizes(block))
        made = self._headers(draws, drawn)
        senders = map(self._fields.addresses.__getitem__, drawn.senders.tolist())
        draft = Draft(self._shelf, drawn.moments.from_lines(senders), made)
        self._put_bodies(draft, draws, drawn, drawn.octets - mime.lengths(made))
        finished = draft.finish(self._recipe.seed, block)
        flags = np.where(finished.eight_bit, Flag.EIGHT_BIT, 0).astype(np.uint32) | np.uint32(Flag.CHECKSUMS_KNOWN)
        for name, struck in drawn.struck.items():
            flags[struck] |= np.uint32(FAULTS[name].flags)
        for at in np.flatnonzero(drawn.wide).tolist():
            flags[at] |= 0 if made[at].isascii() else Flag.SMTPUTF8
        return Rendered(finished, flags, drawn.moments.epochs)

    def _drawn(self, draws: Draws, numbers: range, octets: NDArray[np.int64]) -> _Drawn:
        """Draw all that headers say of the messages of a block, and faults."""
        look, recipe, count, fields = self._look, self._recipe, len(numbers), self._fields
        persons = len(fields.names)
        shapes = np.array([_SHAPES.index(shape) for shape, _ in look.shapes])
        charsets = np.array([mime.CHARSETS.index(charset) for charset, _ in look.charsets])
        threads, earlier = draws.threads(look)
        replies = np.zeros(draws.messages, dtype=np.int64)
        replies[list(earlier)] = self._subjects
        wide, senders = draws.hits("smtputf8", recipe.smtputf8), draws.below("sender", persons)
        if recipe.smtputf8:
            senders = np.where(wide, fields.wide_senders.start + senders % len(fields.wide_senders), senders)
        subjects = draws.below("subject", self._subjects)[threads] + replies + fields.wide_subjects * wide
        struck = {name: draws.hits(f"fault {name}", share)[:count] for name, share in recipe.faults}
        leads = [b""] * count
        for name, hits in struck.items():
            for at in np.flatnonzero(hits).tolist():
                leads[at] += FAULTS[name].body
        drawn = _Drawn(
            numbers,
            octets,
            shapes[draws.choose("shape", [weight for _, weight in look.shapes])][:count],
            charsets[draws.choose("charset", [weight for _, weight in look.charsets])][:count],
            headers.Moments(self._epochs(draws, numbers)),
            senders[:count],
            draws.recipients(persons)[:count],
            wide[:count],
            subjects[:count],
            {at: before for at, before in earlier.items() if at < count},
            struck,
            leads,
        )
        broken = struck.get("broken-mime", np.False_)
        drawn.shapes[broken] = _PLAIN
        drawn.charsets[broken | struck.get("eight-bit", np.False_)] = _ASCII
        return drawn

    def _epochs(self, draws: Draws, numbers: range) -> NDArray[np.int64]:
        """Spread the messages evenly over the span, in order, each somewhere in its own stretch."""
        count = self._plan.messages
        stretch = max(self._span // count, 1)
        jitter = draws.below("date", min(stretch, 1 << 31))[: len(numbers)]
        return self._start + np.arange(numbers.start, numbers.stop) * self._span // count + jitter

    def _headers(self, draws: Draws, drawn: _Drawn) -> list[bytes]:
        """Give all headers; what is too small for its shape becomes plain text, for names: gets a short header."""
        fields, count = self._fields, len(drawn.numbers)
        to = list(map(fields.addresses.__getitem__, drawn.recipients[:, 0].tolist()))
        identities = self._identities.of(drawn.numbers)
        hexadecimal = [identity[1:11] for identity in identities]
        dates, referred = drawn.moments.dates, [b""] * count
        for at in np.flatnonzero(drawn.struck.get("missing-date", ())).tolist():
            dates[at] = b""
        for at, before in drawn.earlier.items():
            referred[at] = headers.references(identities, before)
        columns = (drawn.senders, drawn.recipients, drawn.subjects)
        core = fields.octets(*columns) + sum(map(mime.lengths, (dates, identities, referred))) + _MESSAGE_ID_OCTETS
        room = drawn.octets - core - 2 - mime.lengths(drawn.leads)
        contents = self._content_numbers(drawn, room)
        in_content = self._content_octets[contents] + (drawn.shapes > _HTML) * (_TOKEN_OCTETS - len(b"%b"))
        room -= in_content + _LEAST[drawn.shapes]
        wanted = self._header_sizes.draw(draws.raw("header"))[:count] - core - in_content
        seconds = map(b"%d".__mod__, drawn.moments.epochs)
        values = zip(drawn.moments.minutes, seconds, hexadecimal, to, strict=True)
        traces = self._traces.within(np.minimum(wanted, room - drawn.octets // 4), values)
        content = list(map(self._contents.__getitem__, contents.tolist()))
        for at in np.flatnonzero(drawn.shapes > _HTML).tolist():
            content[at] %= self._token(drawn.numbers[at])
        made = list(map(b"".join, zip(
            traces, *fields.rows(*columns), dates, repeat(b"Message-ID: "), identities, repeat(b"\r\n"), referred,
            content, repeat(b"\r\n"),
        )))  # fmt: skip
        for at in np.flatnonzero(room < 0).tolist():
            sender = fields.addresses[drawn.senders[at]]
            broken = mime.BROKEN_FIELDS if content[at] is mime.BROKEN_FIELDS else b""
            made[at] = headers.short(sender, to[at], dates[at], identities[at], broken)
            drawn.charsets[at] = _UNDECLARED
        return made

    def _content_numbers(self, drawn: _Drawn, room: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give places in `_contents`, after making those messages plain text that have no room for their shape."""
        contents = drawn.shapes * len(Charset) + drawn.charsets
        needed = self._content_octets[contents] + (drawn.shapes > _HTML) * (_TOKEN_OCTETS - len(b"%b"))
        drawn.shapes[room < needed + _LEAST[drawn.shapes]] = _PLAIN
        contents = drawn.shapes * len(Charset) + drawn.charsets
        contents[drawn.struck.get("broken-mime", np.False_)] = len(self._contents) - 1
        return contents

    def _put_bodies(self, draft: Draft, draws: Draws, drawn: _Drawn, octets: NDArray[np.int64]) -> None:
        count = len(drawn.numbers)
        attachments = draws.attachments(_ATTACHING[drawn.shapes], self._recipe.chosen_unique_share)
        letters = Letters(
            drawn.charsets,
            self._pools[drawn.charsets],
            self._html_pools[drawn.charsets],
            [self._token(number) for number in drawn.numbers],
            [b"Dear %b,\r\n\r\n" % self._fields.names[number] for number in drawn.recipients[:, 0].tolist()],
            drawn.leads,
            [attachments.get(at, []) for at in range(count)],
        )
        for number in np.unique(drawn.shapes).tolist():
            at = np.flatnonzero(drawn.shapes == number)
            draft.group(at)
            mime.put_bodies(draft, _SHAPES[number], letters.part(at), octets[at])

    def _token(self, number: int) -> bytes:
        return b"%010x-%08x" % (number, self._identities.run)


def _kinds(recipe: Recipe) -> list[str]:
    """Give the kinds of pools for text in each charset, then for HTML; what the look has not, any will do."""
    if recipe.body is Body.NOISE:
        return ["noise"] * 2 * len(Charset)
    shapes = {shape for shape, weight in recipe.chosen_look.shapes if weight}
    used = {charset for charset, _ in recipe.chosen_look.charsets} | {Charset.ASCII, Charset.UNDECLARED}
    html = shapes & {Shape.HTML, Shape.ALTERNATIVE, Shape.NESTED}
    return [
        *(charset.pool if charset in used else "ascii" for charset in Charset),
        *(charset.html_pool if charset in used and html else "ascii" for charset in Charset),
    ]
