"""How soon the sink greets 400 newcomers while large bodies flow from others.

    python -m benchmarks.greetings [--newcomers 400] [--flows 40] [--rounds 5]

Gives     a line a round: when the first, the median and the last newcomer read its 220
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time

from benchmarks.sink import our_sink

_SETTLE_S = 1.0


async def greeted(port: int, count: int) -> list[float]:
    """Seconds from the first connection's beginning to each greeting, sorted."""
    began = time.monotonic()

    async def one() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        line = await reader.readline()
        elapsed = time.monotonic() - began
        assert line.startswith(b"220"), line
        writer.close()
        return elapsed

    return sorted(await asyncio.gather(*(one() for _ in range(count))))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--newcomers", type=int, default=400)
    parser.add_argument("--flows", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with our_sink("--no-ledger") as (_, port):
        sender = subprocess.Popen(
            [sys.executable, "-m", "trafficgen", "--target", f"127.0.0.1:{port}", "--concurrency", str(asked.flows),
             "--body-size", "60000", "--duration", f"{3 * asked.rounds + 5}s", "--workers", "1", "--quiet"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            time.sleep(2 * _SETTLE_S)
            for _ in range(asked.rounds):
                times = asyncio.run(greeted(port, asked.newcomers))
                print(
                    f"first {times[0]:.3f} s, median {statistics.median(times):.3f} s, last {times[-1]:.3f} s",
                    flush=True,
                )
                time.sleep(_SETTLE_S)
        finally:
            sender.terminate()
            sender.wait()


if __name__ == "__main__":
    main()
