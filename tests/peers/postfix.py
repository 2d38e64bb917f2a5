"""A private Postfix: its own configuration, queue and data under a temporary folder, mail relayed to one port.

It listens on loopback, looks nothing up in the DNS, delivers nothing locally, and is stopped by its own command. Its
queue manager wakes up every second: on a busy machine the word that a message came in may be lost, and with Postfix's
own 300 s the message would lie there for longer than any test waits.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import program
from tests.peers.ports import free_port

_MAIN = """\
compatibility_level = 3.6
config_directory = {folder}/config
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{relay_port}
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_relay_restrictions = permit_mynetworks, reject
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:nothing is delivered here
biff = no
in_flow_delay = 0
{settings}
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n  -  n  -    0  cleanup
qmgr      unix  n  -  n  1    1  qmgr
rewrite   unix  -  -  n  -    -  trivial-rewrite
bounce    unix  -  -  n  -    0  bounce
defer     unix  -  -  n  -    0  bounce
trace     unix  -  -  n  -    0  bounce
verify    unix  -  -  n  -    1  verify
flush     unix  n  -  n  1000? 0 flush
proxymap  unix  -  -  n  -    -  proxymap
smtp      unix  -  -  n  -    -  smtp
relay     unix  -  -  n  -    -  smtp
lmtp      unix  -  -  n  -    -  lmtp
error     unix  -  -  n  -    -  error
showq     unix  n  -  n  -    -  showq
retry     unix  -  -  n  -    -  error
discard   unix  -  -  n  -    -  discard
anvil     unix  -  -  n  -    1  anvil
scache    unix  -  -  n  -    1  scache
postlog   unix-dgram n - n -  1  postlogd
  -o max_use=1000000 -o max_idle=1d
"""


@dataclass
class Postfix:
    """A running instance."""

    folder: Path
    port: int

    def stop(self) -> None:
        """Let deliveries under way end, then stop; a second time it does nothing."""
        if self.running:
            self._command("stop")

    @property
    def running(self) -> bool:
        return self._command("status", check=False).returncode == 0

    @property
    def log(self) -> str:
        return (self.folder / "log/mail.log").read_text(errors="replace")

    def queued(self) -> int:
        """Messages it has taken and not yet handed on."""
        queues = ("incoming", "active", "deferred", "maildrop")
        return sum(path.is_file() for name in queues for path in (self.folder / "queue" / name).rglob("*"))

    def start(self) -> None:
        self._command("start")

    def _command(self, word: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [program("postfix", "postfix"), "-c", str(self.folder / "config"), word],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        log = self.folder / "log/mail.log"
        words = log.read_text(errors="replace") if log.exists() else ""
        assert not check or done.returncode == 0, done.stdout + done.stderr + words
        return done


def _once(text: str) -> str:
    """main.cf with the last entry of each name only.

    Every process warns of a second one when it starts. The logger does so to its own socket, where ten lines have room:
    when ten of others are there by then, it waits for itself, and all the rest for it.
    """
    entries: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line[:1].isspace():
            name = line.partition("=")[0].strip()
            entries.pop(name, None)
        entries[name] = entries[name] + f"\n{line}" if name in entries else line
    return "\n".join(entries.values()) + "\n"


@contextmanager
def private_postfix(relay_port: int, settings: str = "", services: str = "") -> Iterator[Postfix]:
    """A Postfix that relays everything to this loopback port. `settings` are more lines of main.cf, `services` of
    master.cf."""
    program("postfix", "postfix")
    if os.geteuid() != 0:
        words = "Postfix can be started by root only (run the tests in a container)"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    # Not under pytest's own folder: nobody but root may look into that one, and Postfix works as a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="traffic-gen-postfix-"))
    folder.chmod(0o755)
    for name in ("config", "queue", "data", "log"):
        (folder / name).mkdir(mode=0o755)
    shutil.chown(folder / "data", "postfix")
    port = free_port()
    (folder / "config/main.cf").write_text(_once(_MAIN.format(folder=folder, relay_port=relay_port, settings=settings)))
    (folder / "config/master.cf").write_text(_MASTER.format(port=port) + services)
    postfix = Postfix(folder, port)
    try:
        postfix.start()
        yield postfix
    finally:
        try:
            postfix.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
