"""What joining a run with its server's log costs: CPU time a line, and memory.

    python -m benchmarks.logs join [LINES]
    python -m benchmarks.logs followed [MESSAGES]    # 10,000 to a private Postfix and Dovecot, each found: as root

`join`: a synthetic Postfix log of LINES lines (3,000,000 by default; 125 octets each, 6 lines a message, one message in
ten put off once), its manifest, and the command that joins them, in a process of its own so that the memory is the
join's alone. Everything is in a temporary folder.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import trafficgen
from tests.logs.private_dovecot import private_dovecot
from tests.logs.test_log_end_to_end import TO_DOVECOT
from tests.peers.postfix import private_postfix
from tests.peers.running import plan_for
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


def join(lines: int) -> Iterator[str]:
    """What it cost. AssertionError when a message is not found."""
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
    yield f"{lines:,} lines, {octets / 1e6:,.0f} MB, {messages:,} messages, all found (exit {done.returncode})"
    yield f"{cpu_s:.1f} s CPU: {lines / cpu_s:,.0f} lines/s and {octets / 1e6 / cpu_s:.0f} MB/s a core"
    yield f"{after.ru_maxrss / 1024:.0f} MiB of memory at most"


def followed(messages: int) -> Iterator[str]:
    """How many were found where, of as many that were sent. AssertionError when it is not all of them everywhere."""
    with tempfile.TemporaryDirectory() as folder, private_dovecot() as dovecot:
        manifest = Path(folder) / "run.manifest"
        with private_postfix(1, TO_DOVECOT.format(port=dovecot.port)) as postfix:
            results = trafficgen.run(plan_for(postfix.port, messages=messages, sessions=8), manifest=manifest)
            logs = [str(dovecot.log), str(postfix.folder / "log/mail.log")]
            command = [sys.executable, "-m", "trafficgen", "log", str(manifest), *logs, "--follow", "30m", "--json"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            postfix.stop()
        stored = sum(1 for path in dovecot.mail.rglob("*") if path.is_file() and path.parent.name == "new")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    counts = [
        results.messages.accepted, found["fates"]["sent"]["messages"], found["mailboxes"]["messages_saved"], stored,
    ]  # fmt: skip
    assert counts == [messages] * 4, counts
    assert (found["whole"]["verdict"], found["log"]["not_understood"]) == ("yes", 0), found["log"]
    yield (
        f"{messages:,} accepted by Postfix, sent on by its log, saved by Dovecot's log, and as many files in its "
        f"mailboxes; the log is whole, all {found['log']['lines']:,} lines of it are understood"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["join", "followed"])
    parser.add_argument("number", nargs="?", type=int, help="lines, or messages")
    chosen = parser.parse_args()
    for line in join(chosen.number or 3_000_000) if chosen.what == "join" else followed(chosen.number or 10_000):
        print(line, flush=True)


if __name__ == "__main__":
    main()
