"""A private Dovecot that takes LMTP: its own configuration, mailboxes and log under a temporary folder."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import program
from tests.peers.certificates import Certificate
from tests.peers.dovecot_config import in_its_words
from tests.peers.ports import free_port

_CONFIG = """\
base_dir = {folder}/run
log_path = {folder}/dovecot.log
log_timestamp = "%Y-%m-%d %H:%M:%S "
mail_location = maildir:{folder}/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 0
first_valid_gid = 0
ssl = {ssl}
protocols = lmtp
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/home/%u allow_all_users=yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
metric lmtp_command {{
  filter = event=smtp_server_command_finished
  group_by = cmd_name
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""
_PATIENCE_S = 60.0


@dataclass
class Dovecot:
    """A running instance."""

    port: int
    log: Path
    mail: Path


@contextmanager
def private_dovecot(certificate: Certificate | None = None) -> Iterator[Dovecot]:
    """Started by root only, as Dovecot's master wants it; stopped by its own process. Offers STARTTLS with a
    certificate."""
    dovecot = program("dovecot", "dovecot-lmtpd")
    if os.geteuid() != 0:
        words = "Dovecot can be started by root only (run the tests in a container)"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    folder = Path(tempfile.mkdtemp(prefix="traffic-gen-dovecot-"))
    folder.chmod(0o755)
    for name in ("mail", "home"):
        (folder / name).mkdir()
        shutil.chown(folder / name, pwd.getpwnam("nobody").pw_uid)
    port = free_port()
    ssl = "no"
    if certificate is not None:
        ssl = f"yes\nssl_cert = <{certificate.certificate}\nssl_key = <{certificate.key}"
    config = folder / "dovecot.conf"
    config.write_text(in_its_words(_CONFIG.format(folder=folder, port=port, ssl=ssl)))
    process = subprocess.Popen([dovecot, "-F", "-c", str(config)], stderr=subprocess.PIPE)
    try:
        _wait_until_open(port, process)
        yield Dovecot(port, folder / "dovecot.log", folder / "mail")
    finally:
        process.terminate()
        process.communicate(timeout=_PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail("Dovecot did not open its port")
