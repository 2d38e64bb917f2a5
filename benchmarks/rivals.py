"""Postfix's smtp-source and smtp-sink, for benchmarks that stand beside them (Debian's package postfix)."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

SIZES = {"5k": 5_000, "100k": 100_000}
SESSIONS = 20


def smtp_source(port: int, count: int, octets: int, *, kept: bool = True) -> list[str]:
    """The command of Postfix's sender, `-d` keeps its sessions. It sends in lock-step, whatever the server offers."""
    keep = ["-d"] if kept else []
    return [
        tool("smtp-source"), *keep, "-s", str(SESSIONS), "-m", str(count), "-l", str(octets),
        "-f", "noreply@gmail.com.traffic-gen.test", "-t", "user@gmail.com.traffic-gen.test", f"inet:127.0.0.1:{port}",
    ]  # fmt: skip


@contextlib.contextmanager
def smtp_sink(*options: str) -> Iterator[tuple[int, int]]:
    """Postfix's sink on a free port; gives process id and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([tool("smtp-sink"), "-u", "nobody", *options, f"inet:127.0.0.1:{port}", "1024"])
    try:
        wait_for(port)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    """Return when somebody listens there."""
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port}")


def tool(name: str) -> str:
    """The path of one of Postfix's tools, which live outside most users' PATH."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/libexec/postfix:/usr/local/sbin")
    if path is None:
        raise SystemExit(f"{name} is missing: install the package postfix")
    return path
