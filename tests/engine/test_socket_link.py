"""Plain sessions on sockets of their own: who is told what, which address is tried, what is left when a server ends."""

import asyncio
import select
import socket
from collections.abc import Callable

import pytest

from tests.peers.running import plan_for
from tests.peers.scripted import PATIENCE_S, Script, scripted
from tests.smtp.conversation import Notebook, Queue, letter
from trafficgen import TcpTarget
from trafficgen.clock import now_ns
from trafficgen.engine.address import Route
from trafficgen.engine.fairness import Turns
from trafficgen.engine.opening import Opener
from trafficgen.engine.password import Draw
from trafficgen.engine.slot import Slot, Surroundings, Way
from trafficgen.engine.socket_link import Poller
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.protocol.smtp.reply_cache import ReplyCache

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux alone has epoll(7)")


def session_to(*ports: int) -> tuple[Notebook, Opener, int]:
    """One session of one message, to the first of these ports on which it finds anybody; how often it was opened."""
    queue, book = Queue([letter(0)]), Notebook()

    async def send() -> tuple[Opener, int]:
        loop = asyncio.get_running_loop()
        freed = asyncio.Event()
        plan = plan_for(ports[0], messages=1)
        route = Route("localhost", tuple(TcpTarget("127.0.0.1", port) for port in ports))
        poller = Poller(loop)
        around = Surroundings(
            way=Way(
                lambda _: ClientSession(queue, book, SessionOptions(max_messages=1), ReplyCache()),
                Opener(route, plan.session, book, Draw((), "")),  # type: ignore[arg-type]
            ),
            on_free=lambda _: freed.set(),
            on_closed=lambda: None,
            on_turn=lambda: None,
            turns=Turns(loop.call_soon),
            poller=poller,
        )
        slot = Slot(around)
        work = queue.take(0)
        assert work is not None
        slot.give(work, now_ns())
        async with asyncio.timeout(PATIENCE_S):
            await freed.wait()
        poller.close()
        assert around.opening == 0
        return around.way.opener, slot.opened

    return book, *asyncio.run(send())


def closed_port() -> int:
    """One at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_address_at_which_nobody_listens_is_passed_over_and_avoided() -> None:
    with scripted(Script) as server:
        book, opener, opened = session_to(closed_port(), closed_port(), server.port)
    assert book.outcomes == [(0, Outcome.ACCEPTED)]
    assert opened == 1
    assert opener._preferred == 2
    assert [phase for phase, _ in book.phases] == [Phase.CONNECT, Phase.GREETING, Phase.EHLO]


def test_when_nobody_listens_anywhere_the_last_address_says_so() -> None:
    first, last = closed_port(), closed_port()
    book, _, opened = session_to(first, last)
    assert book.outcomes == [(0, Outcome.FAILED)]
    assert book.failures == [(Phase.CONNECT, "connection refused", f"127.0.0.1:{last}: Connection refused")]
    assert opened == 0


def test_an_address_that_the_system_will_not_connect_to_at_all_is_a_failure_of_this_session() -> None:
    book, _, _ = session_to(0)  # connect(2) says no at once, or in a moment
    assert book.outcomes == [(0, Outcome.FAILED)]
    ((phase, _, _),) = book.failures
    assert phase is Phase.CONNECT


class ResetsInDoubt(Script):
    def read_message(self) -> None:
        self.lines.readline()
        self.reset()


def test_a_server_that_resets_in_the_middle_of_a_message_leaves_it_in_doubt() -> None:
    with scripted(ResetsInDoubt) as server:
        book, _, _ = session_to(server.port)
    assert book.outcomes == [(0, Outcome.IN_DOUBT)]
    ((phase, reason, _),) = book.failures
    assert (phase, reason) == (Phase.END_OF_DATA, "connection reset")


class Told:
    """Stands where a link does, and acts when it is told something."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.act = act
        self.told = 0

    def heard(self, _what: int) -> None:
        self.told += 1
        self.act()


def test_a_new_socket_with_the_number_of_one_just_closed_is_not_told_what_happened_to_that() -> None:
    async def both_ready() -> tuple[int, int, int]:
        poller = Poller(asyncio.get_running_loop())
        pairs = [socket.socketpair() for _ in range(2)]
        new: list[tuple[socket.socket, socket.socket]] = []
        third = Told()

        def close_the_other() -> None:
            """Whoever is told first closes the other one's socket, and opens another that gets its number."""
            if not new:
                other = pairs[1 if first.told else 0][0]
                fd = other.fileno()
                poller.remove(fd)
                other.close()
                new.append(socket.socketpair())
                assert new[0][0].fileno() == fd
                poller.add(fd, third, select.EPOLLOUT | select.EPOLLET)  # type: ignore[arg-type]

        first, second = Told(close_the_other), Told(close_the_other)
        for told, (ours, theirs) in zip((first, second), pairs, strict=True):
            poller.add(ours.fileno(), told, select.EPOLLIN | select.EPOLLET)  # type: ignore[arg-type]
            theirs.send(b"x")
        poller._hear()
        poller.close()
        for pair in [*pairs, *new]:
            for one in pair:
                one.close()
        return first.told, second.told, third.told

    assert asyncio.run(both_ready()) == (1, 1, 1)  # the third of its own: it can be written to
