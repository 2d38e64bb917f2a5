"""A server that misbehaves on purpose: a thread for each session, a script for each fault.

A script is a class: every method answers one command, and a test overrides the one that is to go wrong. Sockets have a
time limit, so that a test that waits for something that never comes fails instead of hanging.
"""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 60.0


class HangUp(Exception):  # noqa: N818  (how a script ends its session, not an error)
    """The script closes the connection."""


class Script:
    """A polite server. `session` counts sessions from 0, `taken` the messages of this one."""

    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")

    def __init__(self, peer: socket.socket, session: int) -> None:
        self.peer = peer
        self.lines = peer.makefile("rb")
        self.session = session
        self.taken = 0

    def say(self, text: str) -> None:
        self.peer.sendall(text.encode() + b"\r\n")

    def hang_up(self) -> None:
        raise HangUp

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise HangUp

    def stay_silent(self) -> None:
        """Never answer; returns when the client has hung up."""
        while self.lines.readline():
            pass
        raise HangUp

    def run(self) -> None:
        self.greet()
        answers: dict[bytes, Callable[[str], None]] = {
            b"EHLO": self.ehlo, b"HELO": self.helo, b"MAIL": self.mail, b"RCPT": self.rcpt, b"DATA": self.data,
            b"RSET": self.rset, b"QUIT": self.quit,
        }  # fmt: skip
        while line := self.lines.readline():
            answers.get(line[:4], self.unknown)(line.decode("ascii", "backslashreplace").strip())

    def greet(self) -> None:
        self.say("220 scripted.test ESMTP")

    def ehlo(self, line: str) -> None:
        words = ["scripted.test", *self.extensions]
        self.say("\r\n".join([*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}"]))

    def helo(self, line: str) -> None:
        self.say("250 scripted.test")

    def mail(self, line: str) -> None:
        self.say("250 2.1.0 ok")

    def rcpt(self, line: str) -> None:
        self.say("250 2.1.5 ok")

    def data(self, line: str) -> None:
        self.say("354 go ahead")
        self.read_message()
        self.taken += 1
        self.end_of_data()

    def read_message(self) -> None:
        while (line := self.lines.readline()) != b".\r\n":
            if not line:
                raise HangUp

    def end_of_data(self) -> None:
        self.say("250 2.0.0 taken")

    def rset(self, line: str) -> None:
        self.say("250 2.0.0 ok")

    def quit(self, line: str) -> None:
        self.say("221 2.0.0 bye")
        raise HangUp

    def unknown(self, line: str) -> None:
        self.say("500 5.5.2 what?")


class ScriptedServer:
    """Plays the script to every client of a listener, or of a free loopback port. `sessions`: how many there were."""

    def __init__(self, script: type[Script], listener: socket.socket | None = None) -> None:
        self._script = script
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1] if listener is None else 0
        self._numbers = itertools.count()
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._faults: list[BaseException] = []
        self.sessions = 0

    def start(self) -> None:
        self._threads[0].start()

    def stop(self) -> None:
        """Hang up on everybody; raises what went wrong in a script, if anything did."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(PATIENCE_S)
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        if self._faults:
            raise self._faults[0]

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.settimeout(PATIENCE_S)
            self.sessions += 1
            self._peers.append(peer)
            thread = threading.Thread(target=self._play, args=(peer, next(self._numbers)), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, peer: socket.socket, number: int) -> None:
        script = self._script(peer, number)
        try:
            script.run()
        except (HangUp, OSError):
            pass
        except BaseException as fault:
            self._faults.append(fault)
        finally:
            script.lines.close()
            peer.close()


@contextmanager
def scripted(script: type[Script]) -> Iterator[ScriptedServer]:
    """A scripted server for the length of a `with`."""
    server = ScriptedServer(script)
    server.start()
    try:
        yield server
    finally:
        server.stop()
