"""A store that misbehaves on purpose: LMTP, IMAP and POP3 over the same mailboxes, a thread for each session.

A test overrides what is to go wrong: a method for each command of IMAP and POP3, `deliver` for mail that comes in.
"""

import contextlib
import re
import select
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CAPABILITIES = "IMAP4rev1 IDLE MOVE UIDPLUS LITERAL+"


class HangUp(Exception):  # noqa: N818  (how a script ends its session, not an error)
    """The session ends."""


class Store:
    """Mailboxes by name, in memory; each a list of (UID, octets)."""

    capabilities = CAPABILITIES
    folders: tuple[str, ...] = ("INBOX",)
    uid_validity = 7

    def __init__(self) -> None:
        self.mail: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.next_uid: dict[str, int] = defaultdict(lambda: 1)
        self.lock = threading.Lock()
        self.said: list[str] = []
        self.sessions = 0

    def deliver(self, user: str, octets: bytes) -> str:
        """A message for a user; the reply."""
        self.add(user, octets)
        return "250 2.0.0 saved"

    def add(self, user: str, octets: bytes) -> None:
        with self.lock:
            self.mail[user].append((self.next_uid[user], octets))
            self.next_uid[user] += 1

    def send(self, peer: socket.socket, octets: bytes) -> None:
        peer.sendall(octets)


class Session:
    """One connection."""

    def __init__(self, store: Store, peer: socket.socket) -> None:
        self.store, self.peer = store, peer
        self.lines = peer.makefile("rb")
        self.user = ""

    def say(self, text: str | bytes) -> None:
        self.store.send(self.peer, (text.encode() if isinstance(text, str) else text) + b"\r\n")

    def read(self) -> str:
        line = self.lines.readline()
        if not line:
            raise HangUp
        return line.decode().rstrip("\r\n")


class LmtpSession(Session):
    offers = "250 lmtp"
    rcpt = "250 ok"

    def run(self) -> None:
        self.say("220 lmtp")
        while True:
            line = self.read()
            self.store.said.append(line)
            if line.startswith("LHLO"):
                self.say(self.offers)
            elif line.startswith("RCPT"):
                self.user = line.partition("<")[2].partition(">")[0]
                self.say(self.rcpt)
            elif line == "DATA" and not self.rcpt.startswith("2"):
                self.say("503 5.5.1 no recipient")  # RFC 2033 section 4.2
            elif line == "DATA":
                self.say("354 go")
                octets = b""
                while (data := self.lines.readline()) != b".\r\n":
                    octets += data.removeprefix(b".") if data.startswith(b"..") else data
                self.say(self.store.deliver(self.user, octets))
            elif line == "QUIT":
                raise HangUp
            else:
                self.say("250 ok")


class Pop3Session(Session):
    def run(self) -> None:
        self.listed: list[tuple[int, bytes]] = []
        self.deleted: set[int] = set()
        self.say("+OK pop3")
        while True:
            command, _, argument = self.read().partition(" ")
            getattr(self, f"on_{command.lower()}")(argument)

    def on_user(self, argument: str) -> None:
        self.user = argument
        self.say("+OK")

    def on_pass(self, _argument: str) -> None:
        with self.store.lock:
            self.listed = list(self.store.mail[self.user])
        self.say("+OK")

    def on_uidl(self, _argument: str) -> None:
        self.say("+OK\r\n" + "".join(f"{n} u{uid}\r\n" for n, (uid, _) in enumerate(self.listed, 1)) + ".")

    def on_retr(self, argument: str) -> None:
        octets = self.listed[int(argument) - 1][1]
        self.say(b"+OK\r\n" + re.sub(rb"(?m)^\.", b"..", octets) + b".")

    def on_dele(self, argument: str) -> None:
        self.deleted.add(self.listed[int(argument) - 1][0])
        self.say("+OK")

    def on_quit(self, _argument: str) -> None:
        with self.store.lock:
            self.store.mail[self.user] = [each for each in self.store.mail[self.user] if each[0] not in self.deleted]
        self.say("+OK")
        raise HangUp


