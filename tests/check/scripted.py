"""Servers that give the answers they are told, for verdicts that no real server can be brought to."""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

_PATIENCE_S: Final = 60.0

SMTP: Final = {
    "": "220 mail.lab.test ESMTP",
    "EHLO": "250-mail.lab.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 STARTTLS",
    "HELO": "250 mail.lab.test",
    "STARTTLS": "220 go ahead",
    "AUTH": "503 5.5.1 not enabled",
    "MAIL": "250 ok",
    "RCPT": "550 5.7.1 Relay access denied",
    "RSET": "250 ok",
    "NOOP": "250 ok",
    "VRFY": "252 maybe",
    "EXPN": "502 no",
    "QUIT": "221 bye",
    "DATA": "354 go ahead",
    "other": "500 what?",
}
POP3: Final = {
    "": "+OK ready",
    "CAPA": "+OK\r\nTOP\r\nUIDL\r\nSTLS\r\n.",
    "STLS": "+OK begin",
    "USER": "+OK",
    "PASS": "+OK",
    "STAT": "+OK 1 100",
    "LIST": "+OK\r\n1 100\r\n.",
    "UIDL": "+OK\r\n1 a\r\n.",
    "RETR": "+OK\r\nshort\r\n.",
    "TOP": "+OK\r\nSubject: x\r\n.",
    "other": "-ERR what?",
}
IMAP: Final = {
    "": "* OK ready",
    "CAPABILITY": "* CAPABILITY IMAP4rev1 STARTTLS\r\n{tag} OK done",
    "STARTTLS": "{tag} OK begin",
    "LOGIN": "{tag} OK in",
    "LIST": "{tag} OK done",
    "EXAMINE": "* 1 EXISTS\r\n{tag} NO no such mailbox",
    "FETCH": "{tag} OK done",
    "UID": "* SEARCH\r\n{tag} OK done",
    "other": "{tag} BAD what?",
}


@contextmanager
def serving(
    answers: Mapping[str, str], tls: ssl.SSLContext | None = None, *, at_once: bool = False, inside: str = ""
) -> Iterator[int]:
    """A server on a free port. `answers`: first word of a line (IMAP: behind the tag) → answer; "" greets.

    `tls`: after a word that asks for it, or `at_once`; `inside` is said right behind the handshake, unasked.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=talk, args=(peer,))
            thread.start()
            threads.append(thread)

    def talk(peer: socket.socket) -> None:
        peer.settimeout(_PATIENCE_S)
        secured = at_once
        with suppress(OSError):
            if at_once and tls is not None:
                peer = tls.wrap_socket(peer, server_side=True)
            _say(peer, answers[""])
            pending = b""
            while True:
                while b"\n" not in pending:
                    if not (more := peer.recv(4096)):
                        peer.close()
                        return
                    pending += more
                line, _, pending = pending.partition(b"\n")
                words = line.decode("utf-8", "replace").strip().split(" ")
                imap = answers[""].startswith("*")
                name = (words[1] if imap and len(words) > 1 else words[0]).upper()
                _say(peer, answers.get(name, answers["other"]).replace("{tag}", words[0]))
                if name in ("STARTTLS", "STLS") and tls is not None and not secured:
                    peer, pending, secured = tls.wrap_socket(peer, server_side=True), b"", True
                    if inside:
                        _say(peer, inside)
        peer.close()

    main = threading.Thread(target=serve)
    main.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [main, *threads]:
            thread.join(_PATIENCE_S)


def _say(peer: socket.socket, text: str) -> None:
    if text:
        peer.sendall(f"{text}\r\n".encode())
