"""A sink ends in good order: after as many messages as it was told, and with a last reply to each session."""

import asyncio
import resource
import smtplib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.sink.sink_process import sink_process
from trafficgen.cli.program import call
from trafficgen.cli.sink import command, sink_config_of
from trafficgen.errors import ExitCode
from trafficgen.plan import TcpTarget
from trafficgen.sink.listen.certificate import context_made_here
from trafficgen.sink.listen.server import Sink

PATIENCE_S = 60
MAIL = "From: <me@a.test>\r\nSubject: x\r\n\r\nhello\r\n"


def rest_of(said: bytes, *, more: bytes = b"", secure: bool = False) -> tuple[bytes, int]:
    """What a client that says this still hears when its sink ends; then it says `more`. How many were accepted."""

    async def main() -> tuple[bytes, int]:
        tls = context_made_here() if secure else None
        async with Sink(TcpTarget("127.0.0.1", 0), tls=tls, tls_at_once=secure) as sink:
            assert isinstance(sink.address, TcpTarget)
            context = ssl._create_unverified_context() if secure else None
            reader, writer = await asyncio.open_connection(sink.address.host, sink.address.port, ssl=context)
            await reader.readline()
            writer.write(said + b"NOOP\r\n" if not said.endswith(b"half") else said)
            await reader.readuntil(b"354 " if said.endswith(b"half") else b"250 2.0.0")
            await reader.readline()
            ending = asyncio.create_task(sink.dismiss())
            last = await reader.readline()
            writer.write(more)
            rest = await reader.read()  # raises when the connection was reset
            writer.close()
            await ending
            assert not sink.links
            return last + rest, sink.received

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(), PATIENCE_S))


@pytest.mark.parametrize("secure", [False, True])
def test_a_session_that_waits_is_answered_421(secure: bool) -> None:
    assert rest_of(b"", secure=secure) == (b"421 4.3.2 the sink ends\r\n", 0)


def test_what_is_said_after_the_421_counts_for_nothing_and_resets_nothing() -> None:
    message = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n"
    assert rest_of(b"", more=message) == (b"421 4.3.2 the sink ends\r\n", 0)


def test_a_message_under_way_is_answered_421_and_not_accepted() -> None:
    begun = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nhalf"
    assert rest_of(begun, more=b" a message\r\n.\r\n" * 10_000) == (b"421 4.3.2 the sink ends\r\n", 0)


def test_a_client_that_does_not_hang_up_is_waited_for_no_longer_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trafficgen.sink.listen.server._FAREWELL_S", 0.0)

    async def main() -> None:
        async with Sink(TcpTarget("127.0.0.1", 0)) as sink:
            assert isinstance(sink.address, TcpTarget)
            with socket.create_connection((sink.address.host, sink.address.port)) as client:
                assert (await asyncio.to_thread(client.recv, 4)) == b"220 "
                await sink.dismiss()
                assert len(sink.links) == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), PATIENCE_S))


def ended_by_itself(folder: Path, *options: str, ledgers: Callable[[], list[Path]]) -> str:
    """Three messages of a session each, and one session that only waits; what the sink says at its end."""
    with (
        sink_process("127.0.0.1:0", "--message-count", "3", "--ledger", str(folder / "ledger"), *options) as sink,
        smtplib.SMTP("127.0.0.1", sink.port, "client.test", timeout=PATIENCE_S) as waiting,
    ):
        waiting.ehlo()
        for _ in range(3):
            with smtplib.SMTP("127.0.0.1", sink.port, "client.test", timeout=PATIENCE_S) as client:
                assert client.sendmail("me@a.test", ["you@b.test"], MAIL) == {}
        assert waiting.getreply()[0] == 421
        waiting.close()
        said = sink.lines.read()
        assert sink.process.wait(PATIENCE_S) == 0
    lines = [line for ledger in ledgers() for line in ledger.read_bytes().splitlines()]
    assert len([line for line in lines if b" + " in line]) == 3
    return said


def test_a_sink_ends_after_as_many_messages_as_it_was_told(tmp_path: Path) -> None:
    kept = tmp_path / "kept.mbox"
    said = ended_by_itself(tmp_path, "--capture", f"mbox:{kept}", ledgers=lambda: [tmp_path / "ledger"])
    assert "3 messages accepted" in said
    assert kept.read_bytes().count(b"\nSubject: x") == 3


@pytest.mark.parametrize(
    ("variable", "expected"), [("TRAFFIC_GEN_MESSAGE_COUNT", None), ("TRAFFIC_GEN_SINK_MESSAGE_COUNT", 3)]
)
def test_what_a_send_is_told_by_the_environment_does_not_end_the_sink_beside_it(
    variable: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "3")
    with command.make_context("sink", ["2525"]) as context:
        assert sink_config_of(TcpTarget("127.0.0.1", 2525), context.params).messages == expected


def test_several_processes_count_together(tmp_path: Path) -> None:
    said = ended_by_itself(tmp_path, "--workers", "2", ledgers=lambda: sorted(tmp_path.glob("ledger*")))
    assert "3 messages accepted" in said
    assert "error" not in said


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_where_next_to_no_files_may_be_open_it_says_so(
    workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 40))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert call(["sink", "0", *workers]) is ExitCode.FAILED
    assert capsys.readouterr().err == (
        "traffic-gen: cannot start a sink: a process may open 40 files; raise the limit (ulimit -n)\n"
    )


def test_a_socket_that_a_killed_sink_left_behind_is_said_to_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    assert call(["sink", f"unix:{tmp_path / 's'}"]) is ExitCode.FAILED
    assert "the file is there; remove it where no server listens on it, or name another" in capsys.readouterr().err
