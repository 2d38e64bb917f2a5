"""A client on a slow line: the octets of a session go out at so many a second.

Takes     what `link` takes, and the rate
Gives     a piece ten times a second, an octet at a time where the rate is below ten
Not here  which sessions are slow (identity), that they go to servers of one's own network only (address)

What has not gone out yet waits here and counts as unsent: a reply cannot be to it, and a message whose end waits when
the connection is lost has failed and is not in doubt.
"""

import asyncio
from collections.abc import Collection
from typing import Final

from trafficgen.clock import now_ns
from trafficgen.engine.fairness import Turns
from trafficgen.engine.link import Link, Owner, Session
from trafficgen.protocol.smtp.interfaces import Buffer

_PIECES_PER_S: Final = 10


class SlowLink(Link):
    """`sent_ns`: when the last piece went out, which is when the wait for a reply begins anew."""

    __slots__ = ("_ending", "_octets_per_s", "_piece", "_queue", "_timer", "sent_ns")

    def __init__(self, session: Session, turns: Turns, owner: Owner, octets_per_s: int) -> None:
        super().__init__(session, turns, owner)
        self._octets_per_s = octets_per_s
        self._piece = max(octets_per_s // _PIECES_PER_S, 1)
        self._queue = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False  # the session is over, and what it said last still goes out
        self.sent_ns = 0

    def _send(self, buffers: Collection[Buffer]) -> None:
        for buffer in buffers:
            self._queue += buffer
        if self._timer is None:
            self._send_piece()
        self._unsent = self._left

    def _send_piece(self) -> None:
        self._timer = None
        if not self._queue or self.closing:
            self._end()
            return
        assert self.transport is not None
        piece = bytes(self._queue[: self._piece])
        del self._queue[: self._piece]
        self.transport.write(piece)
        self.sent_ns = now_ns()
        self._unsent = self._left
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(len(piece) / self._octets_per_s, self._send_piece)

    @property
    def _left(self) -> int:
        """Octets that have not left this machine."""
        assert self.transport is not None
        return len(self._queue) + self.transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        self._unsent = self._left

    def resume_writing(self) -> None:
        self._unsent = self._left

    def _feed_unsent(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        assert self.transport is not None
        buffers = self.session.feed_unsent(data, now_ns, self._left)
        if self.session.closed:
            self._abort()
        return buffers

    def _abort(self) -> None:
        if self.transport is not None:
            self._unsent = self._left
            self.transport.abort()
        self._end()

    def hang_up(self) -> None:
        super().hang_up()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end()

    def _free(self) -> None:
        """A session that goes without a word goes when its last octet has: until then its slot is not free."""
        self._ending = self.session.closed and bool(self._queue) and not self.closing
        if not self._ending:
            super()._free()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ending:
            self._ending = False
            self._queue.clear()
            super()._free()
