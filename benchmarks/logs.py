"""What joining a run with its server's log costs: CPU time a line, and memory.

    python -m benchmarks.logs [LINES]

A synthetic Postfix log of LINES lines (3,000,000 by default; 125 octets each, 6 lines a message, every tenth message
put off once), its manifest, and the command that joins them, in a process of its own so that the memory is the join's
alone. Everything is in a temporary folder.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from trafficgen.proof.sent import Manifest, SentRecords

RUN = "9f3a6c1e02b4d857"
BEGAN_S = 1_795_748_590
PER_S = 1000
LATE = "deferred (connect to 127.0.0.1[127.0.0.1]:25: Connection refused)"
SENT = "sent (250 2.0.0 Ok: queued as 9D0F49FC99A)"
GONE = "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"


def write_log(path: Path, lines: int) -> int:
    """Write the log; how many messages are in it."""
    number = written = 0
    with path.open("w") as file:
        while written < lines:
            second = BEGAN_S + number // PER_S
            stamp = time.strftime("%b %d %H:%M:%S mx postfix/", time.gmtime(second))
            queue_id = f"4jb{number:09X}z1SKd"
            delivery = (
                f"{stamp}smtp[{number % 97}]: {queue_id}: to=<user-{number % 100_000:06d}@yahoo.com.traffic-gen.test>, "
                "relay=127.0.0.1[127.0.0.1]:25, delay=0.12, delays=0.01/0.02/0.04/0.05, dsn=2.0.0, status="
            )
            text = [
                f"{stamp}smtpd[7]: {queue_id}: client=localhost[127.0.0.1]\n",
                f"{stamp}cleanup[8]: {queue_id}: message-id=<{number:012d}.{RUN}@sender.traffic-gen.test>\n",
                f"{stamp}qmgr[9]: {queue_id}: from=<s@sender.traffic-gen.test>, size=5338, nrcpt=1 (queue active)\n",
                *([f"{delivery}{LATE}\n"] if number % 10 == 0 else ()),
                f"{delivery}{SENT}\n",
                f"{stamp}qmgr[9]: {queue_id}: removed\n",
                f"{stamp}smtpd[7]: {GONE}\n",
            ]
            file.writelines(text)
            written += len(text)
            number += 1
    return number


def write_manifest(path: Path, messages: int) -> None:
    numbers = np.arange(messages, dtype=np.int64)
    began = 10**15 + numbers * (10**9 // PER_S)
    records = SentRecords(numbers, np.ones(messages, np.int64), began, np.full(messages, -1, np.int64))
    Manifest(RUN, messages, records, SentRecords.none(), "0" * 16, BEGAN_S * 10**9 - 10**15).write(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="?", type=int, default=3_000_000)
    lines: int = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as folder:
        log, manifest = Path(folder) / "mail.log", Path(folder) / "run.manifest"
        messages = write_log(log, lines)
        write_manifest(manifest, messages)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "trafficgen", "log", str(manifest), str(log)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        octets = log.stat().st_size
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert f"accepted, sent on to all  {messages:,}" in done.stdout, done.stdout + done.stderr
    print(f"{lines:,} lines, {octets / 1e6:,.0f} MB, {messages:,} messages, all found (exit {done.returncode})")
    print(f"{cpu_s:.1f} s CPU: {lines / cpu_s:,.0f} lines/s and {octets / 1e6 / cpu_s:.0f} MB/s a core")
    print(f"{after.ru_maxrss / 1024:.0f} MiB of memory at most")


if __name__ == "__main__":
    main()
