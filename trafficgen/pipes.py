"""Hear a pipe in an event loop.

A thread of its own waits at the pipe, so that the pipe stays blocking: what is sent through it arrives whole, however
large. (`loop.add_reader` of uvloop makes the descriptor non-blocking, for writing too.)
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection


def listen(pipe: Connection, on_word: Callable[[object], None], on_end: Callable[[], None]) -> None:
    """Call `on_word` in the running loop for every word that comes, `on_end` when the other side is gone."""
    loop = asyncio.get_running_loop()

    def hear() -> None:
        try:
            while True:
                word = pipe.recv()
                loop.call_soon_threadsafe(on_word, word)
        except (EOFError, OSError):
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(on_end)

    threading.Thread(target=hear, name="pipe", daemon=True).start()
