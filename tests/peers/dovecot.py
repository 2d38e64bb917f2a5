"""A private Dovecot: its own configuration, mail and log under a temporary folder, on free loopback ports.

IMAP, POP3 and LMTP for any user at all with one password; everything runs as the user who runs the tests. It writes
one line for each login, delivery and session into its log, which the tests count.
"""

import getpass
import grp
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import program
from tests.peers.dovecot_config import in_its_words
from tests.peers.ports import free_ports

PASSWORD = "testpass"

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
mail_location = maildir:{folder}/mail/%u/Maildir
mail_uid = {user}
mail_gid = {group}
first_valid_uid = 0
first_valid_gid = 0
default_internal_user = {internal}
default_login_user = {login}
default_internal_group = {internal_group}
ssl = {ssl}
{certificate}
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-256
auth_failure_delay = 0
mail_fsync = never
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
mail_plugins = notify mail_log
lmtp_rcpt_check_quota = no
mail_max_userip_connections = 1000
login_trusted_networks = 127.0.0.0/8
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u allow_all_users=yes
}}
plugin {{
  mail_log_events = expunge
  mail_log_fields = uid box
}}
namespace inbox {{
  inbox = yes
  separator = /
  prefix = {prefix}
}}
protocol lda {{
  postmaster_address = postmaster@example.com
}}
protocol lmtp {{
  postmaster_address = postmaster@example.com
}}
protocol pop3 {{
  pop3_no_flag_updates = yes
  pop3_uidl_format = %08Xu%08Xv
  pop3_logout_format = retr=%r del=%d/%m
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
  service_count = 0
  client_limit = 2000
  process_min_avail = 1
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
  service_count = 0
  client_limit = 2000
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
  inet_listener lmtps {{
    port = {lmtps}
    ssl = yes
  }}
  process_min_avail = 2
  process_limit = 200
}}
service imap {{
  process_limit = 1000
  service_count = 0
  client_limit = 50
}}
service pop3 {{
  process_limit = 200
  service_count = 0
}}
service auth {{
  client_limit = 5000
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
  client_limit = 5000
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
  unix_listener stats-reader {{
    mode = 0666
  }}
}}
{settings}
"""


@dataclass
class Dovecot:
    """A running instance."""

    folder: Path
    imap: int
    imaps: int
    pop3: int
    pop3s: int
    lmtp: int
    lmtps: int

    @property
    def log(self) -> str:
        """All that it has written."""
        return (self.folder / "dovecot.log").read_text()

    def count(self, pattern: str) -> int:
        """Lines of the log with this in them."""
        return len(re.findall(pattern, self.log))

    def deleted_by_pop3(self) -> int:
        """Messages that POP3 sessions deleted, as they said when they ended."""
        return sum(int(found) for found in re.findall(r"pop3\(.*retr=\d+ del=(\d+)/", self.log))

    def retrieved_by_pop3(self) -> int:
        """Messages that POP3 sessions retrieved."""
        return sum(int(found) for found in re.findall(r"pop3\(.*retr=(\d+) del=", self.log))


@contextmanager
def running(*, certificate: tuple[Path, Path] | None = None, prefix: str = "", settings: str = "") -> Iterator[Dovecot]:
    """A Dovecot that is stopped at the end."""
    binary = program("dovecot", "dovecot-core")
    folder = Path(tempfile.mkdtemp(prefix="tg-dovecot-", dir="/tmp"))  # short: paths of sockets are limited
    ports = free_ports(6)
    server = Dovecot(folder, *ports)
    names = ("imap", "imaps", "pop3", "pop3s", "lmtp", "lmtps")
    tls = f"ssl_cert = <{certificate[0]}\nssl_key = <{certificate[1]}" if certificate else ""
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    internal, internal_group, login = user, group, user
    if user == "root":  # then nothing but the master may be root
        internal, internal_group, login = "dovecot", "dovecot", "dovenull"
        user, group = "nobody", "nogroup"
    config = folder / "dovecot.conf"
    config.write_text(
        in_its_words(
            _CONFIG.format(
                folder=folder,
                user=user,
                group=group,
                internal=internal,
                internal_group=internal_group,
                login=login,
                ssl="yes" if certificate else "no",
                certificate=tls,
                password=PASSWORD,
                prefix=prefix,
                settings=settings,
                **dict(zip(names, ports, strict=True)),
            )
        )
    )
    for name in ("run", "state", "mail"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    shutil.chown(folder / "mail", user, group)
    process = subprocess.Popen([binary, "-F", "-c", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _wait_for(process, server)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(process: "subprocess.Popen[bytes]", server: Dovecot) -> None:
    deadline = time.monotonic() + 60
    for port in (server.imap, server.pop3, server.lmtp):
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    assert connection.recv(1)
                    break
            except OSError:
                assert process.poll() is None, process.stdout.read() if process.stdout else b""
                assert time.monotonic() < deadline, "Dovecot does not listen"
