"""Wait until mail has come out at the other end of a server under test, and say how that went.

Takes     the manifest of a run; the API of the sinks that the server delivers to; how long to wait
Gives     two parts of the results: what was delivered, missing, duplicated, corrupted; how long the drain took after
          the last message was sent, rates, end-to-end latencies
Fails     SetupError when the sink does not answer
Not here  sending (engine), comparing (measure.proof)

A server that says 250 has a message in its queue, not where it should go. The time from then to an empty queue is the
drain; the rate at which mail came out is the delivered rate, and over the whole run it is the lower of the two.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mboxgen.counted import number_of, plural
from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import SetupError
from trafficgen.guard import refuse_public, resolve
from trafficgen.host.machine_clock import boot_id
from trafficgen.host.signals import RunControl
from trafficgen.measure.counts import Latency
from trafficgen.measure.delivered import Delivery, LedgerCounts
from trafficgen.measure.histogram import Histogram
from trafficgen.plan import Plan, TcpTarget
from trafficgen.proof.comparison import DeliveryProof as Proof
from trafficgen.proof.comparison import verify
from trafficgen.proof.ledger_reader import Copies
from trafficgen.proof.sent import Manifest, SentRecords
from trafficgen.units import format_duration

if TYPE_CHECKING:
    from trafficgen.proof.remote_sink import RemoteSink, RemoteSinks

OPTION: Final = "--sink-api"
MAX_MOMENTS: Final = 3600
"""So many moments are kept of how much was undelivered."""
MAX_AWAY_NS: Final = 10 * NS_PER_S
_POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class DeliveryWait:
    """Whom to ask, and how long to wait for the last message. `more`: where the mail comes out at several sinks."""

    sink: TcpTarget
    patience_ns: int
    more: tuple[TcpTarget, ...] = ()

    @property
    def sinks(self) -> tuple[TcpTarget, ...]:
        return (self.sink, *self.more)


def sinks_of(delivery_wait: DeliveryWait, plan: Plan) -> "RemoteSinks":
    """The sinks, found to be there before the run. PlanError when one is at a public address, SetupError when one is no
    sink or keeps no ledger."""
    from trafficgen.proof.remote_sink import RemoteSink, RemoteSinks  # 2 MB, for who waits

    found = []
    for address in delivery_wait.sinks:
        route = resolve(address, OPTION)
        if not plan.allow_public_target:
            refuse_public(route, OPTION)
        found.append(RemoteSink(address, [one for one in route.addresses if isinstance(one, TcpTarget)]))
        found[-1].arrived(plan.run_id)
    return RemoteSinks(found)


def wait(
    sink: "RemoteSink | RemoteSinks",
    patience_ns: int,
    manifest: Manifest,
    say: Callable[[str], None],
    control: RunControl,
    run_began_ns: int | None = None,
) -> tuple[LedgerCounts, Delivery]:
    """Wait until everything accepted has arrived, or `patience_ns` has passed, or one more Ctrl-C.

    SetupError when the sink does not answer at last. While it is waited for it may be away for a while, since a sink
    can be started again on its ledger.
    """
    before = control.count
    expected = manifest.accepted.numbers.size
    sent_ns = answered_ns = now_ns()
    say(f"waiting up to {format_duration(patience_ns)} for {expected} {plural(expected, 'message')} to be delivered")
    wanted = int(manifest.accepted.recipients.sum())
    found = None
    sink.cancelled = lambda: control.count > before
    while now_ns() < sent_ns + patience_ns and control.count == before:
        try:
            # Copies of one message may stand for another that is still missing: enough of them is a reason to look.
            if sink.copies(manifest.run_id) >= wanted and (found := _compare(sink, manifest)).proof.missing == 0:
                break
            answered_ns = now_ns()
        except SetupError as error:
            if control.count == before and now_ns() > answered_ns + MAX_AWAY_NS:
                raise SetupError(f"{error}; asked for {format_duration(MAX_AWAY_NS)}") from error
        time.sleep(_POLL_S)
    sink.cancelled = lambda: control.count > before + 1
    if found is None or found.proof.missing:
        found = _compare(sink, manifest)
    copies, proof, one_clock = found
    began_ns = int(manifest.accepted.began_ns.min()) if expected else sent_ns
    if manifest.boot_id != boot_id() and run_began_ns is not None:
        began_ns = run_began_ns  # messages began by other machines' clocks
    last_ns = int(copies.taken_ns.max()) if one_clock and copies.taken_ns.size else now_ns()
    # A copy that a lost reply explains is the server's right; only the others are duplicates.
    doubles = proof.unexplained + proof.unexpected
    if proof.mended:
        say(f"{number_of(proof.mended, 'message')} mended on the way: a header line there is no field")
    lost = proof.missing + proof.misdelivered  # of the latter, too, a recipient got none
    latencies = Histogram()
    if proof.latencies_ns is not None:
        latencies.record_many(proof.latencies_ns)
    since_ns = began_ns if run_began_ns is None else run_began_ns
    every_s, waiting = undelivered(manifest.accepted, copies, since_ns, last_ns) if one_clock else (1, ())
    counts = LedgerCounts(proof.expected, proof.delivered, lost, doubles, proof.corrupted, proof.mended)
    return counts, Delivery(
        drained_ns=max(last_ns - sent_ns, 0),
        inject_per_s=_per_s(expected, sent_ns - began_ns),
        delivered_per_s=_per_s(proof.delivered, max(last_ns, began_ns) - began_ns),
        in_time=not proof.missing,
        explained=proof.explained,
        unexpected=proof.unexpected,
        latency_ns=Latency.of(latencies),
        every_s=every_s,
        undelivered=waiting,
    )


def undelivered(accepted: SentRecords, copies: Copies, from_ns: int, to_ns: int) -> tuple[int, tuple[int, ...]]:
    """How many seconds apart, and for each of these moments how many accepted messages had been begun and had not
    reached all of their recipients. One clock for all times."""
    order = np.lexsort((copies.taken_ns, copies.numbers))
    numbers = copies.numbers[order]
    first, end = (np.searchsorted(numbers, accepted.numbers, side) for side in ("left", "right"))
    reached = np.concatenate(([0], np.cumsum(copies.recipients[order])))  # recipients, before each copy
    last = np.searchsorted(reached, reached[first] + accepted.recipients, "left") - 1
    arrived_ns = copies.taken_ns[order][last[last < end]]
    every_s = max(-(-(to_ns - from_ns) // (MAX_MOMENTS * NS_PER_S)), 1)
    moments_ns = np.arange(from_ns, to_ns + every_s * NS_PER_S, every_s * NS_PER_S)
    begun = np.searchsorted(np.sort(accepted.began_ns), moments_ns, "right")
    gone = np.searchsorted(np.sort(arrived_ns), moments_ns, "right")
    return every_s, tuple(int(one) for one in begun - gone)


class _DeliveryState(NamedTuple):
    """What the sink had at one moment, and what that means."""

    copies: Copies
    proof: Proof
    one_clock: bool


def _compare(sink: "RemoteSink | RemoteSinks", manifest: Manifest) -> _DeliveryState:
    one_clock = manifest.boot_id == boot_id() and sink.shares_our_clock(manifest.run_id)
    copies = sink.arrivals(manifest.run_id, manifest.planned)
    return _DeliveryState(copies, verify(manifest.accepted, manifest.in_doubt, copies, one_clock=one_clock), one_clock)


def _per_s(messages: int, elapsed_ns: int) -> float:
    return messages * NS_PER_S / elapsed_ns if elapsed_ns > 0 else 0.0
