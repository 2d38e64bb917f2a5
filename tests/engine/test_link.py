"""A link over a transport writes past it while nothing waits there: in order, and never to another's socket."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from tests.engine.owner import Freed
from tests.engine.wire import Wire
from tests.smtp.conversation import Notebook, Queue, letter, session_for
from trafficgen.engine.fairness import Turns
from trafficgen.engine.link import Link
from trafficgen.outcomes import Outcome
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.protocol.smtp.reply_cache import ReplyCache

_OPENING = (b"220 hello\r\n", b"250-there\r\n250 PIPELINING\r\n")
_GO = b"250 ok\r\n250 ok\r\n354 go\r\n"
_BODY = b"x" * 70 + b"\r\n"


class PlainWire(Wire):
    """A transport over a real socket, which keeps what it is given. `gone`: it finds the connection gone then."""

    def __init__(self, near: socket.socket) -> None:
        super().__init__()
        self.near = near
        self.gone = False

    def write(self, octets: bytes) -> None:
        self.closed = self.gone
        self.waiting += b"" if self.gone else octets

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        assert high == low == 0  # a single octet that waits is to be told of

    def get_extra_info(self, name: str) -> object:
        return self.near if name == "socket" else None


Connected = tuple[Link, PlainWire, Notebook, socket.socket]
_NEVER = 1 << 62


@pytest.fixture
def connected() -> Iterator[Connected]:
    """A link that has sent the envelope of a message of 7 MB."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        session, _, book = session_for([letter(0, body=_BODY * 100_000)])
        turns = Turns(lambda _: None)
        turns.ends_ns = _NEVER
        link, wire = Link(session, turns, Freed()), PlainWire(near)
        link.connection_made(cast("Any", wire))
        for reply in _OPENING:
            link.data_received(reply)
        assert b"DATA\r\n" in far.recv(1000)
        yield link, wire, book, far


def test_what_the_kernel_does_not_take_waits_in_the_transport_and_what_follows_waits_behind_it(
    connected: Connected,
) -> None:
    link, wire, _, far = connected
    link.data_received(_GO)
    came = b""
    far.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            came += far.recv(1 << 20)
    whole = came + wire.waiting
    assert came
    assert wire.waiting
    assert whole.count(_BODY) == 100_000
    assert whole.endswith(_BODY + b".\r\n")
    link.write([b"QUIT\r\n"])
    with pytest.raises(BlockingIOError):
        far.recv(1)
    assert wire.waiting.endswith(_BODY + b".\r\nQUIT\r\n")


def test_a_message_whose_write_fails_at_once_never_left(connected: Connected) -> None:
    link, wire, book, far = connected
    far.close()
    wire.gone = True
    link.data_received(_GO)
    assert wire.closed
    link.connection_lost(ConnectionResetError())
    assert book.outcomes == [(0, Outcome.FAILED)]


def test_a_message_whose_turn_comes_when_the_connection_is_gone_never_left(connected: Connected) -> None:
    link, wire, book, _ = connected
    link._turns.ends_ns = 0
    assert not link._turns.over(0)  # this turn began long ago
    link.data_received(_GO)
    assert wire.waiting == b""
    wire.closed = True
    link.connection_lost(None)
    assert book.outcomes == [(0, Outcome.FAILED)]


def test_a_closed_connection_is_not_written_to(connected: Connected) -> None:
    link, wire, _, far = connected
    link.give_up("timed out")
    link.write([b"RSET\r\n"])
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)
    assert wire.waiting == b""


def test_a_message_given_to_a_session_whose_connection_is_just_gone_has_failed_and_is_not_in_doubt() -> None:
    queue, book = Queue([letter(0), letter(1)], 1), Notebook()
    session = ClientSession(queue, book, SessionOptions(chunks=1), ReplyCache())
    link = Link(session, Turns(lambda _: None), Freed())
    first, second = queue.take(0), queue.take(0)
    assert first is not None
    assert second is not None
    session.greet(first, 0)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        wire = PlainWire(near)
        link.connection_made(cast("Any", wire))
        offers = b"250-there\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
        for reply in (b"220 hello\r\n", offers, b"250 ok\r\n" * 3 + offers):
            link.data_received(reply)
        assert not session.busy
        wire.closed = True
        link.start(second, 0)
        link.connection_lost(None)
    assert book.outcomes == [(0, Outcome.ACCEPTED), (1, Outcome.FAILED)]
