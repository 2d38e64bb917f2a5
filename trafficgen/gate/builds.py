"""A side of the gate: the server under test, fresh for every run where commands for that are given.

Takes     an address; commands to start and to stop, run without a shell
Gives     a server that answers, for the length of one run
Fails     with SetupError when a command fails, or the server does not come up or go away in time
"""

import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.address import resolve
from trafficgen.errors import SetupError, reason_of
from trafficgen.plan import Dialect, Target, TcpTarget

_PATIENCE_S: Final = 60
_PATIENCE_WITHOUT_COMMANDS_S: Final = 5
"""With a server that is not brought up by us: it is there, or was forgotten."""
_PAUSE_S: Final = 0.05
_ONE_TRY_S: Final = 5.0


_GREETINGS: Final = (b"220", b"* O", b"* P", b"+OK")
"""SMTP and LMTP; IMAP's OK and PREAUTH (RFC 9051 section 7.1); POP3 (RFC 1939 section 4)."""

_ASKED: Final = b"HEAD / HTTP/1.0\r\n\r\n"
"""Of a server that does not greet; any status will do."""


@dataclass(frozen=True, slots=True)
class ListeningServer:
    """Who greets at a port of a build; `tls`: within TLS from the first octet."""

    target: Target
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """One side. `target` None: the embedded sink. `cgroup`: the server's directory under /sys/fs/cgroup. `queue`:
    Postfix's queue directory, here. `others`: what else must greet before the build is up."""

    target: Target | None
    start: str | None = None
    stop: str | None = None
    cgroup: str | None = None
    queue: Path | None = None
    others: tuple[ListeningServer, ...] = ()
    tls: bool = False
    """Whether who listens at `target` speaks TLS from the first octet."""

    @property
    def servers(self) -> tuple[ListeningServer, ...]:
        """All that must greet when it is up, and none when it is down."""
        return (*((ListeningServer(self.target, self.tls),) if self.target is not None else ()), *self.others)


@contextmanager
def running(build: Build) -> Iterator[None]:
    """Up, for the length of the block."""
    if build.start:
        _call(build.start)
    ours = build.start is not None or build.stop is not None
    try:
        for server in build.servers:
            _wait(server, _PATIENCE_S if ours else _PATIENCE_WITHOUT_COMMANDS_S, wanted=True)
        yield
    finally:
        if build.stop:
            _call(build.stop)
            for server in build.servers:
                _wait(server, _PATIENCE_S, wanted=False)


def answers(target: Target, *, tls: bool = False) -> bool:
    """Whether somebody greets there, or answers a request: a listener whose server is still starting does not count."""
    tls = tls or target.dialect is Dialect.HTTPS
    return any(_greets(address, tls=tls, asked=target.dialect.injects) for address in resolve(target).addresses)


def _greets(address: Target, *, tls: bool, asked: bool) -> bool:
    try:
        with _connected(address) as plain, _in_tls(plain) if tls else plain as peer:
            if asked:
                peer.sendall(_ASKED)
                return peer.recv(5) == b"HTTP/"
            greeting = peer.recv(3)
            peer.sendall(b"a LOGOUT\r\n" if greeting[:1] == b"*" else b"QUIT\r\n")
    except OSError:
        return False
    return greeting in _GREETINGS


def _in_tls(peer: socket.socket) -> socket.socket:
    """Whoever it is: certificates are for the runs to look at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(peer)


def _connected(address: Target) -> socket.socket:
    if isinstance(address, TcpTarget):
        return socket.create_connection((address.host, address.port), _ONE_TRY_S)
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(_ONE_TRY_S)
    try:
        peer.connect(address.path)
    except OSError:
        peer.close()
        raise
    return peer


def _call(command: str) -> None:
    try:
        done = subprocess.run(shlex.split(command), check=False, stdout=subprocess.DEVNULL)
    except (OSError, ValueError) as error:
        raise SetupError(f'cannot run "{command}": {reason_of(error)}') from error
    if done.returncode:
        raise SetupError(f'"{command}" ended with code {done.returncode}')


def _wait(server: ListeningServer, patience_s: int, *, wanted: bool) -> None:
    deadline_ns = now_ns() + patience_s * NS_PER_S
    while answers(server.target, tls=server.tls) is not wanted:
        if now_ns() > deadline_ns:
            what = "no server greets" if wanted else "a server still answers"
            hint = "; is it up? --a-start and --b-start bring one up" if patience_s < _PATIENCE_S else ""
            raise SetupError(f"{what} at {server.target} after {patience_s} s{hint}")
        time.sleep(_PAUSE_S)
