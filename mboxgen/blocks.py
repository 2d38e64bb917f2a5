"""Make one block of messages: every octet of it.

Takes     a Plan and the number of a block
Gives     its messages as pieces with lengths, checksums, flags and From_ lines; the same in every process
Refuses   sizes too small for a header: `smallest` says what is possible
Not here  drawing (draws), MIME shapes (mime), header fields (headers), the file (writer)
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import headers, mime, people
from mboxgen.distributions import with_tail
from mboxgen.draft import Draft, Finished
from mboxgen.draws import Draws
from mboxgen.faults import FAULTS
from mboxgen.flags import Flag
from mboxgen.looks import Charset, Shape
from mboxgen.mime import Letter
from mboxgen.parts import pools_of
from mboxgen.recipe import Body, RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mboxgen.faults import Fault
    from mboxgen.headers import Moment
    from mboxgen.people import Person
    from mboxgen.plan import Plan
    from mboxgen.recipe import Recipe

_SECONDS_PER_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_EIGHT_BIT = int(Flag.EIGHT_BIT)  # arithmetic on enum members would cost more than making the header


def smallest(recipe: Recipe) -> int:
    """Give the least octets that every message of a corpus can have: the shortest header, the faults, a line."""
    gathered = people.gather(recipe.seed, _locales(recipe))
    identities = headers.Identities(recipe.seed, gathered)
    longest = max((person.address for person in gathered.persons), key=len)
    identity = max((identities.of(number) for number in range(4096)), key=len)
    date = headers.date_field(headers.moment(0))
    faults = [FAULTS[name] for name, share in recipe.faults if share]
    content = mime.BROKEN_FIELDS if any(fault.name == "broken-mime" for fault in faults) else b""
    lead = sum(len(fault.body) for fault in faults)
    return len(headers.short(longest, longest, date, identity, content)) + lead + Shape.PLAIN.least_body


def check_sizes(recipe: Recipe) -> None:
    """Refuse sizes that some message of the corpus could not have."""
    least, sizes = smallest(recipe), recipe.distribution
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
    from_lines: list[bytes]
    flags: NDArray[np.uint32]
    epochs: list[int]


@dataclass(slots=True)
class _Message:
    """One message as drawn; its letter holds what the body needs."""

    number: int
    octets: int
    at: Moment
    sender: Person
    recipients: list[Person]
    subject: bytes
    earlier: list[int]
    header_octets: int
    wide: bool
    faults: list[Fault]


class Renderer:
    """Makes blocks of one plan; pools are built once and kept."""

    def __init__(self, plan: Plan) -> None:
        recipe = plan.recipe
        self._plan = plan
        self._recipe = recipe
        self._look = look = recipe.chosen_look
        locales = _locales(recipe)
        self._people = people.gather(recipe.seed, locales)
        self._wide_people = [p for p in self._people.persons if not p.utf8_address.isascii()]
        self._identities = headers.Identities(recipe.seed, self._people)
        self._pools = pools_of(recipe.seed, look.locales)
        self._traces = headers.traces_of(recipe.seed, locales, look.list_mail)
        self._header_sizes = with_tail(look.name, look.headers[:-1], look.headers[-1][1])
        self._noise = recipe.body is Body.NOISE
        start = (recipe.start - _EPOCH).days * _SECONDS_PER_DAY
        self._start, self._span = start, recipe.days * _SECONDS_PER_DAY

    def render(self, block: int) -> Rendered:
        """Make a block."""
        numbers = self._plan.numbers(block)
        draft = Draft(self._pools)
        flags: list[int] = []
        from_lines: list[bytes] = []
        epochs: list[int] = []
        for message, letter in self._drawn(block, numbers):
            flags.append(self._compose(draft, message, letter))
            from_lines.append(headers.from_line(message.sender.address, message.at))
            epochs.append(message.at.epoch)
        finished = draft.finish(self._recipe.seed, block)
        return Rendered(finished, from_lines, _flags(finished, flags), epochs)

    def _drawn(self, block: int, numbers: range) -> list[tuple[_Message, Letter]]:
        """Draw everything about the messages of a block."""
        draws, look, recipe = Draws(self._recipe.seed, block, self._plan.block_messages), self._look, self._recipe
        persons, subjects = self._people.persons, self._people
        shapes = [look.shapes[n][0] for n in draws.choose("shape", [weight for _, weight in look.shapes])]
        charsets = [look.charsets[n][0] for n in draws.choose("charset", [weight for _, weight in look.charsets])]
        attach = [shape in (Shape.MIXED, Shape.NESTED) for shape in shapes]
        attachments = draws.attachments(attach, recipe.chosen_unique_share)
        senders, chosen = draws.below("sender", len(persons)), draws.recipients(len(persons))
        header_octets = self._header_sizes.draw(draws.raw("header")).tolist()
        threads, earlier = draws.threads(look, numbers.start)
        titles = draws.below("subject", len(subjects.subjects))
        wide = draws.hits("smtputf8", recipe.smtputf8)
        faults = [(FAULTS[name], draws.hits(f"fault {name}", share)) for name, share in recipe.faults]
        epochs = self._epochs(draws, numbers)
        sizes = self._plan.sizes(block).tolist()
        made = []
        for at, number in enumerate(numbers):
            title = titles[threads[at]]
            sender = persons[senders[at]]
            if wide[at]:
                sender = self._wide_people[senders[at] % len(self._wide_people)]
            recipients = [persons[n] for n in chosen[at]]
            message = _Message(
                number, sizes[at], headers.moment(epochs[at]), sender, recipients,
                (subjects.utf8_subjects if wide[at] else subjects.subjects)[title], earlier[at],
                header_octets[at], wide[at], [fault for fault, hits in faults if hits[at]],
            )  # fmt: skip
            token = b"%010x-%08x" % (number, self._identities.run)
            greeting = b"Dear %b,\r\n\r\n" % recipients[0].first_name
            lead = b"".join(fault.body for fault in message.faults)
            made.append((message, Letter(shapes[at], charsets[at], "", "", token, greeting, lead, attachments[at])))
        return made

    def _epochs(self, draws: Draws, numbers: range) -> list[int]:
        """Spread the messages evenly over the span, in order, each somewhere in its own stretch."""
        count = self._plan.messages
        stretch = max(self._span // count, 1)
        jitter = draws.below("date", min(stretch, 1 << 31))
        return [self._start + number * self._span // count + jitter[at] for at, number in enumerate(numbers)]

    def _compose(self, draft: Draft, message: _Message, letter: Letter) -> int:
        """Put one message into the draft; the flags that its faults bring come back."""
        struck = {fault.name for fault in message.faults}
        broken = "broken-mime" in struck
        if broken:
            letter.shape = Shape.PLAIN
        if broken or "eight-bit" in struck:
            letter.charset = Charset.ASCII
        date = b"" if "missing-date" in struck else headers.date_field(message.at)
        identity = self._identities.of(message.number)
        header = self._full_header(message, letter, date, identity, broken)
        if header is None:
            letter.shape, letter.charset = Shape.PLAIN, Charset.UNDECLARED
            content = mime.BROKEN_FIELDS if broken else b""
            header = headers.short(message.sender.address, message.recipients[0].address, date, identity, content)
        letter.pool, letter.html_pool = letter.charset.pool, letter.charset.html_pool
        if self._noise:
            letter.pool = letter.html_pool = "noise"
        draft.begin(header)
        mime.put_body(draft, letter, message.octets - len(header))
        flags = _EIGHT_BIT if letter.charset.eight_bit else 0
        for fault in message.faults:
            flags |= fault.flags
        return flags if header.isascii() else flags | Flag.SMTPUTF8

    def _full_header(
        self, message: _Message, letter: Letter, date: bytes, identity: bytes, broken: bool
    ) -> bytes | None:
        """Give a header with trace, names and content fields; None when the message is too small for one."""
        sender = message.sender.utf8_mailbox if message.wide else message.sender.mailbox
        core = b"From: %b\r\n%bSubject: %b%b\r\n%bMessage-ID: %b\r\n%b" % (
            sender,
            headers.addresses(b"To", [person.mailbox for person in message.recipients]),
            b"Re: " if message.earlier else b"",
            message.subject,
            date,
            identity,
            headers.references(self._identities, message.earlier),
        )
        content = mime.content_fields(letter, broken)
        room = message.octets - len(core) - len(content) - 2 - len(letter.lead)
        if room < letter.shape.least_body and letter.shape is not Shape.PLAIN:
            letter.shape = Shape.PLAIN
            content = mime.content_fields(letter, broken)
            room = message.octets - len(core) - len(content) - 2 - len(letter.lead)
        room -= letter.shape.least_body
        if room < 0:
            return None
        wanted = min(message.header_octets - len(core) - len(content), room - message.octets // 4)
        trace = self._traces.within(wanted, message.at, identity[1:11], message.recipients[0].address)
        return b"%b%b%b\r\n" % (trace, core, content)


def _flags(finished: Finished, flags: list[int]) -> NDArray[np.uint32]:
    """Add what is known now: whether text that may have octets above 127 really has."""
    for at, flag in enumerate(flags):
        if flag & _EIGHT_BIT:
            body = finished.pieces[int(finished.starts[at]) + 1 : int(finished.starts[at + 1])]
            if all(bytes(piece).isascii() for piece in body):
                flags[at] &= ~_EIGHT_BIT
    return np.array(flags, dtype=np.uint32) | np.uint32(Flag.CHECKSUMS_KNOWN)
