"""What the wire of mailbox users costs: CPU per command and octets per idle session, without sockets.

    python -m benchmarks.mailbox [--rounds N]

Each figure is the best of several rounds of CPU time (process_time), on octets that lie ready: what a server says is
fed in pieces of 64 KiB, as they come from a socket. Sockets, the loop and the server are not in it.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

from trafficgen.mailbox.marks import MessageReader
from trafficgen.proof import trace_header
from trafficgen.protocol.imap.client import ImapSession
from trafficgen.protocol.imap.commands import ImapCommand as Imap
from trafficgen.protocol.pop3.client import Pop3Session
from trafficgen.protocol.pop3.commands import Pop3Command as Pop3

_PIECE = 64 * 1024
_COMMANDS = 500


def message(octets: int) -> bytes:
    """A message with a mark, CRLF line ends."""
    body = b"x" * 76 + b"\r\n"
    body = body * (octets // len(body))
    return trace_header.render("0" * 16, 1, 0) + b"Subject: x\r\n\r\n" + body


def pop3(octets: int) -> Callable[[], None]:
    """RETR and DELE of one message after another."""
    retrieved = b"+OK\r\n" + message(octets) + b".\r\n"

    def work() -> None:
        session = Pop3Session()
        session.feed(b"+OK\r\n", 0)
        for command in (Pop3.USER, Pop3.PASS):
            session.send(command, "x", now_ns=0)
        session.feed(b"+OK\r\n+OK\r\n", 0)
        for number in range(1, _COMMANDS + 1):
            reader = MessageReader()
            session.send(Pop3.RETR, str(number), now_ns=0, content=reader)
            feed(session, retrieved)
            assert reader.mark is not None
            session.send(Pop3.DELE, str(number), now_ns=0)
            session.feed(b"+OK\r\n", 0)
            session.out.clear()

    return work


def imap(octets: int) -> Callable[[], None]:
    """UID FETCH of one body after another."""
    body = message(octets)

    def work() -> None:
        readers: list[MessageReader] = []

        def take(_line: bytes) -> MessageReader:
            readers.append(MessageReader())
            return readers[-1]

        session = ImapSession(content=take)
        session.feed(b"* PREAUTH [CAPABILITY IMAP4rev1] x\r\n", 0)
        session.send(Imap.SELECT, b"INBOX", now_ns=0)
        session.feed(b"* 9 EXISTS\r\na1 OK x\r\n", 0)
        for number in range(2, _COMMANDS + 2):
            session.send(Imap.UID_FETCH, b"5", b"(UID BODY.PEEK[])", now_ns=0)
            feed(session, b"* 1 FETCH (UID 5 BODY[] {%d}\r\n%s)\r\na%d OK done\r\n" % (len(body), body, number))
            session.out.clear()
        assert len(readers) == _COMMANDS
        assert session.waiting == 0

    return work


def feed(session: Pop3Session | ImapSession, octets: bytes) -> None:
    """In pieces, as from a socket."""
    for begin in range(0, len(octets), _PIECE):
        session.feed(octets[begin : begin + _PIECE], 0)


def cpu_s(work: Callable[[], None], rounds: int) -> float:
    """The best of some rounds."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def idle_octets(sessions: int) -> float:
    """Memory of an IMAP session that idles, each."""
    tracemalloc.start()
    kept = []
    for _ in range(sessions):
        session = ImapSession()
        session.feed(b"* PREAUTH [CAPABILITY IMAP4rev1 IDLE] x\r\n", 0)
        session.idle(0)
        session.feed(b"+ idling\r\n", 0)
        session.out.clear()
        kept.append(session)
    octets = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return octets


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{'what':44} {'CPU, µs each':>14} {'per core and s':>16}")
    for size in (5_000, 100_000):
        for name, work in (
            (f"POP3 RETR of {size} octets and DELE", pop3(size)),
            (f"IMAP FETCH of {size} octets", imap(size)),
        ):
            each = cpu_s(work, rounds) / _COMMANDS
            print(f"{name:44} {each * 1e6:14.1f} {1 / each:16,.0f}")
    print(f"{'octets of an idle IMAP session, no socket':44} {idle_octets(10_000):14,.0f}")


if __name__ == "__main__":
    main()
