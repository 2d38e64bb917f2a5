"""How often a gate by slices is right: simulated, seeded.

    python -m benchmarks.slice_power                     # 10,000 gates a row, twelve minutes of CPU
    python -m benchmarks.slice_power --processes 2       # rows side by side, the same figures
    python -m benchmarks.slice_power --rows 9-11,26      # some of them, counted from 0
    python -m benchmarks.slice_power --gates 500         # a look
    python -m benchmarks.slice_power --rules             # looks, looks with nothing left out, a confidence sequence

No server is involved. The speed of a slice is exp(noise), times the true ratio for B; blocks, the rule that leaves
pairs out, looks and verdict are the program's own. One metric, margin 5 %, time for 96 blocks. *noise* is the standard
deviation of a slice's logarithm. Shapes, each on top of that noise:

normal     nothing else
drift      the machine loses 0.2 % with each slice
bursts     one slice in ten is slower by up to 40 %, and nothing says so
memory     an autoregressive part, correlation 0.9 from slice to slice, standard deviation 6 %
waves      steal in waves of 20 slices on average, every 60; a slice loses as much as is stolen, up to 30 %, which is
           known within 30 %
both       memory and waves
wandering  the ratio itself wanders by 2 % around the truth, correlation 0.8 from block to block
recorded   slices of one build as gates recorded them on a noisy machine (benchmarks/recorded_slices.json), from a
           random place on, in place of noise

covered    the interval at the end held the true ratio
blocks     mean number of blocks served
left out   share of pairs
"""

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from multiprocessing import Pool
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

from trafficgen.verdict.gating import Side
from trafficgen.verdict.rule import Better, Metric, Verdict
from trafficgen.verdict.sequence import LEAST, SliceDesign, decide
from trafficgen.verdict.slices import Block, Bounds, Counted, Disturbance, Slice, count, units

METRIC: Final = Metric("throughput", Better.HIGHER, 0.05)
CAPACITY: Final = 96
RECORDED: Final = Path(__file__).with_name("recorded_slices.json")
NO_BOUNDS: Final = Bounds(others=9.0, lag_ns=10**12, generator=9.0)


class Case(NamedTuple):
    """One row: the true ratio B/A, the noise of a slice, its shape."""

    ratio: float
    noise: float
    shape: str = "normal"


CASES: Final = [
    *(Case(ratio, noise) for ratio in (1.0, 0.98, 0.95, 0.90) for noise in (0.02, 0.05, 0.10)),
    *(Case(ratio, 0.05, shape) for shape in ("drift", "bursts", "memory", "waves", "both", "wandering")
      for ratio in (1.0, 0.90)),
    *(Case(ratio, 0.0, "recorded") for ratio in (1.0, 0.95, 0.90)),
]  # fmt: skip


class Ended(NamedTuple):
    """How one simulated gate ended."""

    verdict: Verdict
    covered: bool
    blocks: int
    left_out: int


Noise = Iterator[tuple[float, float]]
"""The logarithm of a slice's speed, and the share of CPU time stolen in it."""


@cache
def recorded() -> list[list[float]]:
    """Of a slice, the logarithm of its speed and what was stolen."""
    slices: list[list[float]] = json.loads(RECORDED.read_text())["slices"]
    return slices


def machine(rng: random.Random, case: Case) -> Noise:
    """What a machine does to one slice after the other."""
    if case.shape == "recorded":
        slices = recorded()
        at = rng.randrange(len(slices))
        while True:
            yield slices[at][0], slices[at][1]
            at = (at + 1) % len(slices)
    memory, wave, index = rng.gauss(0, 0.06), rng.random() < 1 / 3, 0
    while True:
        level, stolen = rng.gauss(0.0, case.noise), 0.0
        if case.shape == "drift":
            level -= 0.002 * index
        if case.shape == "bursts" and rng.random() < 0.1:
            level += math.log(1 - rng.uniform(0, 0.4))
        if case.shape in ("memory", "both"):
            memory = 0.9 * memory + rng.gauss(0, 0.06 * math.sqrt(1 - 0.81))
            level += memory
        if case.shape in ("waves", "both"):
            wave = rng.random() < (1 - 1 / 20 if wave else 1 / 40)
            lost = rng.uniform(0, 0.3) if wave else 0.0
            level, stolen = level + math.log(1 - lost), lost * rng.uniform(0.7, 1.3)
        yield level, stolen
        index += 1


def blocks(rng: random.Random, case: Case, design: SliceDesign) -> Iterator[Block]:
    """As many as there is time for."""
    noise, wander = machine(rng, case), rng.gauss(0, 0.02)
    for index in range(design.capacity):
        if case.shape == "wandering":
            wander = 0.8 * wander + rng.gauss(0, 0.02 * 0.6)
        slices = []
        for side in design.order(index):
            level, stolen = next(noise)
            if side is Side.B:
                level += math.log(case.ratio) + (wander if case.shape == "wandering" else 0.0)
            slices.append(Slice(side, 1.0, 1000 * math.exp(level), Disturbance(stolen)))
        a, b, c, d = slices
        yield Block((a, b, c, d))


