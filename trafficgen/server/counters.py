"""What perf counts of the server's processes during a block: calls of fsync and fdatasync, instructions in user mode.

Takes     process ids on this machine
Gives     `Counts` by the names of `verdict.server_metrics`, also of processes that they start meanwhile; what cannot
          be counted is not among them: why, `not_counted` says
Needs     Linux and the program perf; for calls the right to use tracepoints: root, or CAP_PERFMON and a readable
          tracefs; for instructions a processor that counts them, which few virtual machines show (perf-stat(1),
          perf-security.rst of the kernel). /proc and cgroups know neither, hence this way
Costs     an increment in the kernel for each call, a register for instructions: perf is asked for counts, not records
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from select import select
from tempfile import TemporaryFile
from typing import Final

from trafficgen.errors import reason_of

EVENTS: Final = {
    "server.fsyncs": ("syscalls:sys_enter_fsync", "syscalls:sys_enter_fdatasync"),
    "server.instructions": ("instructions:u",),
}
_MENDS: Final = {
    "server.fsyncs": 'be root, or "sysctl kernel.perf_event_paranoid=-1" and "mount -o remount,mode=755 '
    '/sys/kernel/tracing"',
    "server.instructions": '"sysctl kernel.perf_event_paranoid=2"',
}
_NO_PERF: Final = "there is no perf, which Linux has (Debian: apt install linux-perf)"
_UNSUPPORTED: Final = "<not supported>"

_PATIENCE_S: Final = 5.0

Counts = dict[str, int]
"""Empty as long as the block goes on."""


@contextmanager
def counted(pids: Collection[int]) -> Iterator[Counts]:
    """Count for the length of the block, from its first instruction on."""
    counts: Counts = {}
    perf = shutil.which("perf")
    countable = [name for name, why in _refused(perf).items() if why is None] if perf else []
    if perf is None or not pids or not countable:
        yield counts
        return
    events = [event for name in countable for event in EVENTS[name]]
    commands, commands_end = os.pipe()
    answers_end, answers = os.pipe()
    with TemporaryFile("w+") as table:
        # Not before it says that it counts: perf attaches to one thread after the other, and that takes its time.
        process = subprocess.Popen(
            [perf, "stat", "-x,", "-D", "-1", "--control", f"fd:{commands},{answers}", "--log-fd", str(table.fileno()),
             "-e", ",".join(events), "-p", ",".join(map(str, sorted(pids)))],
            pass_fds=(commands, answers, table.fileno()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        try:
            counting = _ask(commands_end, answers_end)
            yield counts
        finally:
            _end(process)
            os.close(commands_end)
            os.close(answers_end)
        if counting:
            table.seek(0)
            text = table.read()
            found = {name: _sum(text, EVENTS[name]) for name in countable}
            counts.update({name: number for name, number in found.items() if number is not None})


def not_counted() -> Mapping[str, str]:
    """What cannot be counted on this machine, and why, with what mends it where something does."""
    perf = shutil.which("perf")
    if perf is None:
        return dict.fromkeys(EVENTS, _NO_PERF)
    return {name: why for name, why in _refused(perf).items() if why is not None}


@cache
def _refused(perf: str) -> Mapping[str, str | None]:
    """By name, why this perf does not count it; None where it does. Tried once, on a program that does nothing: one
    event that is refused would end perf for all."""
    return {name: _why_refused(perf, name) for name in EVENTS}


def _why_refused(perf: str, name: str) -> str | None:
    try:
        done = subprocess.run(
            [perf, "stat", "-x,", "-e", ",".join(EVENTS[name]), "true"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"perf does not run: {reason_of(error)}"
    if done.returncode:
        return f"perf may not: {_MENDS[name]}"
    if _UNSUPPORTED in done.stderr:
        return "this machine does not show its processor's counters"
    return None


def _ask(commands: int, answers: int) -> bool:
    """Whether perf counts from now on. When it may not, it ends, and nobody is left to answer."""
    with suppress(BrokenPipeError):
        os.write(commands, b"enable\n")
    answered, _, _ = select([answers], [], [], _PATIENCE_S)
    return bool(answered) and os.read(answers, 16).startswith(b"ack")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)  # its order to write down what it counted
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _sum(table: str, events: Collection[str]) -> int | None:
    """Of the first column of perf's CSV; "<not counted>" is a process that never ran."""
    values = [line.partition(",")[0] for line in table.splitlines() if any(event in line for event in events)]
    known = ["0" if value == "<not counted>" else value for value in values]
    return sum(map(int, known)) if known and all(value.isdecimal() for value in known) else None
