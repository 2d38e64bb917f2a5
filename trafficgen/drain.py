"""Wait until mail has come out at the other end of a server under test, and say how that went.

Takes     the manifest of a run; the API of the sink that the server delivers to; how long to wait
Gives     two parts of the results: what was delivered, missing, duplicated, corrupted; how long the drain took after
          the last message was handed over, rates, end-to-end latencies
Fails     SetupError when the sink does not answer
Not here  sending (engine), comparing (measure.proof)

A server that says 250 has a message in its queue, not where it should go. The time from then to an empty queue is the
drain; the rate at which mail came out is the delivered rate, and over the whole run it is the lower of the two.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.interrupts import RunControl
from trafficgen.manifest import Handed, Manifest
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.parts import Delivery, Latency, Ledger
from trafficgen.measure.proof import Delivery as Proof
from trafficgen.measure.proof import Got, Sent, verify
from trafficgen.plan import TcpTarget
from trafficgen.sink.arrivals import Arrivals
from trafficgen.sink.remote import RemoteSink
from trafficgen.units import format_duration

_LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Drain:
    """Whom to ask, and how long to wait for the last message."""

    sink: TcpTarget
    patience_ns: int


def check(drain: Drain) -> None:
    """Find out before a run that the sink is there."""
    RemoteSink(drain.sink).totals()


def wait(drain: Drain, manifest: Manifest, say: Callable[[str], None], control: RunControl) -> tuple[Ledger, Delivery]:
    """Wait until everything accepted has arrived, or `patience_ns` has passed, or one more Ctrl-C."""
    before = control.count
    sink = RemoteSink(drain.sink)
    expected = manifest.accepted.numbers.size
    handed_over_ns = now_ns()
    say(f"waiting up to {format_duration(drain.patience_ns)} for {expected} messages to be delivered")
    one_clock = sink.shares_our_clock(manifest.run_id)
    wanted = int(manifest.accepted.recipients.sum())

    def look() -> tuple[Arrivals, Proof]:
        arrivals = sink.arrivals(manifest.run_id)
        got = _got(arrivals)
        return arrivals, verify(_sent(manifest.accepted), _sent(manifest.in_doubt), got, one_clock=one_clock)

    found = None
    while now_ns() < handed_over_ns + drain.patience_ns and control.count == before:
        # Copies of one message may stand for another that is still missing: enough of them is a reason to look.
        if sink.copies(manifest.run_id) >= wanted and (found := look())[1].missing == 0:
            break
        time.sleep(_LOOK_S)
    arrivals, proof = found if found is not None and not found[1].missing else look()
    began_ns = int(manifest.accepted.began_ns.min()) if expected else handed_over_ns
    last_ns = int(arrivals.first_ns.max()) if one_clock and arrivals.first_ns.size else now_ns()
    # A copy that a lost reply explains is the server's right; only the others are duplicates.
    doubles = proof.unexplained + proof.unexpected
    if proof.mended:
        say(f"{proof.mended} messages were mended on the way: a header line of theirs is no field")
    lost = proof.missing + proof.misdelivered  # of the latter, too, a recipient got none
    latencies = Histogram()
    if proof.latencies_ns is not None:
        latencies.record_many(proof.latencies_ns)
    return Ledger(proof.expected, proof.delivered, lost, doubles, proof.corrupted), Delivery(
        drained_ns=max(last_ns - handed_over_ns, 0),
        inject_per_s=_per_s(expected, handed_over_ns - began_ns),
        delivered_per_s=_per_s(proof.delivered, max(last_ns, began_ns) - began_ns),
        in_time=not proof.missing,
        explained=proof.explained,
        unexpected=proof.unexpected,
        latency_ns=Latency.of(latencies),
    )


def _per_s(messages: int, elapsed_ns: int) -> float:
    return messages * NS_PER_S / elapsed_ns if elapsed_ns > 0 else 0.0


def _sent(handed: Handed) -> Sent:
    return Sent(handed.numbers, handed.recipients, handed.began_ns, handed.digests, handed.mendable)


def _got(arrivals: Arrivals) -> Got:
    """One copy of each number that stands for all of them: the sums are the same."""
    numbers = arrivals.numbers
    return Got(
        numbers,
        arrivals.counts.astype(np.int64),
        arrivals.first_ns,
        np.isin(numbers, np.array(arrivals.damaged, np.int64)),
        np.array([arrivals.unanswered.get(number, 0) for number in numbers.tolist()], np.int64),
        np.full(numbers.size, -1, np.int64) if arrivals.digests is None else arrivals.digests.astype(np.int64),
    )
