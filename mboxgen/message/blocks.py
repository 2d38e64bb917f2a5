"""Make one block of messages: every octet of it.

Takes     a Plan and the number of a block
Gives     its messages as pieces with lengths, checksums and flags; the same in every process
Needs     sizes with room for a header (`smallest.check_sizes`)
Not here  drawing (draws), MIME shapes (mime), header fields (headers), the file (writer)
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.columns import TextColumn, TextTable, distinct, hexadecimal, lengths, rows
from mboxgen.flags import Flag
from mboxgen.message import extra_fields, headers, mime, smallest, trace_headers
from mboxgen.message.assembly import AssembledBlock, BlockAssembly
from mboxgen.message.draws import Draws
from mboxgen.message.extra_fields import ExtraFields
from mboxgen.message.mime import BodyDraws
from mboxgen.message.signatures import ARC_WORDS, WORDS, Signatures
from mboxgen.message.trace_headers import LONGEST_HOP, TraceHeaders
from mboxgen.recipe.distributions import counts, draw_counts, with_tail
from mboxgen.recipe.faults import FAULTS
from mboxgen.recipe.profiles import ARC_SINCE, DKIM_SINCE, Charset, Era, Shape
from mboxgen.recipe.recipe import Body
from mboxgen.text import people, prose
from mboxgen.text.pool_set import pool_set_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mboxgen.message.headers import MessageTimes
    from mboxgen.recipe.plan import CorpusPlan
    from mboxgen.recipe.recipe import Recipe

_SECONDS_PER_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_TOKEN_OCTETS = 10 + 1 + 12
_ONE_PART = (Shape.BARE, Shape.PLAIN, Shape.HTML)
_SHAPES = tuple(sorted(Shape, key=lambda shape: shape not in _ONE_PART))  # multiparts last
_BARE, _PLAIN, _HTML = (_SHAPES.index(shape) for shape in _ONE_PART)
_ASCII = mime.CHARSETS.index(Charset.ASCII)
_LEAST = np.array([shape.least_body for shape in _SHAPES])
_ATTACHING = np.array([shape in (Shape.MIXED, Shape.NESTED, Shape.RELATED) for shape in _SHAPES])
_CORE_FIELDS = 5  # From, To, Subject, Date, Message-ID
_SIGNED_FIELDS = 2  # DKIM-Signature, Authentication-Results
_SEALED_FIELDS = 3  # of one ARC set
_WIDE_LINES = (79, 81, 82, 86, 92, 100, 120, 160)  # by choice: half of list-2017 has its longest line above 81
_ROOM_FOR_WIDE = 600  # beside the least: a longer prefix would leave no room for an ordinary header
_QUOTED = "quoted-printable"
_AT_MOST_76 = np.array([charset.encoding == _QUOTED for charset in mime.CHARSETS])  # RFC 2045 section 6.7
_ESMTPS = (Era.Y2017, Era.TODAY)  # RFC 3848


def _share_since(share: float, since: dt.date, recipe: Recipe) -> float:
    """Give the share of messages dated `since` and later that have what `share` percent of all have."""
    before = (since - recipe.chosen_start).days
    later = recipe.chosen_days - max(before, 0)
    return min(share / 100 * recipe.chosen_days / later, 1.0) if later > 0 else 0.0


def _epoch_of(date: dt.date) -> int:
    return (date - _EPOCH).days * _SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Rendered:
    """A block, ready to be written; `missed` counts for each fault the messages that had no room for theirs."""

    messages: AssembledBlock
    flags: NDArray[np.uint32]
    epochs: NDArray[np.int64]
    missed: dict[str, int]


@dataclass(slots=True)
class _Drawn:
    """A block as drawn, by column; prefixes are numbers of what the faults in `faulty` put before the text.

    size_draws are those that the sizes came from: what goes with size is drawn near them.
    """

    numbers: NDArray[np.int64]
    tokens: NDArray[np.bytes_]
    octets: NDArray[np.int64]
    size_draws: NDArray[np.uint64]
    shapes: NDArray[np.int64]
    charsets: NDArray[np.int64]
    times: MessageTimes
    senders: NDArray[np.int64]
    places: NDArray[np.int64]
    to: NDArray[np.int64]
    utf8: NDArray[np.bool_]
    subjects: NDArray[np.int64]
    earlier: dict[int, list[int]]
    faulty: dict[str, NDArray[np.bool_]]
    missed: dict[str, int]
    prefixes: NDArray[np.int64]


class Renderer:
    """Makes blocks of one plan; pools are built once and kept."""

    def __init__(self, plan: CorpusPlan) -> None:
        recipe = plan.recipe
        self._plan, self._recipe = plan, recipe
        self._profile = profile = recipe.chosen_profile
        gathered = people.gather(recipe.seed, smallest.locales(recipe))
        self._fields = headers.Fields(recipe.seed, gathered)
        self._subjects = len(gathered.subjects)
        self._message_ids = headers.MessageIds(recipe.digest.encode(), recipe.id_domain.encode())
        self._least = smallest.of_people(recipe, gathered)
        longest = profile.headers[-1][1]
        protocol = b"ESMTPS" if profile.era in _ESMTPS else b"ESMTP"
        self._trace_headers = TraceHeaders(recipe.seed, gathered, protocol, profile.received[-1][1])
        self._extra_fields = (
            ExtraFields(recipe.seed, profile.extra_fields, gathered, longest) if profile.extra_fields else None
        )
        self._signatures = Signatures(gathered, self._fields.addresses)
        self._header_sizes = with_tail(profile.name, profile.headers[:-1], longest)
        self._received, self._recipients, self._field_counts = (
            counts(profile.name, quantiles) for quantiles in (profile.received, profile.recipients, profile.fields)
        )
        kinds = _kinds(recipe)
        encoded = ["base64"] if any(_SHAPES.index(shape) > _HTML for shape, _ in profile.shapes) else []
        self._pool_set = pool_set_of(recipe.seed, profile.locales, tuple(dict.fromkeys([*kinds, *encoded])))
        self._pools, self._html_pools = np.array([self._pool_set.numbers[kind] for kind in kinds]).reshape(2, -1)
        contents = [mime.content_fields(shape, charset) for shape in _SHAPES for charset in Charset]
        # With the blank line that ends the header; the last is for the fault.
        self._contents = TextTable([content + b"\r\n" for content in (*contents, mime.BROKEN_FIELDS)])
        self._content_octets = self._contents.octets - 2
        self._content_fields = np.array([_fields_in(content) for content in self._contents.texts])
        self._fault_sets = 1 << len(recipe.faults)
        wide = [prose.wide_line(recipe.seed, octets) for octets in _WIDE_LINES] if profile.wide else []
        self._prefixes = TextTable([prefix + line for line in (b"", *wide) for prefix in _prefixes(recipe)])
        quoted = sum(weight for charset, weight in profile.charsets if charset.encoding == _QUOTED)
        self._wide = profile.wide / (100 - quoted)
        self._start, self._span = _epoch_of(recipe.chosen_start), recipe.chosen_days * _SECONDS_PER_DAY
        self._signing = {
            "dkim": (_share_since(profile.dkim, DKIM_SINCE, recipe), _epoch_of(DKIM_SINCE)),
            "arc": (_share_since(profile.arc, ARC_SINCE, recipe), _epoch_of(ARC_SINCE)),
        }

    def render(self, block: int) -> Rendered:
        """Make a block."""
        draws = Draws(self._recipe.seed, block, self._plan.block_messages)
        numbers = self._plan.numbers(block)
        drawn = self._drawn(draws, np.arange(numbers.start, numbers.stop), self._plan.sizes(block))
        made = self._headers(draws, drawn)
        assembly = BlockAssembly(self._pool_set, drawn.times.from_lines(self._fields.openings, drawn.senders), made)
        self._put_bodies(assembly, draws, drawn, drawn.octets - made.octets)
        finished = assembly.finish(self._recipe.seed, block)
        flags = np.where(finished.eight_bit, Flag.EIGHT_BIT, 0).astype(np.uint32) | np.uint32(Flag.CHECKSUMS_KNOWN)
        for name, faulty in drawn.faulty.items():
            flags[faulty] |= np.uint32(FAULTS[name].flags)
        for at in np.flatnonzero(drawn.utf8).tolist():
            flags[at] |= 0 if made.texts[at].isascii() else Flag.SMTPUTF8
        return Rendered(finished, flags, drawn.times.epochs, drawn.missed)

    def _drawn(self, draws: Draws, numbers: NDArray[np.int64], octets: NDArray[np.int64]) -> _Drawn:
        """Draw all that headers say of the messages of a block, and faults."""
        profile, recipe, count, fields = self._profile, self._recipe, len(numbers), self._fields
        shapes = np.array([_SHAPES.index(shape) for shape, _ in profile.shapes])
        charsets = np.array([mime.CHARSETS.index(charset) for charset, _ in profile.charsets])
        threads, earlier = draws.threads(profile)
        replies = np.zeros(draws.messages, dtype=np.int64)
        replies[list(earlier)] = self._subjects
        utf8, senders = draws.hits("smtputf8", recipe.smtputf8), draws.below("sender", fields.persons)
        if recipe.smtputf8:
            senders = np.where(utf8, fields.utf8_senders.start + senders % len(fields.utf8_senders), senders)
        subjects = draws.below("subject", self._subjects)[threads] + replies + fields.first_utf8_subject * utf8
        places = draws.below("recipient", fields.persons)[:count]
        faulty, missed, prefixes = self._faulty_messages(draws, octets)
        drawn = _Drawn(
            numbers,
            rows(count, hexadecimal(numbers, 10), b"-" + recipe.digest.encode()),
            octets,
            draws.raw("sizes"),
            shapes[draws.choose("shape", [weight for _, weight in profile.shapes])][:count],
            charsets[draws.choose("charset", [weight for _, weight in profile.charsets])][:count],
            headers.MessageTimes(self._epochs(draws, numbers)),
            senders[:count],
            places,
            fields.circle[places],
            utf8[:count],
            subjects[:count],
            {at: before for at, before in earlier.items() if at < count},
            faulty,
            missed,
            prefixes,
        )
        broken = faulty.get("broken-mime", np.False_)
        drawn.shapes[broken] = _PLAIN
        drawn.charsets[broken | faulty.get("eight-bit", np.False_) | (drawn.shapes == _BARE)] = _ASCII
        if self._wide:
            hits = draws.hits("wide line", self._wide)[:count] & (octets >= _ROOM_FOR_WIDE + self._least)
            hits &= ~_AT_MOST_76[drawn.charsets]
            drawn.prefixes += hits * self._fault_sets * (1 + draws.below("wide line octets", len(_WIDE_LINES))[:count])
        return drawn

    def _faulty_messages(
        self, draws: Draws, octets: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.bool_]], dict[str, int], NDArray[np.int64]]:
        """Give the messages that each fault hits, how many of them had no room for it, and their prefixes."""
        prefixes, room = np.zeros(len(octets), dtype=np.int64), octets - self._least
        faulty, missed = {}, {}
        for number, (name, share) in enumerate(self._recipe.faults):
            needed = len(FAULTS[name].body) + (len(mime.BROKEN_FIELDS) if name == "broken-mime" else 0)
            hits = draws.hits(f"fault {name}", share)[: len(octets)]
            faulty[name] = hits & (room >= needed)
            missed[name] = int(hits.sum() - faulty[name].sum())
            room = room - needed * faulty[name]
            prefixes += faulty[name] * (1 << number)
        return faulty, missed, prefixes

    def _epochs(self, draws: Draws, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Spread the messages evenly over the span, in order, each somewhere in its own stretch."""
        count = self._plan.messages
        stretch = max(self._span // count, 1)
        jitter = draws.below("date", min(stretch, 1 << 31))[: len(numbers)]
        return self._start + numbers * self._span // count + jitter

    def _headers(self, draws: Draws, drawn: _Drawn) -> TextColumn:
        """Give all headers; what is too small for its shape becomes plain text, for names: gets a short header."""
        fields, count = self._fields, len(drawn.numbers)
        written = self._message_ids.of(drawn.numbers)
        message_ids, dates = written.tolist(), rows(count, drawn.times.dates, headers.MESSAGE_ID)
        dated, undated = dates.tolist(), drawn.faulty.get("missing-date", np.False_)
        referred = [b"\r\n"] * count
        for at in np.flatnonzero(undated).tolist():
            dated[at] = headers.MESSAGE_ID
        for at, parents in drawn.earlier.items():
            referred[at] += headers.references(message_ids, parents)
        core = fields.octets(drawn.senders, drawn.to, drawn.subjects) + lengths(referred)
        core += np.where(undated, len(headers.MESSAGE_ID), dates.itemsize) + written.itemsize
        # Sizes are drawn for header and recipients near those of the message, so that each goes with the other.
        ranks = draws.near(drawn.size_draws, "header")
        recipients = draw_counts(self._recipients, draws.near(ranks, "recipients", 64))[:count]
        wanted = self._header_sizes.draw(ranks)[:count]
        room = drawn.octets - core - 2 - self._prefixes.octets[drawn.prefixes]
        contents = self._content_numbers(drawn, room)
        in_content = self._content_octets[contents] + (drawn.shapes > _HTML) * (_TOKEN_OCTETS - len(b"%b"))
        room -= in_content + _LEAST[drawn.shapes]
        to_fill = np.minimum(wanted - core - in_content, room - drawn.octets // 8)
        copied, in_copied = fields.copied(drawn.places, recipients, to_fill - wanted // 8)
        there: NDArray[np.int64] = _CORE_FIELDS + (in_copied > 0) - undated + self._content_fields[contents]
        there[list(drawn.earlier)] += 2
        before, after, in_others = self._others(draws, drawn, ranks, room - in_copied, to_fill - in_copied, there)
        content = list(self._contents.pick(contents))
        multipart = np.flatnonzero(drawn.shapes > _HTML)
        for at, token in zip(multipart.tolist(), drawn.tokens[multipart].tolist(), strict=True):
            content[at] %= token
        columns = fields.columns(drawn.senders, drawn.to, copied, drawn.subjects)
        parts = (*before, *columns, dated, message_ids, referred, *after, content)
        octets = in_others + core + in_copied + in_content + 2
        made = TextColumn(list(map(b"".join, zip(*parts, strict=True))), octets)
        for at in np.flatnonzero(room < 0).tolist():
            sender, recipient = (fields.addresses[who] for who in (drawn.senders[at], drawn.to[at]))
            broken = mime.BROKEN_FIELDS if contents[at] == len(self._contents.texts) - 1 else b""
            made.texts[at] = headers.short(sender, recipient, dated[at], message_ids[at], broken)
            made.octets[at] = len(made.texts[at])
            drawn.shapes[at], drawn.charsets[at] = _BARE, _ASCII
        return made

    def _others(
        self,
        draws: Draws,
        drawn: _Drawn,
        ranks: NDArray[np.uint64],
        room: NDArray[np.int64],
        to_fill: NDArray[np.int64],
        there: NDArray[np.int64],
    ) -> tuple[list[Iterable[bytes]], list[Iterable[bytes]], NDArray[np.int64]]:
        """Give the columns before From and after the references, and their octets.

        Signatures may take all room but an eighth of the message; the rest keeps to what is `to_fill`. `there` counts
        the fields that a header has already.
        """
        count = len(drawn.numbers)
        # What is signed has come a way: formail takes no message that begins with fields it does not know.
        limit = room - drawn.octets // 8 - LONGEST_HOP
        signed, in_signed = self._signed(draws, drawn, "dkim", WORDS, limit)
        sealed, in_sealed = self._signed(draws, drawn, "arc", ARC_WORDS, limit - in_signed)
        used = in_signed + in_sealed
        there = there + _SIGNED_FIELDS * (in_signed > 0)
        for at in np.flatnonzero(in_sealed).tolist():
            there[at] += _SEALED_FIELDS * sealed[at].count(b"ARC-Seal:")
        hops, in_received, places = self._trace_headers.within(
            draws.below("way", trace_headers.VARIANTS)[:count],
            draw_counts(self._received, draws.near(ranks, "received"))[:count],
            self._fields.address_octets[drawn.to],
            np.maximum(to_fill - used, LONGEST_HOP * (used > 0)),
        )
        gone = np.flatnonzero(hops)
        minutes, numbers = drawn.times.minutes[gone].tolist(), hexadecimal(drawn.numbers[gone], 10).tolist()
        to = map(self._fields.addresses.__getitem__, drawn.to[gone].tolist())
        received = [b""] * count
        filled = self._trace_headers.filled(places[gone], zip(minutes, numbers, to, strict=True))
        for at, fields in zip(gone.tolist(), filled, strict=True):
            received[at] = fields
        before: list[Iterable[bytes]] = [column for column in (received, sealed, signed) if column]
        used += in_received
        if self._extra_fields is None:
            return before, [], used
        wanted = draw_counts(self._field_counts, draws.near(ranks, "fields"))[:count]
        variants = draws.below("extras", extra_fields.VARIANTS)[:count]
        first, long, in_extras = self._extra_fields.within(variants, wanted - there - hops, to_fill - used)
        return before, [self._extra_fields.first(first), self._extra_fields.long(long)], used + in_extras

    def _signed(
        self, draws: Draws, drawn: _Drawn, kind: str, words: int, limit: NDArray[np.int64]
    ) -> tuple[list[bytes], NDArray[np.int64]]:
        """Give DKIM or ARC fields for their share of messages, where they have room, and their octets."""
        share, since = self._signing[kind]
        octets, epochs = np.zeros(len(drawn.numbers), dtype=np.int64), drawn.times.epochs
        if not share:
            return [], octets
        at = np.flatnonzero(draws.hits(kind, share)[: len(epochs)] & (epochs >= since))
        raw = streams.raw(self._recipe.seed, f"{kind} signature", draws.block, len(at) * words)
        make = self._signatures.dkim if kind == "dkim" else self._signatures.arc
        texts = make(drawn.senders[at], epochs[at], raw)
        column = [b""] * len(epochs)
        octets[at] = lengths(texts)
        octets[octets > limit] = 0
        for place, signature in zip(at.tolist(), texts, strict=True):
            column[place] = signature if octets[place] else b""
        return column, octets

    def _content_numbers(self, drawn: _Drawn, room: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give places in `_contents`, after making those messages plain text that have no room for their shape."""
        contents = drawn.shapes * len(Charset) + drawn.charsets
        needed = self._content_octets[contents] + (drawn.shapes > _HTML) * (_TOKEN_OCTETS - len(b"%b"))
        drawn.shapes[(room < needed + _LEAST[drawn.shapes]) & (drawn.shapes != _BARE)] = _PLAIN
        contents = drawn.shapes * len(Charset) + drawn.charsets
        contents[drawn.faulty.get("broken-mime", np.False_)] = len(self._contents.texts) - 1
        return contents

    def _put_bodies(self, assembly: BlockAssembly, draws: Draws, drawn: _Drawn, octets: NDArray[np.int64]) -> None:
        attachments = draws.attachments(_ATTACHING[drawn.shapes], self._recipe.chosen_unique_share)
        bodies = BodyDraws(
            np.arange(len(octets)),
            drawn.charsets,
            self._pools[drawn.charsets],
            self._html_pools[drawn.charsets],
            drawn.tokens,
            drawn.to,
            drawn.prefixes,
            self._fields.greetings,
            self._prefixes,
            attachments,
            mime.attachment_kinds(self._profile.era),
        )
        for number in distinct(drawn.shapes)[0].tolist():
            at = np.flatnonzero(drawn.shapes == number)
            assembly.group(at)
            mime.put_bodies(assembly, _SHAPES[number], bodies.part(at), octets[at])


def _fields_in(content: bytes) -> int:
    """Count the fields of a header's end; folded lines begin with a tab."""
    return content.count(b"\r\n") - content.count(b"\r\n\t") - 1


def _prefixes(recipe: Recipe) -> list[bytes]:
    """Give what every set of faults puts before the text; bit n of a place is the nth fault of the recipe."""
    prefixes = [b""]
    for name, _ in recipe.faults:
        prefixes += [prefix + FAULTS[name].body for prefix in prefixes]
    return prefixes


def _kinds(recipe: Recipe) -> list[str]:
    """Give the kinds of pools for text in each charset, then for HTML; where the profile has none, any will do."""
    if recipe.body is Body.NOISE:
        return ["noise"] * 2 * len(Charset)
    shapes = {shape for shape, weight in recipe.chosen_profile.shapes if weight}
    used = {charset for charset, _ in recipe.chosen_profile.charsets} | {Charset.ASCII}
    html = shapes & {Shape.HTML, Shape.ALTERNATIVE, Shape.NESTED, Shape.RELATED}
    return [
        *(charset.pool if charset in used else "ascii" for charset in Charset),
        *(charset.html_pool if charset in used and html else "ascii" for charset in Charset),
    ]
