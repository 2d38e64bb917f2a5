"""Hosts of a Dask cluster on this machine: each in a network namespace of its own, as far as that may be made.

Without root, without ip(8) or in a container that lets nobody make namespaces, the same hosts are processes that share
the loopback address. What is asked of them is the same; being cut off is then being suspended.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from trafficgen.cluster import host as shard_host
from trafficgen.cluster.dask_engine import DaskEngine

_PATIENCE_S = 60
_AT_REST = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "60s",
}
"""A host that waits takes 0.4 % of a core in place of 3.6 % (trafficgen/cluster/dask_engine.py)."""
_serial = itertools.count()


@dataclass
class NamespacedHost:
    """A Dask worker, by Dask's own name `url`. `inside`: what a command that runs there begins with. `lost`: killed or
    cut off."""

    url: str
    inside: tuple[str, ...]
    link: str | None
    process: "subprocess.Popen[str]"
    lost: bool = False

    def kill(self) -> None:
        self.lost = True
        self.process.kill()

    def cut_off(self) -> None:
        """Nothing gets there or comes from there any more."""
        self.lost = True
        if self.link is None:
            self.process.send_signal(signal.SIGSTOP)
        else:
            _ip("link", "set", self.link, "down")

    def slow_down(self, delay: str) -> bool:
        """Let whatever comes from there take so long; False where that cannot be done."""
        command = ("tc", "qdisc", "add", "dev", "eth", "root", "netem", "delay", delay)
        return self.link is not None and _works((*self.inside, *command))


@dataclass
class HostsByDask:
    """`address`: where a server listens that all of them reach."""

    address: str
    scheduler: str
    scheduler_process: "subprocess.Popen[str]"
    hosts: list[NamespacedHost]


@contextmanager
def hosts_by_dask(count: int, *options: str) -> Iterator[HostsByDask]:
    """A scheduler and `count` workers with these options; all end with the test."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-dask-"))
        network = stack.enter_context(_network(count))
        scheduler = stack.enter_context(
            _python("distributed.cli.dask_scheduler", "--host", network.address, "--port", "0", "--no-dashboard")
        )
        url = _said(scheduler, r"Scheduler at:\s+(tcp://\S+)")
        begun = []
        for inside, link, address in network.hosts:
            worker = stack.enter_context(
                _python(
                    "distributed.cli.dask_worker", url, "--host", address, "--nthreads", "1", "--no-nanny",
                    "--no-dashboard", "--local-directory", folder, *options, inside=inside,
                )
            )  # fmt: skip
            begun.append((worker, inside, link))
        hosts = [
            NamespacedHost(_said(worker, r"Start worker at:\s+(tcp://\S+)"), inside, link, worker)
            for worker, inside, link in begun
        ]
        yield HostsByDask(network.address, url, scheduler, hosts)


def set_clock(engine: DaskEngine, url: str, ahead_ns: int) -> None:
    """Let the host with that name take the time of day for so much later, by its own seam."""
    assert engine._client is not None
    engine._client.run(_skew, ahead_ns, workers=[url])


def _skew(ahead_ns: int) -> None:
    """Runs there."""
    shard_host.HERE._wall_ns = lambda: time.time_ns() + ahead_ns


@dataclass
class _Network:
    address: str
    hosts: list[tuple[tuple[str, ...], str | None, str]]


@contextmanager
def _network(count: int) -> Iterator[_Network]:
    serial = next(_serial)
    mark = f"{os.getpid() % 100_000}x{serial}"  # a namespace is there until the last process in it has ended
    bridge, net = f"tgb{mark}", f"10.{100 + serial % 100}.{os.getpid() % 250}"
    if not _works(("ip", "link", "add", bridge, "type", "bridge")):
        yield _Network("127.0.0.1", [((), None, "127.0.0.1")] * count)
        return
    names = [f"tg{mark}n{index}" for index in range(count)]
    links = [f"tgv{mark}n{index}" for index in range(count)]
    try:
        if not _works(("ip", "netns", "add", names[0])):
            yield _Network("127.0.0.1", [((), None, "127.0.0.1")] * count)
            return
        for name in names[1:]:
            _ip("netns", "add", name)
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        hosts: list[tuple[tuple[str, ...], str | None, str]] = []
        for index, (name, link) in enumerate(zip(names, links, strict=True)):
            address = f"{net}.{index + 10}"
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth", "netns", name)
            _ip("link", "set", link, "master", bridge, "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth")
            _ip("-n", name, "link", "set", "eth", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            hosts.append((("ip", "netns", "exec", name), link, address))
        yield _Network(f"{net}.1", hosts)
    finally:
        for name, link in zip(names, links, strict=True):
            _works(("ip", "link", "del", link))
            _works(("ip", "netns", "del", name))
        _works(("ip", "link", "del", bridge))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=_PATIENCE_S)


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=_PATIENCE_S).returncode == 0
    except OSError:
        return False


@contextmanager
def _python(module: str, *words: str, inside: tuple[str, ...] = ()) -> Iterator["subprocess.Popen[str]"]:
    command = [*inside, sys.executable, "-m", module, *words]
    environment = os.environ | _AT_REST
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # also ends one that is suspended


def _said(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(words, line):
            # It logs each call, and would wait for a reader once the pipe is full.
            threading.Thread(target=process.stderr.read, name="log", daemon=True).start()
            return found[1]
    raise AssertionError(f"it ended and said {said}")
