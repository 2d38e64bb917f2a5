"""Slices of real gates, to be replayed by benchmarks.slice_power.

    KEEP=kept python -m benchmarks.gate_real slices-same --gates 4
    python -m benchmarks.record_slices kept/*.json > benchmarks/recorded_slices.json

Takes     the JSON of gates by slices in which both builds were the same
Gives     for each slice, in the order of time, the logarithm of its speed beside the gate's mean, and the share of CPU
          time that went to others; the machine they are from
"""

import json
import math
import sys
from pathlib import Path
from statistics import fmean

from benchmarks.machine import birth_certificate


def main() -> None:
    slices: list[list[float]] = []
    for name in sys.argv[1:]:
        blocks = json.loads(Path(name).read_text())["blocks"]
        found = [one for block in blocks for one in block["slices"]]
        speeds = [math.log(one["accepted"] / one["seconds"]) for one in found]
        middle = fmean(speeds)
        slices += [
            [round(speed - middle, 5), round(one["stolen"] + (one["foreign"] or 0.0), 4)]
            for speed, one in zip(speeds, found, strict=True)
        ]
    print(json.dumps({"from": birth_certificate("python -m benchmarks.gate_real slices-same"), "slices": slices}))


if __name__ == "__main__":
    main()
