"""What the server's own log says of a message that is followed: message-id, then queue id, then each attempt.

Takes     the server's log, from its end on; a Message-ID
Gives     `LogTrail.waits_for(message_id, seconds)`: the attempts of every queue id that it had, as soon as one is final
Fails     ResultsError when the log cannot be read
Not here  reading lines (logs), what is made of it (delivery)
"""

import time
from pathlib import Path
from typing import Final

from trafficgen.logs.files import Growing
from trafficgen.logs.lines import LineReader
from trafficgen.logs.records import Attempt, AttemptStatus, Identified, MessageReceived, Record

_LOOK_S: Final = 0.05


class LogTrail:
    """One log that grows. What was in it before is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = Growing(path, from_end=True)
        self._log.new_lines()
        self._reader = LineReader(time.time_ns())
        self._ids: dict[bytes, set[bytes]] = {}
        self._attempts: dict[bytes, list[Attempt]] = {}

    def waits_for(self, message_id: bytes, seconds: float) -> tuple[frozenset[bytes], list[Attempt]]:
        """Its queue ids, and every attempt for them. Returns as soon as one was sent or bounced, or time is up."""
        deadline = time.monotonic() + seconds
        while True:
            self._read()
            queue_ids = self._ids.get(message_id, set())
            attempts = [attempt for one in queue_ids for attempt in self._attempts.get(one, ())]
            final = any(attempt.status is not AttemptStatus.DEFERRED for attempt in attempts)
            if final or time.monotonic() > deadline:
                return frozenset(queue_ids), attempts
            time.sleep(_LOOK_S)

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _read(self) -> None:
        for line in self._log.new_lines():
            read = self._reader.read(line)
            for record in (read.records or ()) if read is not None else ():
                self._take(record)

    def _take(self, record: Record) -> None:
        match record:
            case Identified(queue_id, message_id) | MessageReceived(queue_id, message_id):
                self._ids.setdefault(message_id.strip(b"<>"), set()).add(queue_id)
            case Attempt():
                self._attempts.setdefault(record.queue_id, []).append(record)
