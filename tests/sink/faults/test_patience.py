"""Clients that are silent, or busy without getting anywhere, do not stay for ever; those that wait for us do."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from tests.sink.policy.sessions import policy_of
from trafficgen.plan import TcpTarget
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import parse
from trafficgen.sink.policy.policy import Policy

Talk = Callable[[Sink, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ENVELOPE = b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"


def converse(talk: Talk, policy: Policy | None = None) -> None:
    """One client of a sink; it has read the greeting."""

    async def run() -> None:
        async with Sink(TcpTarget("127.0.0.1", 0), policy=policy) as sink:
            assert isinstance(sink.address, TcpTarget)
            reader, writer = await asyncio.open_connection("127.0.0.1", sink.address.port)
            assert (await reader.readline()).startswith(b"220")
            try:
                await talk(sink, reader, writer)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
                for link in list(sink.links):
                    link.abort()
                while sink.links:  # noqa: ASYNC110  (until the loop has told the links)
                    await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 60))


def sweep(sink: Sink, times: int, *, idle: int = 2, total: int = 1000) -> None:
    for _ in range(times):
        for link in list(sink.links):
            link.sweep(idle, total)


def test_a_silent_client_is_told_and_hung_up_on() -> None:
    async def talk(sink: Sink, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        sweep(sink, 3)
        assert await reader.read() == b"421 4.4.2 idle for too long\r\n"

    converse(talk)


def test_a_client_that_says_something_now_and_then_stays_until_the_other_limit() -> None:
    async def talk(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(10):
            sweep(sink, 1, idle=1, total=10)
            writer.write(b"NOOP\r\n")
            assert (await reader.readline()).startswith(b"250")
        sweep(sink, 1, idle=1, total=10)
        assert (await reader.read()).startswith(b"421")

    converse(talk)


def test_a_client_in_the_middle_of_its_message_is_hung_up_on_without_a_word() -> None:
    async def talk(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ENVELOPE + b"Subject: slow")
        assert [(await reader.readline())[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        sweep(sink, 3)
        assert await reader.read() == b""
        assert sink.received == 0

    converse(talk)


@pytest.mark.parametrize("where", ["dot:after", "data:after"])
def test_a_stalled_session_ends_as_well(where: str) -> None:
    async def talk(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ENVELOPE + b"x\r\n.\r\n")
        assert [(await reader.readline())[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        sweep(sink, 3)
        assert await reader.read() == b""

    converse(talk, policy_of(faults=[parse(FaultKind.STALL, where)]))


def test_a_client_that_waits_for_us_is_not_hung_up_on() -> None:
    async def talk(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"MAIL FROM:<a@b.c>\r\n")
        while not any(link._timer for link in sink.links):  # noqa: ASYNC110
            await asyncio.sleep(0)
        sweep(sink, 10)
        assert (await reader.readline()).startswith(b"250")

    converse(talk, policy_of(faults=[parse(FaultKind.DELAY, "mail:50ms")]))
