"""A sender that only moves the octets of a conversation: the floor under every sender.

    python -m benchmarks.bare PORT COUNT OCTETS [--mode kept|churn|lock-step] [--sessions 20]

Sends    the same ready message again and again over plain epoll. It looks at nothing but whether it may go on;
         nothing is built, parsed, proved or recorded
Modes    kept: the end of a message and the next envelope in one write (RFC 2920); churn: a session for every message;
         lock-step: a command, then its reply
"""

import argparse
import select
import socket
from typing import Final

_COMMANDS: Final = (b"MAIL FROM:<a@bench.test>\r\n", b"RCPT TO:<b@bench.test>\r\n", b"DATA\r\n")
_ENVELOPE: Final = b"".join(_COMMANDS)
_LINE: Final = b"x" * 76 + b"\r\n"
MODES: Final = ("kept", "churn", "lock-step")


class _Sender:
    """One connection: what it sends in turns, and what it waits for."""

    def __init__(self, port: int, octets: int, mode: str) -> None:
        message = b"Subject: bare\r\n\r\n" + _LINE * (octets // len(_LINE)) + b".\r\n"
        opening, turns = [b"EHLO bench.test\r\n", _ENVELOPE], [message + _ENVELOPE]
        if mode == "churn":
            turns = [message + b"QUIT\r\n"]
        if mode == "lock-step":
            opening, turns = opening[:1] + list(_COMMANDS), [message, *_COMMANDS]
        self._opening, self._turns = opening, [memoryview(turn) for turn in turns]
        self._turn = 0
        self._unsent = memoryview(b"")
        self.peer = socket.create_connection(("127.0.0.1", port))
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer.setblocking(False)

    def go_on(self) -> bytes:
        """Send what comes next; returns what was said."""
        if self._unsent:
            self._send(self._unsent)
            return b""
        said = self.peer.recv(65_536)
        if self._opening:
            self._send(memoryview(self._opening.pop(0)))
        elif len(self._turns) > 1 or b"354" in said:
            self._send(self._turns[self._turn])
            self._turn = (self._turn + 1) % len(self._turns)
        return said

    def _send(self, octets: memoryview) -> None:
        try:
            self._unsent = octets[self.peer.send(octets) :]
        except BlockingIOError:
            self._unsent = octets

    @property
    def events(self) -> int:
        """What it waits for."""
        return select.EPOLLOUT if self._unsent else select.EPOLLIN


def send(port: int, count: int, octets: int, mode: str, sessions: int) -> None:
    """Bring `count` messages to the sink at this port."""
    poll = select.epoll()
    links: dict[int, tuple[_Sender, int]] = {}

    def open_one() -> None:
        link = _Sender(port, octets, mode)
        links[link.peer.fileno()] = (link, select.EPOLLIN)
        poll.register(link.peer.fileno(), select.EPOLLIN)

    for _ in range(sessions):
        open_one()
    # A kept session's first 354 answers no message.
    taken = 0 if mode == "churn" else -sessions
    while taken < count:
        for fd, _ in poll.poll():
            link, waiting_for = links[fd]
            said = link.go_on()
            if mode != "churn":
                taken += b"354" in said
            elif b"221" in said:
                taken += 1
                del links[fd]
                link.peer.close()
                if taken + len(links) < count:
                    open_one()
                continue
            if link.events != waiting_for:
                links[fd] = (link, link.events)
                poll.modify(fd, link.events)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("octets", type=int)
    parser.add_argument("--mode", choices=MODES, default="kept")
    parser.add_argument("--sessions", type=int, default=20)
    asked = parser.parse_args()
    send(asked.port, asked.count, asked.octets, asked.mode, asked.sessions)
