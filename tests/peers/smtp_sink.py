"""Postfix's smtp-sink, which keeps every message in a file of its own."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import program
from tests.peers.ports import free_port

PATIENCE_S = 60.0


@dataclass
class SmtpSink:
    """A running smtp-sink; `folder` is where it writes."""

    port: int
    folder: Path

    def messages(self) -> list[bytes]:
        """What it has taken so far."""
        return [path.read_bytes() for path in self.folder.iterdir()]


@contextmanager
def smtp_sink(folder: Path, *options: str) -> Iterator[SmtpSink]:
    """An smtp-sink with these options on a free loopback port."""
    port = free_port()
    as_root = ["-u", "root"] if os.geteuid() == 0 else []  # it insists on being told
    command = [program("smtp-sink", "postfix"), *as_root, *options, "-d", f"{folder}/m.", f"127.0.0.1:{port}", "128"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until_it_listens(port, process)
        yield SmtpSink(port, folder)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Until a connection is taken; a refused one is refused at once, so this only asks again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, f"{process.args} ended: {process.communicate()[1]!r}"
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"{process.args} does not listen"
        else:
            return
