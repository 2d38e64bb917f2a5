"""How fast corpora are made and read, side by side with what they could be compared with.

    python -m benchmarks.corpus [--folder DIR] [--rounds N] [--megabytes N] [--write FILE]

Takes     a folder on the disk to be measured
Gives     medians of interleaved rounds: against a straightforward script, against writing the same octets raw to the
          same disk, small messages per second, peak memory, octets scanned per second
Not here  anything that is not made and read by mboxgen
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import statistics
import string
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from pathlib import Path

from mboxgen import Recipe, generate, open_mbox, read_mbox

MB = 1_000_000
_PEAK = """
import sys
from pathlib import Path
from mboxgen import Recipe, generate
generate(Recipe((sys.argv[2],), count=int(sys.argv[3])), sys.argv[1], force=True)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def straightforward(path: Path, sizes_kib: list[int], messages: int) -> float:
    """Make a corpus the way a first script does: a random character at a time, the email package, one write each."""
    import email.mime.text
    import mailbox

    path.unlink(missing_ok=True)
    begun = time.perf_counter()
    box = mailbox.mbox(path)
    for number in range(messages):
        size = random.choice(sizes_kib) * 1024
        body = "".join(random.choice(string.ascii_letters + " ") for _ in range(size))
        lines = "\n".join(body[at : at + 76] for at in range(0, size, 76))
        message = email.mime.text.MIMEText(lines)
        message["From"], message["To"] = "sender@example.org", "recipient@example.org"
        message["Subject"], message["Date"] = f"message {number}", formatdate()
        box.add(message)
    box.close()
    return path.stat().st_size / (time.perf_counter() - begun) / MB


def made(path: Path, recipe: Recipe, workers: int = 1) -> tuple[float, float]:
    """Make a corpus: MB/s and messages/s, start and flush to the disk included."""
    done = generate(recipe, path, workers=workers, force=True)
    return done.octets / done.seconds / MB, done.messages / done.seconds


def cpu_us(path: Path, recipe: Recipe, workers: int) -> float:
    """CPU of all processes for one message, start included: says most where others use the machine too."""
    begun = _cpu_s()
    done = generate(recipe, path, workers=workers, force=True)
    return (_cpu_s() - begun) / done.messages * 1e6


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def written_raw(path: Path, octets: int) -> float:
    """Write as many octets from one warm buffer, and flush them to the disk: the ceiling."""
    chunk = os.urandom(4 << 20)
    begun = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for left in range(octets, 0, -len(chunk)):
            file.write(chunk[: min(left, len(chunk))])
        os.fsync(file.fileno())
    return octets / (time.perf_counter() - begun) / MB


def scanned(path: Path) -> float:
    """Read a corpus message by message without its index, from the page cache: MB/s."""
    begun = time.perf_counter()
    count = sum(1 for _ in read_mbox(path))
    elapsed = time.perf_counter() - begun
    with open_mbox(path) as mbox:
        assert count == len(mbox)
    return path.stat().st_size / elapsed / MB


def peak_mb(path: Path, size: str, count: int) -> float:
    """Peak resident memory of a process that makes one corpus."""
    command = [sys.executable, "-c", _PEAK, str(path), size, str(count)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024 / MB


def measured(folder: Path, rounds: int, megabytes: int) -> list[tuple[str, str]]:
    """Take all figures; what is compared runs in turns, so that a busy machine hits both."""
    path, raw = folder / "corpus.mbox", folder / "raw"
    large = Recipe(("dovecot-sample",), count=max(megabytes * MB // 125_440, 1))
    small = Recipe(("spec2001",), count=max(megabytes * MB // 24_532, 1))
    tiny = Recipe(("1kb",), count=max(megabytes * MB // 1_000, 1))
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> float:
        found.setdefault(name, []).append(value)
        return value

    for _ in range(rounds):
        naive = note("naive", straightforward(raw, [10, 80, 150, 250], 8))
        ours, _ = made(path, large)
        note("ours", ours)
        note("against naive", ours / naive)
        ceiling = note("raw", written_raw(raw, path.stat().st_size))
        note("against raw", ours / ceiling)
        note("scan", scanned(path))
        speed, per_s = made(path, small, workers=2)
        note("spec2001", per_s)
        note("spec2001 against raw", speed / written_raw(raw, path.stat().st_size))
        note("scan small", scanned(path))
        speed, per_s = made(path, tiny, workers=2)
        note("1kb", per_s)
        note("1kb against raw", speed / written_raw(raw, path.stat().st_size))
        note("1kb cpu", cpu_us(path, tiny, 1))
        note("spec2001 cpu", cpu_us(path, small, 1))
    median = {name: statistics.median(values) for name, values in found.items()}
    peaks = [peak_mb(path, "dovecot-sample", count) for count in (400, 4_000)]
    our_rate, raws = f"{median['ours']:,.0f} MB/s", f"{median['raw']:,.0f} MB/s"
    share, times = f"{median['against raw']:.2f}", f"{median['against naive']:,.0f}"
    small_rate, small_share = f"{median['spec2001']:,.0f} messages/s", f"{median['spec2001 against raw']:.2f}"
    return [
        ("dovecot-sample, one process", our_rate),
        ("a straightforward script", f"{median['naive']:.2f} MB/s: mboxgen is {times} times as fast"),
        ("raw write and flush", f"{raws}: mboxgen reaches {share} of it"),
        ("spec2001, two workers", f"{small_rate}, {small_share} of a raw write"),
        ("1 kB, two workers", f"{median['1kb']:,.0f} messages/s, {median['1kb against raw']:.2f} of a raw write"),
        ("CPU of a message, spec2001 and 1 kB", f"{median['spec2001 cpu']:.0f} µs and {median['1kb cpu']:.0f} µs"),
        ("peak memory, 50 MB and 500 MB", f"{peaks[0]:.0f} MB and {peaks[1]:.0f} MB"),
        ("scan without index, dovecot-sample", f"{median['scan']:,.0f} MB/s"),
        ("scan without index, spec2001", f"{median['scan small']:,.0f} MB/s"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; a temporary folder by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--write", type=Path, default=None, help="write the figures as Markdown")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rows = measured(Path(folder), given.rounds, given.megabytes)
    for name, value in rows:
        print(f"{name:36} {value}")
    print(f"{'this process peaked at':36} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB:.0f} MB")
    if given.write:
        command = f"python -m benchmarks.corpus --rounds {given.rounds} --megabytes {given.megabytes}"
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        table = "\n".join(f"| {name.strip()} | {value} |" for name, value in rows)
        given.write.write_text(f"`{command}`, {machine}\n\n| what | measured |\n|---|---|\n{table}\n")


if __name__ == "__main__":
    main()
