"""A UNIX socket whose listen queue is full is waited for, as TCP waits by itself; and not for ever."""

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.running import Counts, counts, send
from tests.peers.scripted import PATIENCE_S, Script, ScriptedServer
from trafficgen import Progress, Security, UnixTarget
from trafficgen.outcomes import StoppedBy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a connection is refused")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listener whose queue has no room left."""
    path, waiting = str(tmp_path / "socket"), []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        while True:
            peer = socket.socket(socket.AF_UNIX)
            peer.setblocking(False)
            waiting.append(peer)
            try:
                peer.connect(path)
            except BlockingIOError:
                break
        yield listener, path
        for peer in waiting:
            peer.close()


def test_sessions_wait_until_there_is_room(full: tuple[socket.socket, str]) -> None:
    listener, path = full
    server = ScriptedServer(Script, listener)
    seen: list[Progress] = []

    def progress(now: Progress) -> None:
        seen.append(now)
        if len(seen) == 2:  # the sessions have been tried
            server.start()

    results = send(UnixTarget(path), messages=8, sessions=4, progress=progress)
    assert counts(results) == Counts(accepted=8)
    assert results.failures == ()
    assert results.stopped_by is StoppedBy.FINISHED
    server.stop()


@pytest.mark.parametrize("security", [Security.PLAIN, Security.STARTTLS])
def test_a_queue_that_stays_full_is_given_up(full: tuple[socket.socket, str], security: Security) -> None:
    session = {"connect_timeout_ns": 300_000_000, "security": security}
    results = send(UnixTarget(full[1]), messages=2, sessions=2, session=session)
    assert counts(results) == Counts(failed=2)
    (failure,) = results.failures
    assert (failure.phase, failure.reason, failure.example) == ("connect", "timed out", "no connection within 0.3 s")


class OneAtFirst(socket.socket):
    """Accepts one connection, and others when it may."""

    accepted = 0
    more: threading.Event

    def accept(self) -> tuple[socket.socket, object]:
        assert not self.accepted or self.more.wait(PATIENCE_S)
        self.accepted += 1
        return super().accept()


def test_sessions_that_wait_for_their_turn_to_connect_hold_no_message(tmp_path: Path) -> None:
    """100 sessions, 64 of which may connect at a time: whoever is connected sends what the others have not taken."""
    more = threading.Event()

    class TakesMany(Script):
        def end_of_data(self) -> None:
            if self.taken == 120:
                more.set()
            super().end_of_data()

    path = str(tmp_path / "socket")
    with type("OneAtFirstHere", (OneAtFirst,), {"more": more})(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        server = ScriptedServer(TakesMany, listener)
        server.start()
        results = send(UnixTarget(path), messages=200, sessions=100)
        more.set()
        server.stop()
    assert counts(results) == Counts(accepted=200)
