"""What comes out of a real Postfix is what was planned, octet by octet, below the trace field that it adds."""

import asyncio
import email
import re
import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mboxgen import Recipe, generate, read_mbox
from mboxgen.recipe import plan
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import PATIENCE_S, in_a_thread
from trafficgen.plan import TcpTarget
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.store.capture import Capture, CaptureFormat

FAULTS = (("leading-dot", 0.5), ("from-line", 0.5), ("missing-date", 0.2))
RECIPES = (
    Recipe(("list-2017",), count=12, seed=1),
    Recipe(("sa-spam",), count=12, seed=2),
    Recipe(("corp",), count=8, seed=3),
    Recipe(("dovecot-sample",), count=4, seed=4),
    Recipe(("spec2001",), count=8, seed=5),
    Recipe(("uniform:400-9kb",), count=12, seed=6, look="personal", faults=FAULTS),
)
# In front of a message: what the sink says of the envelope, and one trace field (RFC 5321 section 4.4) of Postfix.
TRACE = re.compile(
    rb"Return-Path: <[^\r\n]*\r\nX-Envelope-To: [^\r\n]*\r\n"
    rb"Received: from [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)+"
)


class WatchedCapture(Capture):
    """Wakes who waits for messages to be stored."""

    def __init__(self, folder: Path) -> None:
        super().__init__(CaptureFormat.FILES, folder, None)
        self.changed = threading.Condition()

    @contextmanager
    def stored(self, message: IO[bytes], sender: bytes, recipients: list[bytes]) -> Iterator[None]:
        with self.changed:
            with super().stored(message, sender, recipients):
                yield
            self.changed.notify_all()

    def wait_for(self, messages: int) -> None:
        with self.changed:
            came = self.changed.wait_for(lambda: self.messages >= messages, PATIENCE_S)
        assert came, f"expected {messages} messages, got {self.messages}"


@contextmanager
def capturing_sink(capture: Capture) -> Iterator[int]:
    """Our sink on a free port; everything that comes is stored."""
    loop = asyncio.new_event_loop()
    with in_a_thread(loop):
        sink = Sink(TcpTarget("127.0.0.1", 0), capture=capture)
        asyncio.run_coroutine_threadsafe(sink.__aenter__(), loop).result(PATIENCE_S)
        try:
            assert isinstance(sink.address, TcpTarget)
            yield sink.address.port
        finally:
            asyncio.run_coroutine_threadsafe(sink.__aexit__(None, None, None), loop).result(PATIENCE_S)


def test_every_message_through_postfix_has_the_planned_octets(tmp_path: Path) -> None:
    sent: dict[str, bytes] = {}
    for number, recipe in enumerate(RECIPES):
        path = tmp_path / f"{number}.mbox"
        generate(recipe, path)
        messages = list(read_mbox(path))
        assert [len(message) for message in messages] == plan.make(recipe).sizes(0).tolist()
        sent.update({identity_of(message): message for message in messages})
    capture = WatchedCapture(tmp_path / "stored")
    # Postfix gives headers what they lack when it takes mail for that of its own users; here it is a relay.
    settings = "local_header_rewrite_clients ="
    with capturing_sink(capture) as port, private_postfix(port, settings) as postfix:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=PATIENCE_S) as client:
            for message in sent.values():
                assert client.sendmail("a@sender.example", ["b@rcpt.example"], message, ["BODY=8BITMIME"]) == {}
        capture.wait_for(len(sent))
    found = {}
    for file in (tmp_path / "stored").iterdir():
        octets = file.read_bytes()
        trace = TRACE.match(octets)
        assert trace is not None, octets[:400]
        found[identity_of(octets)] = octets[trace.end() :]
    assert found == sent
    assert len(sent) == 56


def identity_of(message: bytes) -> str:
    return str(email.message_from_bytes(message)["Message-ID"])
