"""A scripted IMAP and POP3 server for the benchmark of mailbox users: as little work as possible for each command.

    python -m benchmarks.mailbox_server [MAILS]    prints its two ports, serves until its standard input ends

An inbox always has so many messages (10) of `OCTETS` octets, none with a mark: whoever expunges one finds another at
its end, and POP3 has new unique-ids at each visit. It offers what Dovecot does, and answers each line by itself.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

from trafficgen.host.limits import raise_open_files

MAILS: Final = int(sys.argv[1]) if sys.argv[1:] else 10
OCTETS: Final = 5_000
_BODY: Final = (b"Subject: x\r\n\r\n" + (b"x" * 76 + b"\r\n") * (OCTETS // 78))[:OCTETS].ljust(OCTETS, b"\n")
_CAPABILITY: Final = b"IMAP4rev1 IDLE MOVE UIDPLUS LITERAL+"
_NO_FIELDS: Final = b"BODY[HEADER.FIELDS (X-Traffic-Gen)] {2}\r\n\r\n"
_WHOLE: Final = b"BODY[] {%d}\r\n%s" % (OCTETS, _BODY)
_RETRIEVED: Final = b"+OK\r\n" + _BODY.rstrip() + b"\r\n.\r\n"


class _Session(asyncio.Protocol):
    greeting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.rest = b""
        self.transport.write(self.greeting)

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        answer = b"".join(map(self.answer, lines))
        if answer:
            self.transport.write(answer)

    def answer(self, line: bytes) -> bytes:
        raise NotImplementedError


class Imap(_Session):
    """One session; UIDs from `first` to `first` + MAILS - 1."""

    greeting = b"* OK [CAPABILITY %s] here\r\n" % _CAPABILITY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.uids = list(range(1, MAILS + 1))
        self.tag = b""
        super().connection_made(transport)

    def answer(self, line: bytes) -> bytes:
        if line == b"DONE":
            return self.tag + b" OK done\r\n"
        tag, command, *words = line.split(b" ")
        said = b""
        if command == b"UID":
            command, *words = words
            if command == b"FETCH":
                said = self.fetch(words)
            elif command == b"EXPUNGE":
                said = self.expunge(int(words[0]))
        elif command == b"FETCH":
            said = self.fetch([b"%d:*" % self.uids[int(words[0].partition(b":")[0]) - 1], *words[1:]])
        elif command == b"IDLE":
            self.tag = tag
            return b"+ idling\r\n"
        elif command == b"SELECT":
            said = b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT %d] x\r\n" % (
                MAILS,
                (self.uids[-1] if MAILS else 0) + 1,
            )
        elif command == b"LIST":
            said = b'* LIST () "/" INBOX\r\n'
        elif command == b"LOGOUT":
            said = b"* BYE\r\n"
        return said + tag + b" OK done\r\n"

    def fetch(self, words: list[bytes]) -> bytes:
        first, colon, _ = words[0].partition(b":")
        low = int(first)
        asked = [place for place, uid in enumerate(self.uids, 1) if (uid >= low if colon else uid == low)]
        item = _NO_FIELDS if b"HEADER.FIELDS" in b" ".join(words) else _WHOLE
        return b"".join(
            b"* %d FETCH (UID %d FLAGS () %s)\r\n" % (place, self.uids[place - 1], item)
            for place in asked or ([MAILS] if colon else [])
        )

    def expunge(self, uid: int) -> bytes:
        if uid not in self.uids:
            return b""
        place = self.uids.index(uid) + 1
        self.uids.append(self.uids[-1] + 1)
        del self.uids[place - 1]
        return b"* %d EXPUNGE\r\n* %d EXISTS\r\n" % (place, MAILS)


class Pop3(_Session):
    """One visit."""

    greeting = b"+OK here\r\n"
    visits = 0

    def answer(self, line: bytes) -> bytes:
        if line.startswith(b"RETR"):
            return _RETRIEVED
        if line == b"UIDL":
            Pop3.visits += 1
            mails = b"".join(b"%d %d.%d\r\n" % (number, self.visits, number) for number in range(1, MAILS + 1))
            return b"+OK\r\n" + mails + b".\r\n"
        return b"+OK\r\n"


async def serve() -> None:
    """Until nobody is there to serve."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(kind, "127.0.0.1", 0, backlog=4096) for kind in (Imap, Pop3)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    raise_open_files(20_000)
    uvloop.run(serve())
