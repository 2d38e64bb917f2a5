"""How often the server's processes asked for their data to be on the disk: fsync and fdatasync.

Takes     process ids on this machine
Gives     the number of calls during a block, also those of processes that they start meanwhile; None where it cannot be
          had
Needs     Linux, the program perf, and the right to use tracepoints: root, or CAP_PERFMON and a readable tracefs
          (perf-stat(1), perf-security.rst of the kernel). /proc and cgroups count no system calls, hence this way
Costs     an increment in the kernel for each such call: perf is asked for counts, not for records
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from select import select
from tempfile import TemporaryFile
from typing import Final

EVENTS: Final = ("syscalls:sys_enter_fsync", "syscalls:sys_enter_fdatasync")

_PATIENCE_S: Final = 5.0


class Syncs:
    """What was counted; None as long as the block goes on, and where nothing could be."""

    count: int | None = None


@contextmanager
def counted(pids: Collection[int]) -> Iterator[Syncs]:
    """Count for the length of the block, from its first instruction on."""
    syncs, perf = Syncs(), shutil.which("perf")
    if perf is None or not pids:
        yield syncs
        return
    commands, commands_end = os.pipe()
    answers_end, answers = os.pipe()
    with TemporaryFile("w+") as table:
        # Not before it says that it counts: perf attaches to one thread after the other, and that takes its time.
        process = subprocess.Popen(
            [perf, "stat", "-x,", "-D", "-1", "--control", f"fd:{commands},{answers}", "--log-fd", str(table.fileno()),
             "-e", ",".join(EVENTS), "-p", ",".join(map(str, sorted(pids)))],
            pass_fds=(commands, answers, table.fileno()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        try:
            counting = _ask(commands_end, answers_end)
            yield syncs
        finally:
            _end(process)
            os.close(commands_end)
            os.close(answers_end)
        if counting:
            table.seek(0)
            syncs.count = _sum(table.read())


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


def _sum(table: str) -> int | None:
    """Of the first column of perf's CSV; "<not counted>" is a process that never ran."""
    values = [line.partition(",")[0] for line in table.splitlines() if any(event in line for event in EVENTS)]
    known = ["0" if value == "<not counted>" else value for value in values]
    return sum(map(int, known)) if known and all(value.isdecimal() for value in known) else None
