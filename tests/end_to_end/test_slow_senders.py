"""Sessions that send so many octets a second: what they send arrives whole, and what they have not sent has failed."""

import asyncio
from typing import Any

import pytest

from tests.end_to_end.test_embedded_sink import assert_proven
from tests.engine.owner import Freed
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import NS_PER_S, Counts, counts, send
from tests.peers.scripted import Script, scripted
from trafficgen import Pipelining, PlanError, parse_target
from trafficgen.cli.program import call
from trafficgen.engine.fairness import Turns
from trafficgen.engine.slow_link import SlowLink
from trafficgen.errors import ExitCode
from trafficgen.plan import ShapePlan
from trafficgen.protocol.smtp.holding import HoldingSession

HALF = ShapePlan(slow_share=0.5, slow_octets_per_s=3000)
ALL = ShapePlan(slow_share=1.0, slow_octets_per_s=3000)


@pytest.mark.parametrize(
    "session", [{}, {"chunks": 2}, {"pipelining": Pipelining.OFF}], ids=["groups", "chunks", "off"]
)
def test_every_message_of_slow_and_fast_sessions_arrives_whole(session: dict[str, Any]) -> None:
    results = send(None, messages=12, sessions=6, session={"shape": HALF, "max_messages": 1, **session}, body="1kb")
    assert_proven(results, 12)
    service = results.latency_ns["service"]
    assert service is not None
    each = results.messages.bytes / 12
    assert service.max / NS_PER_S > each / 3000 - 0.2  # the first piece goes at once


def test_postfix_waits_for_them() -> None:
    with private_sink() as sink, private_postfix(sink.port) as postfix:
        results = send(postfix.port, messages=4, sessions=4, session={"shape": ALL})
        sink.wait_for(4)
    assert counts(results) == Counts(accepted=4)


class HangsUpInTheBody(Script):
    def data(self, line: str) -> None:
        self.say("354 go on")
        self.reset()


def test_a_message_whose_end_has_not_left_has_failed_and_is_not_in_doubt() -> None:
    shape = ShapePlan(slow_share=1.0, slow_octets_per_s=2000)
    with scripted(HangsUpInTheBody) as server:
        results = send(server.port, messages=2, session={"shape": shape}, body="100kb")
    assert counts(results) == Counts(failed=2)


class _Transport(asyncio.Transport):
    """Notes what is written; `whole` is done when it is so much."""

    def __init__(self, octets: int) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.whole = asyncio.get_running_loop().create_future()
        self._left = octets

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))
        self._left -= len(data)
        if not self._left:
            self.whole.set_result(None)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def test_octets_go_in_pieces_and_the_wait_for_a_reply_begins_with_the_last() -> None:
    async def pieces() -> tuple[list[bytes], list[int], list[int]]:
        session = HoldingSession.__new__(HoldingSession)
        turns = Turns(asyncio.get_running_loop().call_soon)
        link = SlowLink(session, turns, Freed(), 10_000)
        transport = link.transport = _Transport(3500)
        unsent, sent_ns = [], []
        write = transport.write

        def noted(data: Any) -> None:
            sent_ns.append(link.sent_ns)
            write(data)
            unsent.append(link._left)

        transport.write = noted  # type: ignore[method-assign]
        link._send((b"a" * 1500, b"b" * 2000))
        await transport.whole
        return transport.pieces, unsent, [*sent_ns, link.sent_ns]

    sent, unsent, sent_ns = asyncio.run(pieces())
    assert b"".join(sent) == b"a" * 1500 + b"b" * 2000
    assert list(map(len, sent)) == [1000, 1000, 1000, 500]
    assert unsent == [2500, 1500, 500, 0]
    assert sent_ns == sorted(set(sent_ns))


def test_they_go_nowhere_public_whatever_is_allowed() -> None:
    with pytest.raises(PlanError, match=r"private and link-local addresses only, and not to 192\.0\.2\.7"):
        send(parse_target("192.0.2.7"), messages=1, session={"shape": HALF}, allow_public_target=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slow-senders", "5%"], "expected SHARE:OCTETS, such as 5%:200"),
        (["--slow-senders", "110%:200"], "expected a share of 0 to 1"),
        (["--slow-senders", "5%:0"], "octets a second"),
        (["--slow-senders", "5%:200", "--trace", "1"], "expected no slow senders"),
        (["--slow-senders", "5%:200", "--target", "http://127.0.0.1/a"], "connections that are all alike"),
    ],
)
def test_what_cannot_be_is_refused(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*options, "--message-count", "1", "--dry-run"]) is ExitCode.USAGE
    assert words in capsys.readouterr().err
