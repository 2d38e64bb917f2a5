"""Our own sink outside of the server: what comes out there is the proof.

Takes     an address to listen on, to which the server under test hands mail for the foreign domain
Gives     `Outside.waits_for(marks, seconds)`: the messages with these marks
Not here  what is sent (relay, delivery)
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import uvloop

from trafficgen.plan import Target
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.store.capture import Capture, CaptureFormat

_LOOK_S: Final = 0.05
_START_S: Final = 20.0
_MAX_OCTETS: Final = 64 << 20


class Outside:
    """A sink in a thread that keeps every message. Use as a context manager; SetupError when it cannot listen."""

    def __init__(self, listen: Target) -> None:
        self._listen = listen
        self._folder = tempfile.TemporaryDirectory(prefix="traffic-gen-check-")
        self._up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._read: set[Path] = set()
        self._messages: list[bytes] = []
        self._thread = threading.Thread(target=self._main, daemon=True)
        self.address: Target = listen

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.wait(_START_S)
        if self._error is not None:
            self._folder.cleanup()
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_START_S)
        self._folder.cleanup()

    def waits_for(self, marks: Collection[str], seconds: float) -> dict[str, bytes]:
        """The first message that holds each of these words; returns as soon as all are there, or time is up."""
        deadline = time.monotonic() + seconds
        while True:
            for file in set(Path(self._folder.name).glob("*.eml")) - self._read:
                message = file.read_bytes()
                self._read.add(file)
                self._messages.append(message)
            found = {mark: one for mark in marks for one in self._messages if mark.encode() in one}
            if len(found) == len(marks) or time.monotonic() > deadline:
                return found
            time.sleep(_LOOK_S)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._error = error
            self._up.set()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        capture = Capture(CaptureFormat.FILES, Path(self._folder.name), _MAX_OCTETS)
        async with Sink(self._listen, ledger=False, capture=capture) as sink:
            self.address = sink.address
            self._up.set()
            await self._over.wait()
