"""How fast corpora are made and read, side by side with what they could be compared with.

    python -m benchmarks.corpus [--folder DIR] [--rounds N] [--megabytes N] [--write FILE]

The command `mboxgen` sets that variable, too: workers are forked from a process that has one thread.

Takes     a folder on the disk to be measured
Gives     medians of interleaved rounds: against a straightforward script; against the ceiling, which is the same octets
          written raw to the same disk by as many processes; messages per second and CPU of a message, beside those of
          the raw write and of a CRC-32; peak memory; octets scanned per second of CPU
Not here  anything that is not made and read by mboxgen
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import string
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

from zlib_ng.zlib_ng import crc32

from benchmarks.machine import birth_certificate
from mboxgen import Recipe, generate, open_mbox, read_mbox
from mboxgen.recipe import plan
from mboxgen.recipe.distributions import Mix
from mboxgen.recipe.sizes import PRESETS

MB = 1_000_000


def _small_of_spec2001() -> tuple[str, ...]:
    """The sizes up to 10 kB of spec2001, nine tenths of its messages, with their weights."""
    mix = PRESETS["spec2001"].sizes
    assert isinstance(mix, Mix)
    return tuple(f"{size}:{weight}" for size, weight in zip(mix.sizes, mix.weights, strict=True) if size <= 10_000)


_SMALL = (
    ("spec2001", Recipe(("spec2001",), count=1), 24_532),
    ("spec2001 up to 10 kB", Recipe(_small_of_spec2001(), count=1, look=PRESETS["spec2001"].profile), 3_389),
    ("the same as personal mail", Recipe(_small_of_spec2001(), count=1, look="personal"), 3_389),
    ("1kb", Recipe(("1kb",), count=1), 1_000),
)
"""Name, what to make any number of, mean octets."""
_WRITE = """
import os, sys, time
path, begin, octets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chunk, descriptor = memoryview(os.urandom(256 << 10)), os.open(path, os.O_WRONLY)
begun, used = time.perf_counter(), time.process_time()
for at in range(begin, begin + octets, len(chunk)):
    os.pwrite(descriptor, chunk[: begin + octets - at], at)
