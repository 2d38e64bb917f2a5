"""Slots that share one source of messages: whoever has been idle longest gets the next one.

Takes     slots, and a source that says when something is due
Gives     each message that is due to an idle slot; `on_rest` when a slot has nothing to do
Not here  a connection's life (slot), how many messages there are (dispatch)
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.slot import Slot
from trafficgen.protocol.smtp.interfaces import Source


class TimedSource(Source, Protocol):
    """A source that knows its future."""

    @property
    def next_due_ns(self) -> int | None:
        """When something is due next; None when nothing is, or nobody knows."""

    @property
    def exhausted(self) -> bool:
        """Whether nobody will ever get another message."""


class Lane:
    """All slots of a worker, or those of one domain. `working`: how many have a message, or a session for one."""

    def __init__(self, source: TimedSource, loop: asyncio.AbstractEventLoop, on_rest: Callable[[], None]) -> None:
        self.source = source
        self.working = 0
        self._loop = loop
        self._on_rest = on_rest
        self._idle: deque[Slot] = deque()
        self._queue: deque[Slot] = deque()  # idle, too, but as many others as may are being connected
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False

    def add(self, slot: Slot) -> None:
        """One more, which is idle."""
        self._idle.append(slot)

    def free(self, slot: Slot) -> None:
        """A slot's session has nothing to do, or is over: give it the next message or let it rest."""
        self.working -= 1
        rest_ns = slot.rest_ns
        now = now_ns()
        if rest_ns and not self.source.exhausted:
            self._loop.call_later(rest_ns / NS_PER_S, self._rested, slot)
        elif not self._idle and (work := self.source.take(now)) is not None:
            self.working += 1
            slot.give(work, now)
        else:
            self._rested(slot)

    def _rested(self, slot: Slot) -> None:
        self._idle.append(slot)
        self.dispatch()
        self._on_rest()

    def dispatch(self) -> None:
        """Give what is due to the slots that have been idle longest, as far as they may take it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = now_ns()
        while self._idle:
            if not self._idle[0].may_take:
                self._queue.append(self._idle.popleft())
            elif (work := self.source.take(now)) is not None:
                self.working += 1
                self._idle.popleft().give(work, now)
            else:
                break
        due_ns = self.source.next_due_ns
        if self._idle and due_ns is not None:
            self._timer = self._loop.call_later(max(due_ns - now, 0) / NS_PER_S, self.dispatch)

    def wake(self) -> None:
        """Dispatch soon, once, if there is somebody to give something to."""
        if self._idle and not self._woken:
            self._woken = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._woken = False
        self.dispatch()

    def next_turn(self) -> None:
        """One more slot may be connected."""
        if self._queue:
            self._idle.appendleft(self._queue.popleft())
            self.dispatch()
