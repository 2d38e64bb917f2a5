"""What a message costs the client's machine: replies in, octets out, a row in the account. No socket, no event loop.

    python -m benchmarks.wire [--rounds 20] [--write]

Gives     µs of CPU a message by how the server answers, and of the steps that have a short way; the best of several
          rounds that take turns, as other work on the machine can only add
Not here  what building a message costs (workload), and sending one (peers)
"""

import argparse
import sys
import time
from array import array
from collections.abc import Callable
from itertools import count

from benchmarks.machine import birth_certificate, write_result
from trafficgen.clock import now_ns
from trafficgen.engine.account import PHASES, WorkerAccount
from trafficgen.measure.recorder import Recorder
from trafficgen.plan import Plan, Workload
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import ROW, SessionOptions, Work
from trafficgen.protocol.smtp.layout import BY_DATA
from trafficgen.protocol.smtp.replies import ReplyReader
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.workload import Messages

_GREETING, _EHLO = b"220 server.test ESMTP\r\n", b"250-server.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
_FEEDS = 1000


def _envelope(recipients: int = 1) -> bytes:
    return b"250 2.1.0 ok\r\n" + b"250 2.1.5 ok\r\n" * recipients + b"354 go ahead\r\n"


_SAME = b"250 2.0.0 taken\r\n" + _envelope()


class _Endless:
    """The same messages again and again: what building them costs is measured elsewhere. A `smtp.seams.Source`."""

    def __init__(self, recipients: int) -> None:
        plan = Plan(max_messages=64, run_id="0" * 16, workload=Workload(recipients_per_message=((recipients, 1.0),)))
        self._messages = Messages(plan, date="Fri, 21 Nov 2025 22:55:00 +0000", layout=BY_DATA).block(0, 64)
        self._turn = count()

    def take(self, now_ns: int) -> Work | None:
        return self._messages[next(self._turn) & 63], -1

    def give_back(self, work: Work) -> None:
        pass


def _session(recipients: int) -> tuple[ClientSession, Recorder]:
    """A session whose first message is under way."""
    recorder = Recorder(4, now_ns(), open_loop=False, phases=PHASES)
    source = _Endless(recipients)
    session = ClientSession(source, WorkerAccount(recorder, print), SessionOptions(), ReplyCache())
    work = source.take(0)
    assert work is not None
    session.greet(work, 0)
    session.connected(0)
    for reply in (_GREETING, _EHLO, _envelope(recipients)):
        session.feed(reply, 0)
    return session, recorder


def _fed(answer: Callable[[int], tuple[bytes, ...]], recipients: int = 1) -> Callable[[], None]:
    """Feed a session the answers to a thousand messages."""
    session, recorder = _session(recipients)
    turns = count()

    def feed() -> None:
        for _ in range(_FEEDS):
            for piece in answer(next(turns)):
                session.feed(piece, now_ns())
        assert not session.closed
        del recorder.rows[:]

    return feed


def _repeated(step: Callable[[], object]) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(_FEEDS):
            step()

    return repeat


def measured(rounds: int) -> list[str]:
    """The table."""
    values = (123_456, 0, 3, -1, 123_456_789_012_345, -1, 123_456_789_012_399, 123_456_789_912_345, 5_400)
    rows: array[int] = array("q")
    reader, parsed = ReplyReader(), ReplyReader()
    steps = {
        "the same replies to every message": _fed(lambda _: (_SAME,)),
        "replies with a queue id": _fed(lambda n: (b"250 2.0.0 queued as %08X\r\n" % n + _envelope(),)),
        "the same, three recipients": _fed(lambda n: (b"250 2.0.0 queued as %08X\r\n" % n + _envelope(3),), 3),
        "the same replies, in two pieces": _fed(lambda _: (_SAME[:20], _SAME[20:])),
        "four replies that were read before": _repeated(lambda: reader.feed(_SAME)),
        "four replies, parsed": _repeated(lambda: parsed._parse(_SAME)),
        "a row by frombytes": _repeated(lambda: rows.frombytes(ROW(*values))),
        "a row by extend": _repeated(lambda: rows.extend(values)),
    }
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.process_time()
            step()
            best[name] = min(best[name], time.process_time() - began)
        del rows[:]
    return ["| client's machine | µs |", "|---|---|"] + [
        f"| {name} | {s / _FEEDS * 1e6:.2f} |" for name, s in best.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="what a message costs the client's machine")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/<date>-wire.md")
    options = parser.parse_args()
    lines = measured(options.rounds)
    print("\n".join(lines))
    if options.write:
        command = " ".join(["python -m benchmarks.wire", *sys.argv[1:]])
        print("written to", write_result("wire", [birth_certificate(command), "", *lines]))


if __name__ == "__main__":
    main()