os.fsync(descriptor)
print(time.perf_counter() - begun, time.process_time() - used)
"""
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


def make_room(path: Path, octets: int) -> None:
    """Write as many octets and remove them: whatever is measured next finds pages that were in use a moment ago.

    For others a virtual machine's host may have to find memory first, which takes longer than filling them.
    """
    run_writers(path, octets, 1)
    path.unlink()


def made(path: Path, recipe: Recipe, workers: int = 1) -> tuple[float, float, float]:
    """Make a corpus: MB/s and messages/s, start and flush to the disk included, and microseconds of CPU a message."""
    path.unlink(missing_ok=True)
    make_room(path, plan.make(recipe).expected_octets)
    cpu_s = _cpu_s()
    done = generate(recipe, path, workers=workers)
    per_message = (_cpu_s() - cpu_s) / done.messages * 1e6
    return done.octets / done.seconds / MB, done.messages / done.seconds, per_message


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def written_raw(path: Path, octets: int, writers: int = 1) -> tuple[float, float]:
    """Write as many octets from warm buffers, and flush them: the ceiling in MB/s, and its CPU in seconds.

    Writers write a stretch each of one file, as workers do.
    """
    path.unlink(missing_ok=True)
    make_room(path, octets)
    return run_writers(path, octets, writers)


def run_writers(path: Path, octets: int, writers: int) -> tuple[float, float]:
    """What `written_raw` measures."""
    path.touch()
    stretch = octets // writers
    commands = [[sys.executable, "-c", _WRITE, str(path), str(at * stretch), str(stretch)] for at in range(writers)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    said = [[float(word) for word in writer.communicate()[0].split()] for writer in running]
    return octets / max(wall_s for wall_s, _ in said) / MB, sum(cpu_s for _, cpu_s in said)


def summed_us(octets: int) -> float:
    """CPU of reading as many octets for their CRC-32, from the cache."""
    chunk, begun = os.urandom(256 << 10), _cpu_s()
    for _ in range(200):
        crc32(chunk)
    return (_cpu_s() - begun) / (200 * len(chunk)) * octets * 1e6


def scanned(path: Path) -> float:
    """Read a corpus message by message without its index, from the page cache: MB for a second of CPU."""
    begun = _cpu_s()
    count = sum(1 for _ in read_mbox(path))
    used = _cpu_s() - begun
    with open_mbox(path) as mbox:
        assert count == len(mbox)
    return path.stat().st_size / used / MB


def peak_mb(path: Path, size: str, count: int) -> float:
    """Peak resident memory of a process that makes one corpus."""
    command = [sys.executable, "-c", _PEAK, str(path), size, str(count)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024 / MB


def measured(folder: Path, rounds: int, megabytes: int) -> list[tuple[str, str]]:
    """Take all figures; what is compared runs in turns, so that a busy machine hits both."""
    path, raw = folder / "corpus.mbox", folder / "raw"
    large = Recipe(("dovecot-sample",), count=max(megabytes * MB // 125_440, 1))
    small = {name: (replace(recipe, count=max(megabytes * MB // mean, 1)), mean) for name, recipe, mean in _SMALL}
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> float:
        found.setdefault(name, []).append(value)
        return value

    for _ in range(rounds):
        naive = note("naive", straightforward(raw, [10, 80, 150, 250], 8))
        ours, *_ = made(path, large)
        note("ours", ours)
        note("against naive", ours / naive)
        note("against raw", ours / note("raw", written_raw(raw, path.stat().st_size)[0]))
        note("scan dovecot-sample", scanned(path))
        for name, (recipe, mean) in small.items():
            assert recipe.count is not None
            for workers in (1, 2):
                label = f"{name} {workers}"
                _, per_s, used_us = made(path, recipe, workers)
                note(f"{label} cpu", used_us)
                ceiling, raw_cpu_s = written_raw(raw, path.stat().st_size, workers)
                note(f"{label} of raw", note(label, per_s) / note(f"{label} raw", ceiling * MB / mean))
                note(f"{label} raw cpu", raw_cpu_s / recipe.count * 1e6)
            note(f"scan {name}", scanned(path))
            note(f"{name} crc", summed_us(mean))
    median = {name: statistics.median(values) for name, values in found.items()}
    peaks = [peak_mb(path, "dovecot-sample", count) for count in (400, 4_000)]
    rows = [
        ("dovecot-sample, one process", f"{median['ours']:,.0f} MB/s"),
        (
            "a straightforward script",
            f"{median['naive']:.2f} MB/s: mboxgen is {median['against naive']:,.0f} × as fast",
        ),
        ("raw write", f"{median['raw']:,.0f} MB/s: mboxgen reaches {median['against raw']:.2f} of raw write"),
        ("peak memory, 50 MB and 500 MB", f"{peaks[0]:.0f} MB and {peaks[1]:.0f} MB"),
    ]
    for name in small:
        for workers, words in ((1, "one process"), (2, "two workers")):
            label = f"{name} {workers}"
            rows += [
                (f"{name}, {words}", f"{median[label]:,.0f} messages/s, {median[label + ' of raw']:.2f} of raw write"),
                ("- raw write of these octets", f"{median[label + ' raw']:,.0f} messages/s"),
                ("- CPU", f"{median[label + ' cpu']:.1f} µs, of raw write {median[label + ' raw cpu']:.1f} µs"),
            ]
        rows.append((f"{name}, CRC-32 alone", f"{median[f'{name} crc']:.2f} µs"))
    sources = ("dovecot-sample", *small)
    return [*rows, *((f"scan without index, {name}", f"{median[f'scan {name}']:,.0f} MB/s of CPU") for name in sources)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; a temporary folder by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--write", type=Path, default=None, help="write the figures as Markdown")
    given = parser.parse_args()
    if "OPENBLAS_NUM_THREADS" not in os.environ:  # with a thread of OpenBLAS's, workers would not be forked
        again = [sys.executable, "-m", "benchmarks.corpus", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rows = measured(Path(folder), given.rounds, given.megabytes)
    for name, value in rows:
        print(f"{name:36} {value}")
    print(f"{'this process peaked at':36} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB:.0f} MB")
    if given.write:
        command = " ".join(["python -m benchmarks.corpus", *sys.argv[1:]])
        table = "\n".join(f"| {name} | {value} |" for name, value in rows)
        given.write.write_text(f"{birth_certificate(command)}\n\n| what | measured |\n|---|---|\n{table}\n")


if __name__ == "__main__":
    main()
