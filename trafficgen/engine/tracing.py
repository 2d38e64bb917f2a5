"""Show the first sessions of a run as they talk.

Takes     how many of the run's sessions are to be shown, and which of them a worker opens
Gives     links for new sessions: of those that are shown with a transcript, of all others plain ones; lines, by session
Cost      of a session that is not shown: a comparison when it is opened, and without a trace nothing at all
Not here  what a line looks like (protocol.transcript), who prints it (supervisor)
"""

import asyncio
from collections.abc import Collection

from trafficgen.clock import now_ns
from trafficgen.engine.fairness import Turns
from trafficgen.engine.link import Link, Owner, Session
from trafficgen.engine.traced_lines import Line
from trafficgen.outcomes import Phase
from trafficgen.plan import TcpTarget
from trafficgen.protocol.smtp.interfaces import Buffer
from trafficgen.protocol.transcript import Transcript


class Tracer:
    """Of one worker, `index` of `step`: its sessions have every `step`-th number from there."""

    def __init__(self, sessions: int, *, index: int, step: int) -> None:
        self._sessions = sessions
        self._next = index
        self._step = step
        self._lines: list[Line] = []

    def link(self, session: Session, turns: Turns, owner: Owner) -> Link:
        """For the next session."""
        number = self._next
        if number >= self._sessions:
            return Link(session, turns, owner)
        self._next += self._step
        transcript = Transcript(now_ns(), lambda line: self._lines.append((number, line)))
        return TracedLink(session, turns, owner, transcript)

    def take(self) -> list[Line]:
        """What was said since the last time, one session behind the other."""
        lines, self._lines = self._lines, []
        return sorted(lines, key=lambda line: line[0])


class TracedLink(Link):
    """A connection that is written down."""

    __slots__ = ("_ended", "transcript")

    transcript: Transcript

    def __init__(self, session: Session, turns: Turns, owner: Owner, transcript: Transcript) -> None:
        super().__init__(session, turns, owner)
        self.transcript = transcript
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        note_transport(self.transcript, transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.transcript.heard(data, now_ns())
        super().data_received(data)

    def _send(self, buffers: Collection[Buffer]) -> None:
        self.transcript.sent(buffers, now_ns())
        super()._send(buffers)

    def _lost(self, reason: str, example: str, phase: Phase | None = None, *, missing: bool = False) -> None:
        if not self.session.closed:
            where = f" at {phase.value.upper()}" if phase else ""
            self.transcript.fail(f"{reason}{where}" + (f": {example}" if example else ""), now_ns())
        super()._lost(reason, example, phase, missing=missing)

    def _free(self) -> None:
        if self.session.closed and not self._ended:
            self._ended = True
            self.transcript.end(now_ns())
            if self.transcript.connected:
                self.transcript.note("Connection closed with remote host.", now_ns())
        super()._free()


def note_transport(transcript: Transcript, transport: asyncio.BaseTransport) -> None:
    """Where a connection goes and how it is protected, if that has not been said."""
    peer = transport.get_extra_info("peername")
    where = str(TcpTarget(peer[0], peer[1])) if isinstance(peer, tuple) else f"unix:{peer}"
    transcript.connect(where, now_ns())
    if (protected := transport.get_extra_info("ssl_object")) is not None:
        version, cipher = protected.version(), protected.cipher()
        transcript.protect(version or "?", cipher[0] if cipher else "?", now_ns())
