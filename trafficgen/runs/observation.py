"""An observer of the server for the length of a run: a process of its own, here or by ssh on the server.

Takes     where it runs; the options of `traffic-gen observe` for it
Gives     what it has seen so far, on the clock of the run; a wait until the queue is back where it was
Fails     SetupError when it does not begin to see; later it may die as it likes: the run goes on, and the gap is shown
Promise   it ends with us, whatever becomes of us: its standard input is a pipe from here
Not here  looking (server.agent), the arithmetic of clocks (measure.clock_offset)
"""

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from trafficgen.clock import now_ns
from trafficgen.errors import PlanError, ResultsError, SetupError
from trafficgen.host.machine_clock import boot_id
from trafficgen.measure.bottleneck import drain
from trafficgen.measure.clock_offset import ClockExchange, best
from trafficgen.measure.observed import Recording, RunClock, ServerSamples, on_the_runs_clock

LOCAL: Final = "local"
_SSH: Final = "ssh:"
_PATIENCE_S: Final = 30.0
_ROUND: Final = 8
_ROUND_EVERY_S: Final = 30.0
_END_S: Final = 5.0
_LOOK_S: Final = 0.1
_CLOCK: Final = b'{"clock":'


class _Answer(msgspec.Struct):
    clock: int
    received: int
    answered: int


class Observation:
    """One observer. Use as a context manager around the run."""

    def __init__(self, where: str, options: Sequence[str], *, drain_ns: int = 0, program: Sequence[str] = ()) -> None:
        """`where`: "local" or "ssh:HOST". `drain_ns`: how long to wait for the queue after the run. `program`: what
        runs there in place of the usual command, for tests."""
        self.where = where
        self._command = _command(where, options, program)
        self._drain_ns = drain_ns
        self._lock = threading.Lock()
        self._recording = Recording()
        self._asked: dict[int, int] = {}
        self._round: list[ClockExchange] = []
        self._seen = threading.Condition(self._lock)
        self._ended = threading.Event()
        self._errors: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._errors = TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise SetupError(f'cannot start "{self._command[0]}" to observe the server: {error.strerror}') from error
        for work in (self._listen, self._ask_clock):
            thread = threading.Thread(target=work, name="observer", daemon=True)
            self._threads.append(thread)
            thread.start()
        with self._seen:
            self._seen.wait_for(lambda: self._recording.mono_ns or self._ended.is_set(), _PATIENCE_S)
            began = bool(self._recording.mono_ns)
        if not began:
            words = self._last_words()
            self._end()
            raise SetupError(f"the observer ({self.where}) saw nothing within {_PATIENCE_S:.0f} s{words}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def samples(self, clock: RunClock) -> ServerSamples | None:
        """What was seen so far; None when that is nothing."""
        with self._lock:
            if self._ended.is_set() and not any("observer ended" in word for word in self._recording.missing):
                self._recording.missing.append(f"anything more: the observer ended{self._last_words()}")
            with suppress(ResultsError):
                return on_the_runs_clock(self._recording, clock, self.where)
        return None

    def wait_for_drain(self, clock: RunClock, ended_s: float, stop: Callable[[], bool]) -> None:
        """Until the queue is back where it was, the time for that is over, `stop`, or the observer died."""
        until = now_ns() + self._drain_ns
        while now_ns() < until and not stop() and not self._ended.is_set():
            seen = self.samples(clock)
            if seen is not None and (found := drain(seen, ended_s)) is not None and found.took_s is not None:
                return
            time.sleep(_LOOK_S)

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            back = now_ns()
            with self._seen:
                if line.startswith(_CLOCK):
                    self._answered(line, back)
                else:
                    self._recording.add(line)
                self._seen.notify_all()
        self._ended.set()
        with self._seen:
            self._seen.notify_all()

    def _answered(self, line: bytes, back: int) -> None:
        with suppress(msgspec.DecodeError):
            answer = msgspec.json.decode(line, type=_Answer)
            if (asked := self._asked.pop(answer.clock, None)) is not None:
                self._round.append(ClockExchange(asked, answer.received, answer.answered, back))

    def _ask_clock(self) -> None:
        """A round of questions at the start and every 30 s, unless the observer's clock is ours."""
        number = 0
        while not self._ended.is_set():
            with self._seen:
                self._seen.wait_for(lambda: self._recording.boot_id or self._ended.is_set())
                if self._recording.boot_id == boot_id():
                    return
            for _ in range(_ROUND):
                number += 1
                if not self._ask(number):
                    return
            with self._lock:
                if self._round:
                    self._recording.exchanges.append(best(self._round))
                self._round = []
                self._asked.clear()
            self._ended.wait(_ROUND_EVERY_S)

    def _ask(self, number: int) -> bool:
        """One question, and a second for its answer. False when nobody is there."""
        assert self._process is not None
        assert self._process.stdin is not None
        with self._seen:
            self._asked[number] = now_ns()
            try:
                self._process.stdin.write(b"clock %d\n" % number)
                self._process.stdin.flush()
            except (OSError, ValueError):
                return False
            self._seen.wait_for(lambda: number not in self._asked or self._ended.is_set(), 1.0)
        return True

    def _last_words(self) -> str:
        """What it said on its standard error, at last."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        self._ended.set()
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(_END_S)
        assert process.stdout is not None
        process.stdout.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
        self._process = None


def _command(where: str, options: Sequence[str], program: Sequence[str]) -> list[str]:
    """What to start. PlanError for another place than the two."""
    words = ["observe", "--write", "-", "--on-stdin", *options]
    if where == LOCAL:
        return [*(program or (sys.executable, "-m", "trafficgen")), *words]
    host = where.removeprefix(_SSH)
    if not where.startswith(_SSH) or not host or host.startswith("-"):
        text = f'expected local or ssh:HOST such as ssh:root@mail.lab.internal, got "{where}"'
        raise PlanError(text, field="observe", flag="--observe")
    remote = " ".join(map(shlex.quote, [*(program or ("traffic-gen",)), *words]))
    return ["ssh", "-T", "-o", "BatchMode=yes", host, remote]


def options_of(
    queue: str | None, cgroup: str | None, metrics: Sequence[str], every: str | None = None, doveadm: str | None = None
) -> list[str]:
    """The options of `traffic-gen observe` for what was asked of a run."""
    found = [("--queue", queue), ("--cgroup", cgroup), *(("--metrics", one) for one in metrics), ("--every", every)]
    found.append(("--doveadm", doveadm))
    return [word for flag, value in found if value is not None for word in (flag, value)]
