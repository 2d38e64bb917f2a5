"""Keep a turn of the event loop short, however many sessions have something to read.

Takes     links that have received octets
Gives     them back to their links once everything else that the loop has to do has had its turn, first come first
          served
Why       libuv hears up to 48 times 1,024 sockets before it does anything else (uv__io_poll, src/unix/linux.c), and a
          session that is answered at once is ready again meanwhile: with 10,000 sessions and a fast server a turn
          took 2 to 4 s, in which no session was opened, no message came due and nothing was reported
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from trafficgen.clock import NS_PER_MS, now_ns

SLICE_NS: Final = 10 * NS_PER_MS


class Reader(Protocol):
    """What has octets that it has not acted on."""

    def catch_up(self) -> None: ...


class Turns:
    """The turns of one worker's loop. Until `ends_ns` links act on what they receive at once, and need not ask."""

    __slots__ = ("_call_soon", "_waiting", "_waiting_for_turn", "ends_ns")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """`call_soon` is the event loop's."""
        self._call_soon = call_soon
        self._waiting: deque[Reader] = deque()
        self._waiting_for_turn = False
        self.ends_ns = 0

    def over(self, now_ns: int) -> bool:
        """Whether this turn has lasted long enough. To be asked after `ends_ns`."""
        if self._waiting_for_turn:
            return True
        self._waiting_for_turn = True
        self.ends_ns = now_ns + SLICE_NS
        self._call_soon(self._turn)
        return False

    def put_off(self, reader: Reader) -> None:
        """Call `reader.catch_up` in one of the next turns."""
        self._waiting.append(reader)

    def _turn(self) -> None:
        ends_ns = now_ns() + SLICE_NS
        while self._waiting:
            self._waiting.popleft().catch_up()
            if now_ns() > ends_ns:
                self._call_soon(self._turn)
                return
        self._waiting_for_turn = False
