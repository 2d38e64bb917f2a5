"""Make one block of messages: every octet of it.

Takes     a Plan and the number of a block
Gives     its messages as pieces with lengths, checksums and flags; the same in every process
Refuses   sizes too small for a header: `smallest` says what is possible
Not here  drawing (draws), MIME shapes (mime), header fields (headers), the file (writer)
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import headers, mime, people
from mboxgen.columns import Column, Table, distinct, hexadecimal, lengths, rows
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
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mboxgen.headers import Moments
    from mboxgen.plan import Plan
    from mboxgen.recipe import Recipe

_SECONDS_PER_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_AMPLE = 600  # no short header is longer: an address ends at 52 octets, an identity at 49
_MESSAGE_ID = b"Message-ID: "
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
    identity = max(identities.of(np.arange(4096)).texts, key=len)
    dated = headers.Moments(np.zeros(1, dtype=np.int64)).dates[0] + _MESSAGE_ID
    faults = [FAULTS[name] for name, share in recipe.faults if share]
    content = mime.BROKEN_FIELDS if any(fault.name == "broken-mime" for fault in faults) else b""
    lead = sum(len(fault.body) for fault in faults)
    return len(headers.short(longest, longest, dated, identity, content)) + lead + Shape.PLAIN.least_body


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
    epochs: NDArray[np.int64]


@dataclass(slots=True)
class _Drawn:
    """A block as drawn, by column; leads are numbers of what the faults in `struck` put before the text."""

    numbers: NDArray[np.int64]
    tokens: NDArray[np.bytes_]
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
    leads: NDArray[np.int64]


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
        longest = look.headers[-1][1]
        self._traces = traces_of(recipe.seed, locales, look.list_mail, longest)
        self._header_sizes = with_tail(look.name, look.headers[:-1], longest)
        kinds = _kinds(recipe)
        self._shelf = shelf_of(recipe.seed, look.locales, tuple(dict.fromkeys([*kinds, "base64"])))
        self._pools, self._html_pools = np.array([self._shelf.numbers[kind] for kind in kinds]).reshape(2, -1)
        contents = [mime.content_fields(shape, charset) for shape in _SHAPES for charset in Charset]
        # With the blank line that ends the header; the last is for the fault.
        self._contents = Table([content + b"\r\n" for content in (*contents, mime.BROKEN_FIELDS)])
        self._content_octets = self._contents.octets - 2
        self._leads = Table(_leads(recipe))
        start = (recipe.start - _EPOCH).days * _SECONDS_PER_DAY
        self._start, self._span = start, recipe.days * _SECONDS_PER_DAY

    def render(self, block: int) -> Rendered:
        """Make a block."""
        draws = Draws(self._recipe.seed, block, self._plan.block_messages)
        numbers = self._plan.numbers(block)
        drawn = self._drawn(draws, np.arange(numbers.start, numbers.stop), self._plan.sizes(block))
        made = self._headers(draws, drawn)
        draft = Draft(self._shelf, drawn.moments.from_lines(self._fields.openings, drawn.senders), made)
        self._put_bodies(draft, draws, drawn, drawn.octets - made.octets)
        finished = draft.finish(self._recipe.seed, block)
        flags = np.where(finished.eight_bit, Flag.EIGHT_BIT, 0).astype(np.uint32) | np.uint32(Flag.CHECKSUMS_KNOWN)
        for name, struck in drawn.struck.items():
            flags[struck] |= np.uint32(FAULTS[name].flags)
        for at in np.flatnonzero(drawn.wide).tolist():
            flags[at] |= 0 if made.texts[at].isascii() else Flag.SMTPUTF8
        return Rendered(finished, flags, drawn.moments.epochs)

    def _drawn(self, draws: Draws, numbers: NDArray[np.int64], octets: NDArray[np.int64]) -> _Drawn:
        """Draw all that headers say of the messages of a block, and faults."""
        look, recipe, count, fields = self._look, self._recipe, len(numbers), self._fields
        persons = fields.persons
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
        leads = np.zeros(count, dtype=np.int64)
        for number, hits in enumerate(struck.values()):
            leads += hits * (1 << number)
        drawn = _Drawn(
            numbers,
            rows(count, hexadecimal(numbers, 10), b"-%08x" % self._identities.run),
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

    def _epochs(self, draws: Draws, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Spread the messages evenly over the span, in order, each somewhere in its own stretch."""
        count = self._plan.messages
        stretch = max(self._span // count, 1)
        jitter = draws.below("date", min(stretch, 1 << 31))[: len(numbers)]
        return self._start + numbers * self._span // count + jitter

    def _headers(self, draws: Draws, drawn: _Drawn) -> Column:
        """Give all headers; what is too small for its shape becomes plain text, for names: gets a short header."""
        fields, count = self._fields, len(drawn.numbers)
        identities, in_identities = self._identities.of(drawn.numbers)
        dates, undated = rows(count, drawn.moments.dates, _MESSAGE_ID), drawn.struck.get("missing-date", np.False_)
        dated, referred = dates.tolist(), [b"\r\n"] * count
        for at in np.flatnonzero(undated).tolist():
            dated[at] = _MESSAGE_ID
        for at, before in drawn.earlier.items():
            referred[at] += headers.references(identities, before)
        columns = (drawn.senders, drawn.recipients, drawn.subjects)
        core = fields.octets(*columns) + np.where(undated, len(_MESSAGE_ID), dates.itemsize) + in_identities
        core += lengths(referred)
        room = drawn.octets - core - 2 - self._leads.octets[drawn.leads]
        contents = self._content_numbers(drawn, room)
        in_content = self._content_octets[contents] + (drawn.shapes > _HTML) * (_TOKEN_OCTETS - len(b"%b"))
        room -= in_content + _LEAST[drawn.shapes]
        wanted = self._header_sizes.draw(draws.raw("header"))[:count] - core - in_content
        traces = self._traces.within(np.minimum(wanted, room - drawn.octets // 4), partial(self._trace_values, drawn))
        content = list(self._contents.pick(contents))
        multipart = np.flatnonzero(drawn.shapes > _HTML)
        for at, token in zip(multipart.tolist(), drawn.tokens[multipart].tolist(), strict=True):
            content[at] %= token
        parts = (traces, *fields.columns(*columns), dated, identities, referred, content)
        made = Column(list(map(b"".join, zip(*parts, strict=True))), lengths(traces) + core + in_content + 2)
        for at in np.flatnonzero(room < 0).tolist():
            sender, recipient = (fields.addresses[who] for who in (drawn.senders[at], drawn.recipients[at, 0]))
            broken = mime.BROKEN_FIELDS if contents[at] == len(self._contents.texts) - 1 else b""
            made.texts[at] = headers.short(sender, recipient, dated[at], identities[at], broken)
            made.octets[at] = len(made.texts[at])
            drawn.charsets[at] = _UNDECLARED
        return made

    def _trace_values(self, drawn: _Drawn, at: NDArray[np.int64]) -> Iterable[tuple[bytes, ...]]:
        """Give what the traces of some messages are filled with."""
        minutes, numbers = drawn.moments.minutes[at].tolist(), hexadecimal(drawn.numbers[at], 10).tolist()
        seconds = map(b"%d".__mod__, drawn.moments.epochs[at].tolist())
        to = map(self._fields.addresses.__getitem__, drawn.recipients[at, 0].tolist())
        return zip(minutes, seconds, numbers, to, strict=True)

    def _content_numbers(self, drawn: _Drawn, room: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give places in `_contents`, after making those messages plain text that have no room for their shape."""
        contents = drawn.shapes * len(Charset) + drawn.charsets
        needed = self._content_octets[contents] + (drawn.shapes > _HTML) * (_TOKEN_OCTETS - len(b"%b"))
        drawn.shapes[room < needed + _LEAST[drawn.shapes]] = _PLAIN
        contents = drawn.shapes * len(Charset) + drawn.charsets
        contents[drawn.struck.get("broken-mime", np.False_)] = len(self._contents.texts) - 1
        return contents

    def _put_bodies(self, draft: Draft, draws: Draws, drawn: _Drawn, octets: NDArray[np.int64]) -> None:
        attachments = draws.attachments(_ATTACHING[drawn.shapes], self._recipe.chosen_unique_share)
        letters = Letters(
            np.arange(len(octets)),
            drawn.charsets,
            self._pools[drawn.charsets],
            self._html_pools[drawn.charsets],
            drawn.tokens,
            drawn.recipients[:, 0],
            drawn.leads,
            self._fields.greetings,
            self._leads,
            attachments,
        )
        for number in distinct(drawn.shapes)[0].tolist():
            at = np.flatnonzero(drawn.shapes == number)
            draft.group(at)
            mime.put_bodies(draft, _SHAPES[number], letters.part(at), octets[at])


def _leads(recipe: Recipe) -> list[bytes]:
    """Give what every set of faults puts before the text; bit n of a place is the nth fault of the recipe."""
    leads = [b""]
    for name, _ in recipe.faults:
        leads += [lead + FAULTS[name].body for lead in leads]
    return leads


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
