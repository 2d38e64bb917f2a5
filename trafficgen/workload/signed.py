"""Generated messages from a pool whose entries were signed before the run (DKIM, RFC 6376).

Takes     the contents of an unsigned run, whose first messages give the entries their bodies; a signature for each
Gives     heads, bodies and tails of a span, as `contents` does: nothing is signed or hashed while mail is sent
Refuses   keys of which no sender makes use
Not here  making the signatures (signing)

An entry is a sender's: body, From, Subject, Date, MIME and the user's headers, all of them signed. The trace header, To
and Message-ID are every message's own and therefore not signed, as RFC 6376 section 5.4.1 leaves to the signer. Sizes
of presets do not count the signature.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from trafficgen.errors import PlanError
from trafficgen.plan import Plan
from trafficgen.plan.signing import keys_for
from trafficgen.proof import trace_header
from trafficgen.workload import people
from trafficgen.workload.columns import Columns, Rows, hexadecimal
from trafficgen.workload.contents import Contents, Filled
from trafficgen.workload.envelopes import Envelopes
from trafficgen.workload.grid import GRID, Span, spans
from trafficgen.workload.headers import Alternatives, refuse_columns, shared_layout, signed_layout

LEAST_ENTRIES: Final = 128
"""With fewer senders, each has several."""


class PoolEntry(NamedTuple):
    """What messages of one sender share. `head`: header lines but trace header, To, Message-ID and signature."""

    sender: int
    head: bytes
    body: bytes | memoryview
    tail: bytes
    body_octets: int
    crc32: int
    eight_bit: bool


class SignedPool:
    """The entries of a plan, the same in every process."""

    def __init__(self, plan: Plan, inner: Contents, date: str, envelopes: Envelopes, content: Sequence[str]) -> None:
        """`content`: the lines of the header that describe the body."""
        refuse_columns(plan)
        senders = len(envelopes.senders)
        self.each = max(1, LEAST_ENTRIES // senders)
        """Entries of a sender; those of sender s begin at `s * each`."""
        self._size = senders * self.each
        self._plan, self._inner = plan, inner
        self._head = shared_layout(plan, date, envelopes, content)
        if not any(keys_for(plan.workload.dkim_keys, sender.domain) for sender in envelopes.senders):
            named = ", ".join(key.domain for key in plan.workload.dkim_keys)
            text = f"expected a sender at {named} or below, found none; --from ADDRESS sets senders"
            raise PlanError(text, field="dkim_keys", flag="--dkim-key")

    def entries(self) -> list[PoolEntry]:
        """All of them. `inner` must be prepared."""
        return [entry for span in spans(0, self._size) for entry in self._of(span)]

    def _of(self, span: Span) -> list[PoolEntry]:
        filled = self._inner.fill(span)
        senders = [number // self.each for number in span.numbers]
        rows = zip(
            senders, self._heads(span, senders), filled.heads, filled.bodies, filled.tails, filled.octets,
            filled.eight_bit, strict=False,
        )  # fmt: skip
        return [
            PoolEntry(sender, head, body, tail, octets - len(unsigned), _checksum(unsigned), eight_bit)
            for sender, head, unsigned, body, tail, octets, eight_bit in rows
        ]

    def _heads(self, span: Span, senders: list[int]) -> list[bytes]:
        seed = self._plan.seed
        subjects = streams.below(streams.raw(seed, "workload/signed-subject", span.grid, GRID), _subjects(seed))
        picks = {"subject": subjects} | Alternatives(self._plan).picks(span.grid)
        picks = {name: column[span.part] for name, column in picks.items()}
        return self._head.rows(Columns({**picks, "sender": np.array(senders)}, {}, {})).part(slice(None))


def _subjects(seed: int) -> int:
    return len(people.subjects(seed))


def _checksum(head: bytes) -> int:
    """Of the body, as the trace header on the first line says it."""
    start = len(trace_header.HEADER)
    parsed = trace_header.parse(head[start : start + trace_header.VALUE_OCTETS])
    assert parsed is not None
    return parsed[2]


class _SignedBlock(NamedTuple):
    """A grid block, ready but for the joining of its rows."""

    heads: Rows
    entries: NDArray[np.int64]
    octets: NDArray[np.int64]


class SignedContents:
    """Messages whose content is an entry's, behind headers of their own. Implements `contents.Contents`."""

    def __init__(
        self, plan: Plan, inner: Contents, pool: SignedPool, envelopes: Envelopes, signatures: Sequence[bytes]
    ) -> None:
        self._plan, self._inner, self._pool = plan, inner, pool
        self._envelopes, self._signatures = envelopes, signatures
        self._block = lru_cache(maxsize=2)(self._make_block)

    def prepare(self) -> None:
        """Make the entries, and put their signatures before them."""
        self._inner.prepare()
        entries = self._pool.entries()
        assert len(entries) == len(self._signatures)
        self._bodies = [entry.body for entry in entries]
        self._tails = [entry.tail for entry in entries]
        self._eight_bit = [entry.eight_bit for entry in entries]
        self._crc32 = np.array([entry.crc32 for entry in entries], np.uint32)
        self._body_octets = np.array([entry.body_octets for entry in entries], np.int64)
        signed = [signature + entry.head for signature, entry in zip(self._signatures, entries, strict=True)]
        self._layout = signed_layout(self._plan, self._envelopes, signed)

    def fill(self, span: Span) -> Filled:
        """Heads, bodies and tails of a span."""
        (heads, entries, octets), part = self._block(span.grid), span.part
        chosen = entries[part].tolist()
        return Filled(
            heads.part(part), map(self._bodies.__getitem__, chosen), map(self._tails.__getitem__, chosen),
            octets[part].tolist(), list(map(self._eight_bit.__getitem__, chosen)),
        )  # fmt: skip

    def _make_block(self, grid: int) -> _SignedBlock:
        columns = self._envelopes.addressed(grid).columns
        each = self._pool.each
        entries = columns.picks["sender"] * each
        if each > 1:
            entries = entries + streams.below(streams.raw(self._plan.seed, "workload/signed", grid, GRID), each)
        columns = columns.with_more({"signed": entries}, {"crc32": hexadecimal(self._crc32[entries])})
        return _SignedBlock(
            self._layout.rows(columns), entries, self._layout.octets(columns) + self._body_octets[entries]
        )
