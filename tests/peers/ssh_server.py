"""A private sshd on a loopback port, which lets in whoever runs the tests, by a key of its own.

Gives     the directory of an `ssh` to be found first in PATH: the real one, told of that port and key
Root's    needs /run/sshd to be there, empty (sshd(8)): it is made
"""

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import program
from tests.peers.ports import free_port

_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
"""

_CLIENT = """\
Host lab
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking accept-new
"""


@contextmanager
def ssh_to_lab(folder: Path) -> Iterator[Path]:
    """The directory; `ssh lab` is this machine."""
    ssh, sshd, keygen = (
        program(name, f"openssh-{side}") for name, side in
        (("ssh", "client"), ("sshd", "server"), ("ssh-keygen", "client"))
    )  # fmt: skip
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "key"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(_SERVER.format(port=port, folder=folder))
    (folder / "ssh_config").write_text(_CLIENT.format(port=port, folder=folder, user=getpass.getuser()))
    found_first = folder / "bin"
    found_first.mkdir()
    (found_first / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F {folder}/ssh_config "$@"\n')
    (found_first / "ssh").chmod(0o755)
    command = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if "Server listening" in line:
                    break
            else:
                raise AssertionError("".join(said))
            yield found_first
        finally:
            process.terminate()
