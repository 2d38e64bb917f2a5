"""Dask as remote control: it brings calls to hosts, and schedules nothing.

Takes     "local:4", "tcp://scheduler:8786" or "tls://…", "ssh:hosts.txt"
Gives     an `Engine` with one host for each Dask worker
Fails     SetupError when Dask is not installed, nobody answers, or there are fewer workers than asked for
Promises  no call is made twice. Tasks of Dask are run again when a worker is lost, and are stolen by idle ones; so
          nothing is submitted as a task. `Client.run` calls a function on the workers named, outside of the scheduler's
          books: retries, stealing and recomputing do not exist there
Not here  what is called (host), when (coordinator). Nothing else in the program imports distributed
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import dask
from distributed import Client, LocalCluster, SSHCluster

from trafficgen.cluster import host as shard_host
from trafficgen.errors import PlanError, SetupError

if TYPE_CHECKING:
    from concurrent.futures import Future

_PATIENCE_S: Final = 90.0
_CONNECT_S: Final = 10.0
_CALL_S: Final = 15.0
_QUIET: Final = logging.CRITICAL

_Value = TypeVar("_Value")

_CONFIG: Final = {
    "distributed.comm.retry.count": 0,
    "distributed.worker.daemon": True,  # workers that this process starts end with it
    "distributed.admin.low-level-log-length": 100,
}


def call_host(function: str, given: tuple[Any, ...]) -> Any:
    """Runs on a Dask worker; pickled by name, so that a host with another version says so."""
    return getattr(shard_host.HERE, function)(*given)


class DaskEngine:
    """Open until `close`."""

    def __init__(self, where: str, shards: int | None = None) -> None:
        """`shards`: wait until there are so many workers, and use no more; None: those that are there."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dask", daemon=True)
        self._thread.start()
        self._cluster: Any = None
        self._client: Client | None = None
        try:
            self._hosts = self._wait(self._open(where, shards), None)
        except BaseException:
            self.close()
            raise

    @property
    def hosts(self) -> list[str]:
        return list(self._hosts)

    def ask(self, host: str, function: str, *given: Any) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(self._call(host, function, given), self._loop)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._wait(self._close(), None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, _Value], timeout_s: float | None) -> _Value:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    async def _call(self, host: str, function: str, given: tuple[Any, ...]) -> Any:
        assert self._client is not None
        # `client.run` names who is to run it, and fails when that worker is not there.
        answers = self._client.run(call_host, function, given, workers=[host], on_error="return")
        try:
            answer = (await asyncio.wait_for(answers, _CALL_S)).get(host)
        except TimeoutError as error:
            raise OSError(f"no answer within {_CALL_S:g} s") from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _open(self, where: str, shards: int | None) -> list[str]:
        with dask.config.set(_CONFIG):
            kind, _, what = where.partition(":")
            if kind == "local":
                count = int(what)
                self._cluster = await LocalCluster(
                    n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
                    asynchronous=True, silence_logs=_QUIET,
                )  # fmt: skip
                shards = count if shards is None else shards
            elif kind == "ssh":
                self._cluster = await _over_ssh(_hosts_in(Path(what)))
            self._client = await _connected(self._cluster or where)
            try:
                await self._client.wait_for_workers(shards or 1, timeout=_PATIENCE_S)
            except TimeoutError as error:
                text = f"expected {shards or 1} workers at {where}, got fewer within {_PATIENCE_S:g} s"
                raise SetupError(text) from error
            return (await self._answering())[:shards]

    async def _answering(self) -> list[str]:
        """Those that are there: a scheduler has workers in its books for minutes after they were cut off."""
        assert self._client is not None
        known = sorted(await self._client.nthreads())
        answers = await asyncio.gather(*(self._call(host, "clock", ()) for host in known), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, OSError):
                raise SetupError(f"cannot use a host: {answer}; is traffic-gen installed there?") from answer
        return [host for host, answer in zip(known, answers, strict=True) if not isinstance(answer, BaseException)]

    async def _close(self) -> None:
        for part in (self._client, self._cluster):
            if part is not None:
                try:
                    await asyncio.wait_for(part.close(), _PATIENCE_S)
                except (OSError, TimeoutError):  # whoever is gone need not be let go
                    continue


async def _connected(where: Any) -> Client:
    try:
        return await Client(where, asynchronous=True, set_as_default=False, timeout=_CONNECT_S)
    except (OSError, TimeoutError) as error:
        raise SetupError(f"no Dask scheduler answers at {where}: {error or 'timed out'}") from error


def _hosts_in(path: Path) -> list[str]:
    """The first word of each line."""
    try:
        hosts = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f'cannot read hosts from "{path}": {error}', field="cluster", flag="--cluster") from error
    if not hosts:
        raise PlanError(f'expected a host a line in "{path}"', field="cluster", flag="--cluster")
    return hosts


async def _over_ssh(hosts: list[str]) -> Any:
    """The first host has the scheduler as well (dask's SSHCluster)."""
    try:
        return await SSHCluster([hosts[0], *hosts], asynchronous=True)
    except ImportError as error:
        raise SetupError(f"ssh: needs asyncssh, which Dask uses: {error}") from error
