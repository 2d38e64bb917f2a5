"""A private Cyrus IMAP: its own configuration and mail under a temporary folder, on free loopback ports.

IMAP, POP3 and LMTP for any user at all with one password; mailboxes are made when the first mail comes. Everything runs
as the user who runs the tests, or as nobody for root. The program is the one that `.ci/cyrus` unpacks, as Debian's
package and that of Dovecot exclude each other. Who may log in is decided by this process, in saslauthd's place.
"""

import getpass
import grp
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import pytest

from tests.peers.ports import free_ports

PASSWORD = "testpass"
ROOT = Path("/opt/cyrus-imapd")

_IMAPD = """\
configdirectory: {folder}/conf
partition-default: {folder}/spool
defaultpartition: default
cyrus_user: {user}
cyrus_group: {group}
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {folder}/mux
sasl_mech_list: PLAIN LOGIN
allowplaintext: yes
virtdomains: userid
defaultdomain: example.com
unixhierarchysep: yes
altnamespace: {altnamespace}
autocreate_quota: 0
autocreate_post: yes
duplicatesuppression: no
imapidlepoll: 1
"""

_CYRUS = """\
START {{
}}
SERVICES {{
  imap cmd="{bin}/imapd -C {folder}/imapd.conf" listen="127.0.0.1:{imap}" prefork=2
  pop3 cmd="{bin}/pop3d -C {folder}/imapd.conf" listen="127.0.0.1:{pop3}" prefork=1
  lmtp cmd="{bin}/lmtpd -a -C {folder}/imapd.conf" listen="127.0.0.1:{lmtp}" prefork=2
}}
EVENTS {{
}}
"""


@dataclass(frozen=True)
class Cyrus:
    """A running instance."""

    folder: Path
    imap: int
    pop3: int
    lmtp: int


@contextmanager
def running(*, altnamespace: bool = True) -> Iterator[Cyrus]:
    """A Cyrus that is stopped at the end. Without `altnamespace`, all folders are below the inbox."""
    root = _root()
    binaries = root / "usr/lib/cyrus/bin"
    folder = Path(tempfile.mkdtemp(prefix="tg-cyrus-", dir="/tmp"))  # short: paths of sockets are limited
    folder.chmod(0o755)
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    if user == "root":  # Cyrus refuses to serve as root
        user, group = "nobody", "nogroup"
    for name in ("conf/db", "conf/socket", "conf/lock", "spool"):
        (folder / name).mkdir(parents=True)
    ports = free_ports(3)
    server = Cyrus(folder, *ports)
    words = {"folder": folder, "bin": binaries, "user": user, "group": group}
    (folder / "imapd.conf").write_text(_IMAPD.format(**words, altnamespace="yes" if altnamespace else "no"))
    (folder / "cyrus.conf").write_text(
        _CYRUS.format(**words, **dict(zip(("imap", "pop3", "lmtp"), ports, strict=True)))
    )
    libraries = os.pathsep.join(map(str, [*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")]))
    with _password_checker(folder / "mux"):
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, group)
        process = subprocess.Popen(
            [
                binaries / "master", "-C", folder / "imapd.conf", "-M", folder / "cyrus.conf", "-p", folder / "pid",
            ],
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _wait_for(process, server)
            yield server
        finally:
            process.terminate()
            process.communicate(timeout=60)
            shutil.rmtree(folder, ignore_errors=True)


def _root() -> Path:
    for root in (ROOT, Path("/")):
        if (root / "usr/lib/cyrus/bin/imapd").exists():
            return root
    words = f"Cyrus IMAP is neither installed nor at {ROOT}: .ci/cyrus {ROOT}"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


@contextmanager
def _password_checker(path: Path) -> Iterator[None]:
    """saslauthd's protocol: four texts (name, password, service, realm), each behind its length; OK or NO."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(200)

    def text(lines: BufferedReader) -> bytes:
        (length,) = struct.unpack(">H", lines.read(2))
        return lines.read(length)

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:  # closed
                return
            with peer, peer.makefile("rb") as lines:
                peer.settimeout(60)
                password = [text(lines) for _ in range(4)][1]
                answer = b"OK" if password == PASSWORD.encode() else b"NO"
                peer.sendall(struct.pack(">H", len(answer)) + answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def _wait_for(process: "subprocess.Popen[bytes]", server: Cyrus) -> None:
    deadline = time.monotonic() + 60
    for port in (server.imap, server.pop3, server.lmtp):
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    assert connection.recv(1)
                    break
            except OSError:
                assert process.poll() is None, process.stdout.read() if process.stdout else b""
                assert time.monotonic() < deadline, "Cyrus does not listen"
