"""Hosts of a cluster in this process: real hosts and real shards, and whatever may become of the way to them."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from trafficgen.cluster.host import ShardHost


class HostsHere:
    """Hosts by name. `skews_ns`: what their clocks are ahead; `delays_s`: how long a call is on its way, each way."""

    def __init__(self, count: int, skews_ns: tuple[int, ...] = (), delays_s: tuple[float, ...] = ()) -> None:
        skews = dict(enumerate(skews_ns))
        self.here = {f"host{index}": _skewed(skews.get(index, 0)) for index in range(count)}
        self._delays_s = dict(zip(self.here, delays_s, strict=False))
        self._pool = ThreadPoolExecutor(4 * count)
        self.cut_off: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    @property
    def hosts(self) -> list[str]:
        return list(self.here)

    def ask(self, host: str, function: str, *given: Any) -> "Future[Any]":
        self.asked.append((host, function))
        return self._pool.submit(self._call, host, function, given)

    def _call(self, host: str, function: str, given: tuple[Any, ...]) -> Any:
        if host in self.cut_off:
            raise OSError("no route to host")
        self._travel(host)
        answer = getattr(self.here[host], function)(*given)
        self._travel(host)
        return answer

    def _travel(self, host: str) -> None:
        if delay_s := self._delays_s.get(host):
            time.sleep(delay_s)

    def process(self, host: str) -> Any:
        """The process of the shard there."""
        (running,) = self.here[host]._taken.values()
        return running._process

    def close(self) -> None:
        for host in self.here.values():
            for token in list(host._taken):
                host.end(token)
        self._pool.shutdown()


def _skewed(by_ns: int) -> ShardHost:
    return ShardHost(lambda: time.time_ns() + by_ns)


@contextmanager
def hosts_here(count: int, **words: Any) -> Iterator[HostsHere]:
    """They end with the test."""
    engine = HostsHere(count, **words)
    try:
        yield engine
    finally:
        engine.close()
