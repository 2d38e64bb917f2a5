"""What a command costs: wall time, and the CPU time of every process that it starts; what a running process has used.

The slope between two counts leaves out what starting takes.
"""

import ctypes
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SUBREAPER: Final = 36


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall and of CPU time."""

    wall_s: float
    cpu_s: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


def become_subreaper() -> None:
    """Be the one who waits for processes that a command leaves behind (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def of_command(command: list[str], folder: str = ".") -> Cost:
    """Run it to its end, and the end of all that it started.

    A subreaper sees every process. Servers that this process started may go on: they are no part of it.

    Raises:
        SystemExit: it ended with another code than 0.
    """
    read, write = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:  # a process of its own: its only children are the command's
        os.close(read)
        os.chdir(folder)
        become_subreaper()
        with Path(os.devnull).open("r+b") as nothing:
            actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), number) for number in (0, 1)]
            here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PWD": folder}
            first = os.posix_spawnp(command[0], command, here, file_actions=actions)
        code = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        wall_s = time.monotonic() - began
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(write, f"{code} {wall_s} {used.ru_utime + used.ru_stime}".encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        code_text, wall, cpu = said.read().split()
    os.waitpid(pid, 0)
    if code_text != "0":
        raise SystemExit(f"{' '.join(command)} ended with {code_text}")
    return Cost(float(wall), float(cpu))


def slope(command: Callable[[int], list[str]], few: int, many: int) -> Cost:
    """What one message more costs."""
    more = of_command(command(many)) - of_command(command(few))
    return Cost(more.wall_s / (many - few), more.cpu_s / (many - few))


def used_by(pid: int) -> float:
    """CPU seconds that a running process has had, all its threads (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
