"""The messages of a run, by number.

Takes     a plan and the run's date
Gives     blocks of messages whose bytes are ready for the wire; their domains and recipients without building them
Refuses   what only shows when files and sizes are looked at: `PlanError`
Not here  when they start (schedule), how they are handed over (engine)
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import or_
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from mboxgen.columns import once_each
from trafficgen.errors import PlanError
from trafficgen.plan import BodyFile, Corpus, Plan, SizedBodies
from trafficgen.proof import trace_header
from trafficgen.workload.bodies import FileBody, TextBodies, is_whole_message, read_file
from trafficgen.workload.contents import Contents, FileContents, SizedContents
from trafficgen.workload.corpus import CorpusContents, MessageContents
from trafficgen.workload.envelopes import Envelopes
from trafficgen.workload.grid import GRID, Span, spans
from trafficgen.workload.mail_layout import AS_DELIVERED, MailLayout
from trafficgen.workload.signed import SignedContents, SignedPool


class BuiltMessage(NamedTuple):
    """One message, laid out for the wire: `head + body + tail` is its content, to the end of data and with it."""

    number: int
    """Message number within the run, from 0."""
    domain: int
    """Index into `Messages.domains` of the first recipient's domain."""
    recipients: int
    """How many RCPT lines the envelope has."""
    envelope: bytes
    """MAIL and RCPT lines, and the command that hands over."""
    head: bytes
    """Header block with its empty line; the mark is its first line."""
    body: bytes | memoryview
    """Shared between messages, never copied; may be empty."""
    tail: bytes
    """What of the body is this message's own, and the end of data."""
    octets: int
    """Delivered size: header block and body, dots not stuffed, without the end of data (RFC 1870 section 5)."""
    eight_bit: bool
    """Whether an octet is 0x80 or above (RFC 6152)."""


