"""How often the gate is right: simulated gates, seeded.

    python -m benchmarks.gate_power               # 10,000 gates a row, some minutes
    python -m benchmarks.gate_power --gates 500   # a look

No server is involved. A run's value is exp(drift + noise), times the true ratio for B: `noise` is the spread of one
run, so the difference of a pair scatters by 1.41 times as much. Three shapes: normal; "freaks", where one run in
twenty is slower by up to 30 %; "drift", where the machine loses 0.5 % with each run. Order within pairs is random and
balanced, one metric, margin 5 %, looks after 8, 16 and 24 pairs. Columns:

fail … inconclusive  how gates ended
covered              the interval at the end of the gate held the true ratio
pairs                mean number of pairs
refused              the control of 8 pairs of A against A would have refused to judge (those gates are judged here too)
"""

import argparse
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from trafficgen.verdict.control import check
from trafficgen.verdict.order import balanced_order
from trafficgen.verdict.rule import DEFAULT_LOOKS, POCOCK, Better, Metric, Values, Verdict, judge

METRIC = Metric("throughput", Better.HIGHER, 0.05)
ALPHA = POCOCK[len(DEFAULT_LOOKS)]
Noise = Callable[[random.Random, float], float]


def normal(rng: random.Random, spread: float) -> float:
    return rng.gauss(0.0, spread)


def freaks(rng: random.Random, spread: float) -> float:
    return rng.gauss(0.0, spread) - (rng.uniform(0.0, 0.3) if rng.random() < 0.05 else 0.0)


class Case(NamedTuple):
    """One row: the true ratio B/A, the spread of one run, its shape, the loss of speed from run to run."""

    ratio: float
    spread: float
    shape: str = "normal"
    drift: float = 0.0


CASES = [Case(ratio, spread) for ratio in (1.0, 0.98, 0.95, 0.90) for spread in (0.02, 0.04, 0.06, 0.08)]
CASES += [Case(ratio, 0.04, "freaks") for ratio in (1.0, 0.90)]
CASES += [Case(ratio, 0.04, "drift", 0.005) for ratio in (1.0, 0.90)]


class Gate(NamedTuple):
    """How one simulated gate ended."""

    verdict: Verdict
    covered: bool
    pairs: int
    refused: bool


def pairs_of(rng: random.Random, case: Case, ratio: float, pairs: int) -> Values:
    noise: Noise = freaks if case.shape == "freaks" else normal
    a, b = [], []
    for pair, b_first in enumerate(balanced_order(rng, pairs)):
        place_a, place_b = 2 * pair + b_first, 2 * pair + (not b_first)
        a.append(math.exp(noise(rng, case.spread) - case.drift * place_a))
        b.append(math.exp(noise(rng, case.spread) - case.drift * place_b) * ratio)
    return Values(METRIC, tuple(a), tuple(b))


def gate(rng: random.Random, case: Case) -> Gate:
    control = check(pairs_of(rng, case, 1.0, DEFAULT_LOOKS[0]), alpha=ALPHA, last_look=DEFAULT_LOOKS[-1])
    values = pairs_of(rng, case, case.ratio, DEFAULT_LOOKS[-1])
    for look in DEFAULT_LOOKS:
        seen = Values(METRIC, values.a[:look], values.b[:look])
        judged = judge([seen], alpha=ALPHA, last=look == DEFAULT_LOOKS[-1])
        if judged.verdict is not None:
            break
    (one,) = judged.comparisons
    assert judged.verdict is not None
    return Gate(judged.verdict, one.interval.low <= case.ratio <= one.interval.high, look, control.trouble is not None)


def row(case: Case, gates: int, seed: int) -> list[str]:
    rng = random.Random(f"{seed} {case}")
    ended = [gate(rng, case) for _ in range(gates)]
    counts = Counter(one.verdict for one in ended)
    shares = [f"{counts[verdict] / gates:.2%}" for verdict in Verdict]
    covered = sum(one.covered for one in ended) / gates
    refused = sum(one.refused for one in ended) / gates
    pairs = sum(one.pairs for one in ended) / gates
    return [f"{case.ratio:.2f}", f"{case.spread:.0%}", case.shape, *shares, f"{covered:.2%}", f"{pairs:.1f}",
            f"{refused:.1%}"]  # fmt: skip


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description="Simulate gates and print how they end.")
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20261122)
    chosen = parser.parse_args()
    print("| true B/A | noise of a run | shape | PASS | FAIL | WARN | INCONCLUSIVE | covered | pairs | refused |")
    print("|---" * 10 + "|")
    for case in CASES:
        print("| " + " | ".join(row(case, chosen.gates, chosen.seed)) + " |", flush=True)


if __name__ == "__main__":
    main()
