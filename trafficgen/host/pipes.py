"""Hear pipes without ever being held up by who is at their other end.

Gives     `listen`: words in an event loop; `Inbox`: words of many pipes in one queue; `Outbox`: words to a process
          that may not be reading
Why       a thread of its own waits at each pipe, so that the pipe stays blocking: what is sent through it arrives
          whole, however large. (`loop.add_reader` of uvloop makes the descriptor non-blocking, for writing too.) A
          process that is suspended in the middle of a word holds up that thread and nobody else
"""

import contextlib
import select
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

_Owner = TypeVar("_Owner")


class End:
    """The other side of a pipe is gone."""


END: Final = End()


def listen(pipe: Connection, on_word: Callable[[object], None], on_end: Callable[[], None]) -> None:
    """Call `on_word` in the running loop for every word that comes, `on_end` when the other side is gone."""
    from asyncio import get_running_loop  # who has no loop of its own does not import one

    loop = get_running_loop()

    def tell(act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(act)

    _wait_at(pipe, lambda word: tell(on_end if word is END else lambda: on_word(word)))


class Inbox(Generic[_Owner]):
    """Words from any number of pipes, in the order in which they came; the last one of each is `END`."""

    def __init__(self) -> None:
        self._words: SimpleQueue[tuple[_Owner, object]] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, owner: _Owner, pipe: Connection) -> None:
        """Hear this pipe from now on."""
        self._threads.append(_wait_at(pipe, lambda word: self._words.put((owner, word))))

    def hear(self, patience_s: float) -> list[tuple[_Owner, object]]:
        """All that has come, with whom it came from; waits so long for the first."""
        heard: list[tuple[_Owner, object]] = []
        with contextlib.suppress(Empty):
            heard.append(self._words.get(timeout=patience_s) if patience_s > 0 else self._words.get_nowait())
            while True:
                heard.append(self._words.get_nowait())
        return heard

    def close(self) -> None:
        """Before the pipes are closed, once the processes at their other ends are gone."""
        for thread in self._threads:
            thread.join(1.0)


class Outbox:
    """Small words to one process. They wait here as long as it does not read."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._unsent: deque[object] = deque()
        self._room = select.poll()
        self._room.register(pipe.fileno(), select.POLLOUT)

    def send(self, word: object) -> None:
        """Send it, or keep it until `flush` finds room."""
        self._unsent.append(word)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room. A pipe that has room takes a small word whole."""
        with contextlib.suppress(OSError):  # the other side is gone; whoever hears its pipe is told
            while self._unsent and self._room.poll(0):
                self._pipe.send(self._unsent[0])
                self._unsent.popleft()


def _wait_at(pipe: Connection, on_word: Callable[[object], None]) -> threading.Thread:
    def hear() -> None:
        try:
            while True:
                on_word(pipe.recv())
        except (EOFError, OSError):
            pass
        finally:
            on_word(END)

    thread = threading.Thread(target=hear, name="pipe", daemon=True)
    thread.start()
    return thread
