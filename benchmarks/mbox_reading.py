"""How fast a foreign mbox is read: CPU for each octet and each message, and the memory that takes.

    python -m benchmarks.mbox_reading [--megabytes N]

Takes     a folder for temporary files with room for two files of N megabytes
Gives     of `mboxgen info`, of opening for sending, and of its checksums: MB/s and µs a message of CPU; peak memory
Not here  corpora of ours, which have an index (corpus)
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from mboxgen import open_mbox
from mboxgen.mbox.statistics import collect_statistics

_FROM = b"From a@b.test Fri Nov 21 22:55:00 2025\n"
_HEADER = b"From: a@b.test\nDate: Fri, 21 Nov 2025 22:55:00 +0000\nMessage-ID: <1@b.test>\nSubject: s\n"
_FIELDS = b"".join(
    b"X-Field-%02d: the value of a header field that has forty octets\n" % number for number in range(25)
)
_LINE = b"the quick brown fox jumps over the lazy dog, and then once more over it too\n"
_MESSAGES = {
    "5 kB": _FROM + _HEADER + _FIELDS + b"\n" + 40 * _LINE + b"\n",
    "small": _FROM + _HEADER + b"\n" + _LINE + b"\n",
}


def main() -> None:
    """Measure both sizes of message."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--megabytes", type=int, default=300)
    megabytes: int = arguments.parse_args().megabytes
    with tempfile.TemporaryDirectory() as folder:
        for name, message in _MESSAGES.items():
            path = Path(folder) / "a.mbox"
            with path.open("wb") as file:
                for _ in range(megabytes * 10**6 // len(message) // 100):
                    file.write(message * 100)
            _measure(path, name)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
    print(f"peak memory {peak} MB")


def _measure(path: Path, name: str) -> None:
    began = time.process_time()
    messages = collect_statistics(path).messages
    surveyed = time.process_time()
    with open_mbox(path) as mbox:
        opened = time.process_time()
        mbox.compute_checksums()
    summed = time.process_time()
    for what, cpu_s in (("info", surveyed - began), ("open", opened - surveyed), ("checksums", summed - opened)):
        rate, each = path.stat().st_size / cpu_s / 1e6, cpu_s / messages * 1e6
        print(f"{name:6} {what:10} {rate:7,.0f} MB/s of CPU  {each:6.2f} us a message")


if __name__ == "__main__":
    main()