def by_looks(design: SliceDesign, serve: Iterator[Block], ratio: float) -> Ended:
    """The program's own rule, asked where it may have an answer: blocks are served only as far as needed."""
    counted: list[Counted] = []
    known, looks = 0, design.looks
    for one in count(serve, design.bounds):
        counted.append(one)
        known += bool(one.kept)
        last = len(counted) == design.capacity
        if not last and not (one.kept and known in looks):
            continue
        if (ended := decide(design, tuple(counted), time_is_up=last)) is not None:
            assert ended.verdict is not None
            interval = ended.judgement.comparisons[0].interval if ended.judgement else None
            covered = interval is None or interval.low <= ratio <= interval.high
            return Ended(ended.verdict, covered, len(counted), len(ended.left_out))
    raise AssertionError("the last look decides")


def by_sequence(design: SliceDesign, serve: Iterator[Block], ratio: float) -> Ended:
    """In place of looks: a confidence sequence that holds after every block, for differences with random signs.

    exp(λS - λ²V/2) is a supermartingale for sums S of such differences with V the sum of their squares (de la Peña,
    Annals of Probability 27, 1999); mixed over a normal λ whose width the first four blocks give, which are not used.
    """
    served = list(serve)
    groups = units(["throughput"], count(served, design.bounds))
    differences = [math.log(b / a) for a, b in (group.values["throughput"] for group in groups)]
    if len(differences) <= LEAST:
        return Ended(Verdict.INCONCLUSIVE, True, len(served), 0)
    scale = fmean(one * one for one in differences[:4]) or 1e-9
    rho, used = 1 / (16 * scale), differences[4:]
    for many in range(LEAST - 4, len(used) + 1):
        seen = used[:many]
        low, high = (math.exp(_edge(seen, rho, up)) for up in (False, True))
        middle = math.exp(fmean(seen))
        verdict = None
        if high < 1 and middle <= 1 - METRIC.margin:
            verdict = Verdict.FAIL
        elif low > 1 - METRIC.margin:
            verdict = Verdict.PASS
        elif many == len(used):
            verdict = Verdict.WARN if high < 1 else Verdict.INCONCLUSIVE
        if verdict is not None:
            return Ended(verdict, low <= ratio <= high, many + 4, 0)
    raise AssertionError("the last block decides")


def _edge(differences: Sequence[float], rho: float, up: bool) -> float:
    """Where the sequence begins to reject, seen from the mean: bisection, as V changes with the shift."""
    many, total, squares = len(differences), sum(differences), sum(one * one for one in differences)
    near, far = total / many, total / many + (1.0 if up else -1.0)
    for _ in range(40):
        shift = (near + far) / 2
        leans = total - many * shift
        variance = squares - 2 * shift * total + many * shift * shift
        growth = rho * leans * leans / (2 * (1 + rho * variance)) - math.log(1 + rho * variance) / 2
        if growth < math.log(20):
            near = shift
        else:
            far = shift
    return near


Rule = Callable[[SliceDesign, Iterator[Block], float], Ended]


def row(case: Case, gates: int, seed: int, rule: Rule = by_looks, bounds: Bounds | None = None) -> list[str]:
    ended = []
    for number in range(gates):
        block_ns = SliceDesign((METRIC,)).block_ns
        design = SliceDesign((METRIC,), number, CAPACITY * block_ns, bounds=bounds or Bounds())
        rng = random.Random(f"{seed} {case} {number}")  # the same machine for each rule
        ended.append(rule(design, blocks(rng, case, design), case.ratio))
    counts = Counter(one.verdict for one in ended)
    shares = [f"{counts[verdict] / gates:.2%}" for verdict in Verdict]
    served = fmean(one.blocks for one in ended)
    left_out = fmean(one.left_out / (2 * one.blocks) for one in ended)
    covered = fmean(one.covered for one in ended)
    return [f"{case.ratio:.2f}", f"{case.noise:.0%}", case.shape, *shares, f"{covered:.2%}", f"{served:.1f}",
            f"{left_out:.0%}"]  # fmt: skip


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description="Simulate gates by slices and print how they end.")
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20261127)
    parser.add_argument("--rules", action="store_true", help="compare the rule with two others, in a few of the rows")
    parser.add_argument("--rows", help="some of them, such as 0-3,9")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    rules: list[tuple[str, Rule, Bounds | None]] = [("looks", by_looks, None)]
    cases = CASES
    if chosen.rules:
        rules += [("looks, nothing left out", by_looks, NO_BOUNDS), ("confidence sequence", by_sequence, None)]
        cases = [case for case in CASES if case.ratio in (1.0, 0.9) and case.noise != 0.02]
    head = "| rule | true B/A | noise | shape | PASS | FAIL | WARN | INCONCLUSIVE | covered | blocks | left out |"
    print(f"{head}\n{'|---' * 11}|")
    asked = [(name, (case, chosen.gates, chosen.seed, rule, bounds)) for case in cases for name, rule, bounds in rules]
    kept = _places(chosen.rows) if chosen.rows else range(len(asked))
    with Pool(chosen.processes) as pool:
        made = pool.imap(_of, [asked[place][1] for place in kept])
        for place, cells in zip(kept, made, strict=True):
            print(f"| {' | '.join([asked[place][0], *cells])} |", flush=True)


def _of(arguments: tuple[Case, int, int, Rule, Bounds | None]) -> list[str]:
    return row(*arguments)


def _places(text: str) -> list[int]:
    """Of "0-3,9"."""
    ends = [word.partition("-") for word in text.split(",")]
    return [place for first, _, last in ends for place in range(int(first), int(last or first) + 1)]


if __name__ == "__main__":
    main()
