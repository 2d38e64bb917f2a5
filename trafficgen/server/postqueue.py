"""How much waits in Postfix's queue and how long, by `postqueue -j`: for those who may not read the spool.

Takes     the queue directory that is meant; Postfix's configuration, where it is not the default one
Gives     the same series as the spool does, and the shape
Seldom    each 30 s at most, and 1 % of the time: at 100,000 messages it takes 5 s of CPU, of which showq's, some two
          thirds, is the server's and not counted among our costs (Postfix 3.7)
Fails     never: what went wrong is among `missing`; so is another queue than the one that was named
Sources   postqueue(1): a JSON object a line; a message may be listed twice, or not, while the queue moves

The question is asked at one look and the answer read at a later one, so that the others go on meanwhile.
"""

import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import msgspec
import numpy as np

from trafficgen.errors import reason_of
from trafficgen.server.shape import News, ShapeRecord, domain_of
from trafficgen.server.spool import QUEUES, WAITING, ages

EVERY_S: Final = 30.0
SHARE: Final = 0.01
_PATH: Final = "/usr/sbin:/usr/local/sbin:/sbin"


class _QueuedRecipient(msgspec.Struct):
    address: str


class _Message(msgspec.Struct):
    queue_name: str
    queue_id: str
    arrival_time: int
    recipients: list[_QueuedRecipient]


_DECODE: Final = msgspec.json.Decoder(_Message).decode


class Postqueue:
    """One Postfix, asked again and again."""

    def __init__(self, queue: Path, config: Path | None = None, *, every_s: float = EVERY_S) -> None:
        self._queue = queue
        self._config = ["-c", str(config)] if config else []
        self._every_s = every_s
        self._asked: subprocess.Popen[bytes] | None = None
        self._answer: IO[bytes] | None = None
        self._asked_s = self._next_s = float("-inf")
        self._pending: ShapeRecord | None = None
        self._news = News()
        self.missing: set[str] = set()
        self._is_the_queue: bool | None = None

    def sample(self, now_s: float) -> dict[str, float]:
        """What the last question told; nothing while there is no answer, or it is not time to ask again."""
        self._pending = None
        if self._asked is not None and self._answer is not None:
            if self._asked.poll() is None:
                return {}
            code, self._asked = self._asked.returncode, None
            took_s = now_s - self._asked_s
            self._next_s = self._asked_s + max(self._every_s, took_s / SHARE)
            with self._answer as answer:
                answer.seek(0)
                return self._read(code, answer.read(), now_s)
        if now_s >= self._next_s and self._is_meant():
            self._ask(now_s)
        return {}

    def due(self, _now_s: float) -> bool:
        """Always: it is asked for the queue's depth as well."""
        return True

    def shape(self) -> ShapeRecord | None:
        """By domain and age, of the answer that the last look read."""
        return self._pending

    def _is_meant(self) -> bool:
        """Whether postqueue speaks of the queue that was named."""
        if self._is_the_queue is None:
            command = [_program("postconf"), *self._config, "-h", "queue_directory"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
                found = done.stdout.strip()
            except (OSError, subprocess.TimeoutExpired) as error:
                self.missing.add(f"{self._queue}: permission denied, and no postconf: {reason_of(error)}")
                found = ""
            self._is_the_queue = bool(found) and Path(found).resolve() == self._queue.resolve()
            if found and not self._is_the_queue:
                self.missing.add(f"{self._queue}: permission denied, and postqueue's is {found}")
        return self._is_the_queue

    def _ask(self, now_s: float) -> None:
        self._asked_s = now_s
        command = [_program("postqueue"), *self._config, "-j"]
        self._answer = TemporaryFile()  # noqa: SIM115  (closed when it is read, or below)
        try:
            self._asked = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._answer, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            self.missing.add(f"{self._queue}: permission denied, and no postqueue: {reason_of(error)}")
            self._answer.close()
            self._next_s = float("inf")

    def _read(self, code: int, answer: bytes, now_s: float) -> dict[str, float]:
        if code:
            self.missing.add(f"postqueue -j ended with code {code}")
            return {}
        try:
            listed = {message.queue_id: message for message in map(_DECODE, answer.splitlines())}
        except msgspec.DecodeError as error:
            self.missing.add(f"postqueue -j: {error}")
            return {}
        counts = dict.fromkeys(QUEUES, 0)
        for message in listed.values():
            counts[message.queue_name] = counts.get(message.queue_name, 0) + 1
        waiting = [message for message in listed.values() if message.queue_name in WAITING]
        shaped = [
            (float(one.arrival_time), tuple(domain_of(to.address) for to in one.recipients)) for one in waiting
        ]  # fmt: skip
        self._pending = self._news.new(now_s, shaped, len(waiting))
        arrivals = np.array([one.arrival_time for one in waiting], np.float64)
        values = {f"queue.{name}": float(counts[name]) for name in QUEUES}
        return values | {"queue.depth": float(len(waiting))} | ages(arrivals, len(waiting), time.time())


def _program(name: str) -> str:
    """Where it is: seldom on the path of those who are not root."""
    return shutil.which(name) or shutil.which(name, path=_PATH) or name