class Messages:
    """Every message of a run, as a pure function of seed, run id, date and number."""

    def __init__(
        self,
        plan: Plan,
        *,
        date: str,
        body: bytes | None = None,
        contents: bool = True,
        layout: MailLayout = AS_DELIVERED,
        signatures: Sequence[bytes] = (),
    ) -> None:
        """`date` is the value of the Date header (RFC 5322 section 3.3), the same for the whole run.

        `layout`: how whoever hands them over wants them in memory.
        `body`: what `read_body` gave, if it was read before. Without `contents` there are no blocks, only who gets
        which message. `signatures`: what `signing.sign` made, where the plan has keys.
        """
        self._layout = layout
        self._envelopes = Envelopes(plan, layout)
        self.domains: tuple[str, ...] = self._envelopes.domains
        """Recipient domains as given, without the suffix; the long tail's after them."""
        self.shares: NDArray[np.float64] = self._envelopes.shares
        """The wanted share of each domain; they sum to 1."""
        self._contents = _contents(plan, date, self._envelopes, layout, body, signatures) if contents else None
        if self._contents:
            self._contents.prepare()

    def block(self, first: int, last: int, step: int = 1) -> list[BuiltMessage]:
        """Every `step`-th of the messages `first` … `last`-1, in order."""
        return [message for span in _spans(first, last, step) for message in self._span(span)]

    def domain_of(self, first: int, last: int) -> NDArray[np.int64]:
        """`Message.domain` of messages `first` … `last`-1, without building them."""
        return _joined([self._envelopes.domain_of(span.grid)[span.part] for span in _spans(first, last)])

    def recipients_of(self, first: int, last: int) -> NDArray[np.int64]:
        """`Message.recipients` of messages `first` … `last`-1, without building them."""
        return _joined([self._envelopes.recipients_of(span.grid)[span.part] for span in _spans(first, last)])

    def recipient_domains(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For every recipient of these messages: which place in `numbers`, and the index of the recipient's domain."""
        owners, domains = [], []
        for grid in once_each(numbers // GRID).tolist():
            of_all, begins = self._envelopes.recipient_domains(grid)
            places = np.flatnonzero(numbers // GRID == grid)
            within = numbers[places] - grid * GRID
            counts = begins[within + 1] - begins[within]
            owners.append(np.repeat(places, counts))
            # Of each message the recipients from its begin on: count up over all, and start anew with each.
            anew = begins[within] - np.cumsum(counts) + counts
            domains.append(of_all[np.repeat(anew, counts) + np.arange(int(counts.sum()))])
        return _joined(owners), _joined(domains)

    def digests_of(self, first: int, last: int) -> NDArray[np.int64]:
        """`trace_header.digest` of the recipients of messages `first` … `last`-1; only their addresses are built."""
        return _joined(
            [
                np.array(list(map(trace_header.digest, self._envelopes.addresses(span.grid)[span.part])), np.int64)
                for span in _spans(first, last)
            ]
        )

    def _span(self, span: Span) -> Iterable[BuiltMessage]:
        assert self._contents is not None
        filled = self._contents.fill(span)
        addressed, part = self._envelopes.addressed(span.grid), span.part
        eight_bit = filled.eight_bit
        if addressed.international is not None:  # then To is, too (RFC 6532)
            eight_bit = list(map(or_, eight_bit, addressed.international[part].tolist()))
        envelopes = self._layout.envelopes(addressed.envelopes.part(part), filled.octets, eight_bit)
        rows = zip(
            span.numbers, addressed.domains[part].tolist(), addressed.recipients[part].tolist(), envelopes,
            filled.heads, filled.bodies, filled.tails, filled.octets, eight_bit,
            strict=False,
        )  # fmt: skip
        # Message._make checks the length again in Python: twice the time (benchmarks/workload.py).
        return cast("Iterable[BuiltMessage]", map(tuple.__new__, repeat(BuiltMessage), rows))


def read_body(plan: Plan) -> bytes | None:
    """What the plan's body file holds, CRLF line ends; None when it has none. Raises PlanError."""
    content = plan.workload.content
    return read_file(content) if isinstance(content, BodyFile) else None


def check(plan: Plan, body: bytes | None = None) -> None:
    """Refuse now what `Messages` would refuse, without the half second that it takes to build one.

    Reads the body file unless `body` is what it holds, and the beginning of a corpus. Raises PlanError.
    """
    content = plan.workload.content
    if isinstance(content, Corpus) and content.recipe is not None and not content.path.exists():
        return  # it is made when the run begins
    _contents(plan, "", Envelopes(plan, AS_DELIVERED), AS_DELIVERED, body)


def _spans(first: int, last: int, step: int = 1) -> list[Span]:
    if not (0 <= first <= last and step >= 1):
        raise ValueError(f"expected 0 <= first <= last and a step from 1, got {first}, {last} and {step}")
    return list(spans(first, last, step))


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _contents(
    plan: Plan,
    date: str,
    envelopes: Envelopes,
    layout: MailLayout,
    body: bytes | None,
    signatures: Sequence[bytes] = (),
) -> Contents:
    inner, content = unsigned(plan, date, envelopes, layout, body)
    if not plan.workload.dkim_keys:
        return inner
    if not content:
        text = "expected generated messages: one that brings its own header block is sent as it is, and never signed"
        raise PlanError(text, field="dkim_keys", flag="--dkim-key")
    return SignedContents(plan, inner, SignedPool(plan, inner, date, envelopes, content), envelopes, signatures)


def unsigned(
    plan: Plan, date: str, envelopes: Envelopes, layout: MailLayout, body: bytes | None
) -> tuple[Contents, Sequence[str]]:
    """Contents without signatures, and the header lines that describe bodies; none for whole messages."""
    match plan.workload.content:
        case SizedBodies() as content:
            return SizedContents(plan, content, date, envelopes, layout), TextBodies.content
        case BodyFile() as content:
            octets = read_file(content) if body is None else body
            if not content.binary and is_whole_message(octets):
                return MessageContents(plan, octets, layout), ()
            of_file = FileBody(octets, content, layout)
            return FileContents(plan, of_file, date, envelopes, layout), of_file.content
        case Corpus() as content:
            return CorpusContents(plan, content, layout), ()
