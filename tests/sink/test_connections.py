"""Connections that end in every way: what was counted when they came is taken off when they go."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import uvloop

from trafficgen.plan import TcpTarget
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.sink.listen.certificate import context_made_here
from trafficgen.sink.listen.link import SinkLink
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import parse
from trafficgen.sink.policy.limits import Limits, RateLimit
from trafficgen.sink.policy.policy import Policy, PolicyConfig

PATIENCE_S = 60
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a TLS client begins."""


class Client:
    """A socket and the replies that come from it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.file = self.socket.makefile("rb")

    def hear(self) -> int:
        while (line := self.file.readline())[3:4] == b"-":
            pass
        return int(line[:3] or b"0")

    def say(self, line: bytes) -> int:
        self.socket.sendall(line)
        return self.hear()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def start_tls(client: Client, disposition: bytes) -> None:
    client.hear()
    client.say(b"EHLO x\r\n")
    client.say(b"STARTTLS\r\n")
    client.socket.sendall(disposition)


def before_the_handshake(client: Client) -> None:
    start_tls(client, b"")
    client.reset()


def within_the_handshake(client: Client) -> None:
    start_tls(client, HELLO)
    client.reset()


def hung_up_within_the_handshake(client: Client) -> None:
    start_tls(client, HELLO)
    client.close()


def no_handshake_at_all(client: Client) -> None:
    start_tls(client, b"EHLO x\r\n" * 3)
    client.reset()


def without_a_wait(client: Client) -> None:
    client.socket.sendall(b"EHLO x\r\nSTARTTLS\r\n")
    client.reset()


def behind_the_handshake(client: Client) -> None:
    start_tls(client, b"")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(client.socket, suppress_ragged_eofs=True) as secured:
        secured.sendall(b"EHLO x\r\n")
        assert secured.recv(3) == b"250"
        secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.file.close()


def within_a_message(client: Client) -> None:
    client.hear()
    client.socket.sendall(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
    for _ in range(3):
        client.hear()
    client.socket.sendall(b"Subject: x\r\n")
    client.reset()


def behind_too_many_errors(client: Client) -> None:
    client.hear()
    client.socket.sendall(b"what?\r\n" * 100)
    while client.hear():
        pass
    client.close()


def as_another_client(client: Client) -> None:
    client.hear()
    assert client.say(b"XCLIENT ADDR=192.0.2.9\r\n") == 220
    client.reset()


def before_the_greeting(client: Client) -> None:
    client.reset()


def serve(talk: Callable[[Sink], Awaitable[None]], policy: Policy) -> None:
    async def main() -> None:
        capabilities = Capabilities(starttls=True, xclient=True)
        async with Sink(
            TcpTarget("127.0.0.1", 0), capabilities=capabilities, policy=policy, tls=context_made_here()
        ) as sink:
            await asyncio.wait_for(talk(sink), PATIENCE_S)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_crowd_is_let_in_within_a_few_turns_of_the_loop() -> None:
    async def talk(sink: Sink) -> None:
        async def let_in(clients: int) -> int:
            """Turns until all these are sessions; they all wait when the first one is let in."""
            expected = sink.opened + clients
            sockets.extend(socket.create_connection(("127.0.0.1", port_of(sink)), PATIENCE_S) for _ in range(clients))
            turns = 0
            while sink.opened < expected:
                await asyncio.sleep(0)
                turns += 1
            return turns

        sockets: list[socket.socket] = []
        await let_in(16)
        assert await let_in(400) < 100
        for client in sockets:
            assert (await asyncio.to_thread(client.recv, 4)) == b"220 "
            client.close()
        await until(lambda: not sink.links and not sink._tasks)

    serve(talk, Policy(PolicyConfig()))


@pytest.mark.parametrize("sessions", [3, 40])
def test_clients_beyond_those_there_is_room_for_are_answered_421_and_counted(sessions: int) -> None:
    """Also those that are let in many at a time."""

    async def talk() -> None:
        async with Sink(TcpTarget("127.0.0.1", 0), max_sessions=sessions) as sink:
            clients = [Client(port_of(sink)) for _ in range(sessions + 30)]
            codes = [await asyncio.to_thread(client.hear) for client in clients]
            assert sorted(codes) == [220] * sessions + [421] * 30
            assert (len(sink.links), sink.turned_away) == (sessions, 30)
            for client in clients:
                client.close()
            await until(lambda: not sink.links)
            again = Client(port_of(sink))
            assert await asyncio.to_thread(again.hear) == 220
            again.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(talk(), PATIENCE_S))


def test_a_client_that_never_waits_is_read_from_once_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    turns = 0
    received = SinkLink.data_received

    def noted(link: SinkLink, data: bytes) -> None:
        read.append((turns, len(data)))
        received(link, data)

    async def talk(sink: Sink) -> None:
        nonlocal turns
        with socket.create_connection(("127.0.0.1", port_of(sink)), PATIENCE_S) as client:
            sent = client.send(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 1000000000 LAST\r\n")
            client.setblocking(False)
            with suppress(BlockingIOError):  # when neither side's buffer takes more
                while True:
                    sent += client.send(b"x" * 65_000)
            while sum(octets for _, octets in read) < sent:
                await asyncio.sleep(0)
                turns += 1

    monkeypatch.setattr(SinkLink, "data_received", noted)
    serve(talk, Policy(PolicyConfig()))
    full = [turn for turn, octets in read if octets >= 200_000]
    assert len(full) > 3
    assert len(set(full)) == len(full)


async def until(true: Callable[[], bool]) -> None:
    """Let the sink work until this holds; `serve` ends what waits too long."""
    while not true():  # noqa: ASYNC110  (nobody tells of what is looked at)
        await asyncio.sleep(0)


def port_of(sink: Sink) -> int:
    assert isinstance(sink.address, TcpTarget)
    return sink.address.port


@pytest.mark.parametrize(
    "leave",
    [
        before_the_handshake, within_the_handshake, hung_up_within_the_handshake, no_handshake_at_all, without_a_wait,
        behind_the_handshake, within_a_message, behind_too_many_errors, as_another_client, before_the_greeting,
    ],
)  # fmt: skip
def test_a_session_is_uncounted_however_it_ends(leave: Callable[[Client], None]) -> None:
    policy = Policy(PolicyConfig(limits=Limits(connections_per_client=100)))

    async def talk(sink: Sink) -> None:
        for _ in range(20):
            await asyncio.to_thread(lambda: leave(Client(port_of(sink))))
        await until(lambda: sink.opened == 20 and not sink.links and not len(policy.clients) and not sink._tasks)

    serve(talk, policy)


def test_a_session_that_waits_for_its_turn_is_uncounted_with_the_others() -> None:
    policy = Policy(
        PolicyConfig(limits=Limits(client_rate=RateLimit(10**6, 10**9)), faults=(parse(FaultKind.STALL, "helo:after"),))
    )

    async def talk(sink: Sink) -> None:
        def stall() -> None:
            client = Client(port_of(sink))
            client.hear()
            client.socket.sendall(b"EHLO x\r\n")
            client.reset()

        for _ in range(20):
            await asyncio.to_thread(stall)
        await until(lambda: sink.opened == 20 and not sink.links)
        assert policy.clients.enter(b"127.0.0.1").sessions == 1

    serve(talk, policy)