class ImapSession(Session):
    def run(self) -> None:
        self.view: list[tuple[int, bytes]] = []
        self.say(f"* OK [CAPABILITY {self.store.capabilities}] imap")
        while True:
            self.tag, _, rest = self.read().partition(" ")
            command, _, argument = rest.partition(" ")
            if command == "UID":
                command, _, argument = argument.partition(" ")
                command = f"uid_{command}"
            self.store.said.append(command.upper())
            getattr(self, f"on_{command.lower()}")(argument)

    def ok(self, text: str = "done") -> None:
        self.say(f"{self.tag} OK {text}")

    def on_capability(self, _argument: str) -> None:
        self.say(f"* CAPABILITY {self.store.capabilities}")
        self.ok()

    def on_login(self, argument: str) -> None:
        self.user = argument.split(" ")[0]
        self.ok()

    def on_list(self, _argument: str) -> None:
        for folder in self.store.folders:
            self.say(f'* LIST () "." {folder}')
        self.ok()

    def on_create(self, argument: str) -> None:
        self.store.folders = (*self.store.folders, argument)
        self.ok()

    def on_select(self, _argument: str) -> None:
        self.refresh()
        self.say(f"* {len(self.view)} EXISTS\r\n* OK [UIDVALIDITY {self.store.uid_validity}] x")
        self.say(f"* OK [UIDNEXT {self.store.next_uid[self.user]}] x")
        self.ok()

    def refresh(self) -> bool:
        with self.store.lock:
            now = list(self.store.mail[self.user])
        for number in range(len(self.view), 0, -1):
            if self.view[number - 1] not in now:
                self.say(f"* {number} EXPUNGE")
                del self.view[number - 1]
        grown = len(now) > len(self.view)
        self.view = now
        return grown

    def announce(self) -> None:
        if self.refresh():
            self.say(f"* {len(self.view)} EXISTS")

    def on_noop(self, _argument: str) -> None:
        self.announce()
        self.ok()

    def on_status(self, argument: str) -> None:
        self.say(f"* STATUS {argument.split(' ')[0]} (MESSAGES 0)")
        self.ok()

    def on_idle(self, _argument: str) -> None:
        self.say("+ idling")
        while not select.select([self.peer], [], [], 0.02)[0]:
            self.announce()
        assert self.read() == "DONE"
        self.ok()

    def on_fetch(self, argument: str) -> None:
        first = int(argument.partition(":")[0])
        self.fetch([uid for uid, _ in self.view[first - 1 :]], argument)

    def on_uid_fetch(self, argument: str) -> None:
        first, colon, _ = argument.split(" ")[0].partition(":")
        uids = [uid for uid, _ in self.view]
        self.fetch([uid for uid in uids if uid == int(first) or (colon and uid >= int(first))] or uids[-1:], argument)

    def fetch(self, uids: list[int], argument: str) -> None:
        for number, (uid, octets) in enumerate(self.view, 1):
            if uid in uids:
                self.say(b"* %d FETCH (UID %d FLAGS () %s)" % (number, uid, self.content(octets, argument)))
        self.ok()

    def content(self, octets: bytes, argument: str) -> bytes:
        if "X-Traffic-Gen" not in argument:
            return b"BODY[] {%d}\r\n%s" % (len(octets), octets)
        header = b"".join(re.findall(rb"X-Traffic-Gen: .*\r\n", octets)) + b"\r\n"
        return b"BODY[HEADER.FIELDS (X-Traffic-Gen)] {%d}\r\n%s" % (len(header), header)

    def on_uid_store(self, _argument: str) -> None:
        self.ok()

    def remove(self, argument: str) -> None:
        with self.store.lock:
            uid = int(argument.split(" ")[0])
            self.store.mail[self.user] = [each for each in self.store.mail[self.user] if each[0] != uid]
        self.announce()

    def on_uid_expunge(self, argument: str) -> None:
        self.remove(argument)
        self.ok()

    def on_uid_move(self, argument: str) -> None:
        self.say(f"* OK [COPYUID 1 {argument.split(' ')[0]} 1] moved")
        self.on_uid_expunge(argument)

    def on_uid_copy(self, argument: str) -> None:
        self.ok(f"[COPYUID 1 {argument.split(' ')[0]} 1] copied")

    def on_append(self, argument: str) -> None:
        self.lines.read(int(argument.rpartition("{")[2].rstrip("+}")) + 2)
        self.ok()

    def on_logout(self, _argument: str) -> None:
        self.say("* BYE bye")
        self.ok()
        raise HangUp


def bound(port: int) -> socket.socket:
    """A socket that holds a port, at which nobody listens yet: who connects is refused."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    return server


@contextmanager
def listening(make: Callable[[socket.socket], Session], server: socket.socket | None = None) -> Iterator[int]:
    """The port at which sessions like this are served. `server`: a socket that has one already."""
    server = server or bound(0)
    server.listen(200)
    peers: list[socket.socket] = []

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(HangUp, OSError, ValueError), peer:
            make(peer).run()  # type: ignore[attr-defined]

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = server.accept()
                peer.settimeout(60)
                peers.append(peer)
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        thread.join(5)
