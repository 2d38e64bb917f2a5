"""What one look at a queue costs: CPU time at 100,000 deferred messages, by long and by short queue ids.

    python -m benchmarks.observe [MESSAGES]

The spool is made up: names as Postfix gives them, in 16 directories, and in each file the first two records. It
lies in a temporary folder. "again" is a look when all directories have changed and most names are known; "unchanged"
when none has. The host is this machine.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trafficgen.server.host import HostSampler
from trafficgen.server.spool import BASE52, PostfixSpool

NOW_S = 1_795_748_590


def long_id(number: int) -> str:
    text = ""
    value = NOW_S - number % 5000
    for _ in range(6):
        value, digit = divmod(value, 52)
        text = BASE52[digit] + text
    micro = "".join(BASE52[number // 52**place % 52] for place in (2, 1, 0))
    return f"{text}0{micro}z{number:X}"


def short_id(number: int) -> str:
    return f"{number % 0xFFFFF:05X}{number + 0x980000:06X}"


def fill(folder: Path, name: Callable[[int], str], messages: int) -> None:
    for queue in ("maildrop", "incoming", "active", "hold"):
        (folder / queue).mkdir(parents=True)
    for digit in "0123456789ABCDEF":
        (folder / "deferred" / digit).mkdir(parents=True)
    for number in range(messages):
        one = name(number)
        head = b"C_" + b" " * 95 + b"T\x11%d %06d" % (NOW_S - number % 5000, number)
        (folder / "deferred" / f"{number % 16:X}" / one).write_bytes(head)


def look(spool: PostfixSpool) -> float:
    began = time.process_time()
    for queue in ("maildrop", "incoming", "active", "hold", "deferred"):
        spool.look(queue)
    spool.values(time.time())
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("messages", nargs="?", type=int, default=100_000)
    messages: int = parser.parse_args().messages
    print(f"| {messages:,} deferred | first look, CPU s | again | unchanged |\n|---|---|---|---|")
    for words, name in (("long ids", long_id), ("short ids", short_id)):
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            fill(folder, name, messages)
            spool = PostfixSpool(folder)
            first = look(spool)
            for digit in "0123456789ABCDEF":
                (folder / f"deferred/{digit}/{digit}new").touch()
            again = look(spool)
            unchanged = look(spool)
            assert spool.values(time.time())["queue.deferred"] == messages + 16
            print(f"| {words} | {first:.2f} | {again:.3f} | {unchanged:.4f} |")
    host = HostSampler(room=Path("/"))
    host.sample(0.0)
    began = time.process_time()
    for second in range(1, 101):
        host.sample(float(second))
    print(f"\none look at the host: {(time.process_time() - began) * 10:.2f} ms of CPU")


if __name__ == "__main__":
    main()
