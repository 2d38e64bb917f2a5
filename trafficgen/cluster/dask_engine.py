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
import sys
import threading
import warnings
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dask
from distributed import Client, Scheduler, SpecCluster, SSHCluster, Worker
from distributed.deploy import ssh
from distributed.utils import get_ip

from mboxgen.counted import number_of
from trafficgen.cluster import host as shard_host
from trafficgen.errors import PlanError, SetupError, reason_of
from trafficgen.host.signals import RunControl

if TYPE_CHECKING:
    from concurrent.futures import Future

_PATIENCE_S: Final = 90.0
_CONNECT_S: Final = 10.0
_CALL_S: Final = 15.0
_CLOSE_S: Final = 10.0
_HURRY_S: Final = 0.5
_LOOK_S: Final = 0.05
_QUIET: Final = logging.CRITICAL

_CONFIG: Final = {
    "distributed.comm.retry.count": 0,
    "distributed.admin.low-level-log-length": 100,
    # What Dask looks at for its dashboard, and does for tasks: 3.6 % of a core in a process that waits, else 0.4 %
    # (2026-11-27, 2 cores of an AMD EPYC).
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_OVER_SSH: Final = {
    "worker_class": "distributed.Worker",
    "worker_options": {"nthreads": 1, "memory_limit": 0},
    "remote_python": f"{sys.executable} -m trafficgen.cluster.over_ssh",
}
"""No nanny, which would start a lost worker again; nothing outlives the connection."""
_NO_PAGE: Final = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "protocol": "inproc://"}


def call_host(function: str, given: tuple[Any, ...]) -> Any:
    """Runs on a Dask worker; pickled by name, so that a host with another version says so."""
    return getattr(shard_host.HERE, function)(*given)


class DaskEngine:
    """Open until `close`."""

    def __init__(self, where: str, shards: int | None = None, control: RunControl | None = None) -> None:
        """`shards`: wait until there are so many workers, and use no more; None: those that are there.

        KeyboardInterrupt when `control` is asked to stop meanwhile; asked twice, `close` waits for nobody.
        """
        self._control = control or RunControl()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dask", daemon=True)
        self._thread.start()
        self._cluster: Any = None
        self._client: Client | None = None
        opening = asyncio.run_coroutine_threadsafe(self._open(where, shards), self._loop)
        try:
            while not wait([opening], _LOOK_S).done and not self._control.count:
                continue
            if opening.cancel():
                raise KeyboardInterrupt  # noqa: TRY301  (as where nobody counts signals)
            self._hosts = opening.result()
        except BaseException:
            opening.cancel()
            self._end(_HURRY_S)
            raise

    @property
    def hosts(self) -> list[str]:
        return list(self._hosts)

    def ask(self, host: str, function: str, *given: Any) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(self._call(host, function, given), self._loop)

    def close(self) -> None:
        self._end(_CLOSE_S)

    def _end(self, patience_s: float) -> None:
        """Let go of everything; whatever has not let go by then ends with the process."""
        if self._loop.is_closed():
            return
        self._loop.set_exception_handler(lambda _loop, _context: None)  # nobody waits for the rest any more
        closing = asyncio.run_coroutine_threadsafe(self._close(patience_s), self._loop)
        try:
            while not wait([closing], _LOOK_S).done and not self._control.at_once:
                continue
            wait([closing], _HURRY_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_HURRY_S)
            if not self._thread.is_alive():
                self._loop.close()

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
        for name in ("distributed", "distributed.client"):  # what is lost is told by the account, not by its tracebacks
            logging.getLogger(name).setLevel(_QUIET)
        with dask.config.set(_CONFIG):
            kind, _, what = where.partition(":")
            if kind == "local":
                count = int(what)
                self._cluster = await _here(count)
                shards = count if shards is None else shards
            elif kind == "ssh":
                named = _hosts_in(Path(what))
                self._cluster = SSHCluster(
                    [named[0], *named], asynchronous=True, **_OVER_SSH
                )  # the first has the scheduler
                await _over_ssh(self._cluster, named)
                shards = len(named) if shards is None else shards
            self._client = Client(self._cluster or where, asynchronous=True, set_as_default=False, timeout=_CONNECT_S)
            try:
                await self._client
            except (OSError, TimeoutError) as error:
                raise SetupError(
                    f"no Dask scheduler answers at {where}: {reason_of(error) if str(error) else 'timed out'}"
                ) from error
            except (MemoryError, ValueError, EOFError) as error:  # it takes the first octets for a length
                raise SetupError(f"what answers at {where} is no Dask scheduler: {error}") from error
            try:
                await self._client.wait_for_workers(shards or 1, timeout=_PATIENCE_S)
            except TimeoutError as error:
                text = f"expected {number_of(shards or 1, 'worker')} at {where}, got fewer within {_PATIENCE_S:g} s"
                raise SetupError(text) from error
            return await self._answering(where, shards)

    async def _answering(self, where: str, shards: int | None) -> list[str]:
        """Those that are there: a scheduler has workers in its books for minutes after they were cut off. Where
        `shards` are expected, a host that is busy is asked again."""
        assert self._client is not None
        deadline_s = self._loop.time() + _PATIENCE_S
        while True:
            known = sorted(await self._client.nthreads())
            answers = await asyncio.gather(*(self._call(host, "clock", ()) for host in known), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, Exception) and not isinstance(answer, OSError):
                    raise SetupError(f"cannot use a host: {answer}; is traffic-gen installed there?") from answer
            there = [host for host, answer in zip(known, answers, strict=True) if not isinstance(answer, BaseException)]
            if shards is None or len(there) >= shards:
                return there[:shards]
            if self._loop.time() > deadline_s:
                raise SetupError(
                    f"expected {number_of(shards, 'worker')} to answer at {where}, got {len(there)} of {len(known)}"
                )

    async def _close(self, patience_s: float) -> None:
        for parts in ([self._client], [self._cluster], _begun_over_ssh(self._cluster)):
            closing = [asyncio.wait_for(part.close(), patience_s) for part in parts if part is not None]
            await asyncio.gather(*closing, return_exceptions=True)  # whoever is gone need not be let go, but the others
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


async def _here(count: int) -> Any:
    """Workers in this process, as their shards have processes of their own: no port is open, and nothing but shards
    uses this machine's cores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        get_ip()  # Dask asks for it again, and warns where there is no network; it has no part in this
    worker = {"cls": Worker, "options": {**_NO_PAGE, "nthreads": 1, "memory_limit": 0}}
    scheduler = {"cls": Scheduler, "options": _NO_PAGE}
    return await SpecCluster(dict.fromkeys(range(count), worker), scheduler, asynchronous=True, silence_logs=_QUIET)


def _hosts_in(path: Path) -> list[str]:
    """The first word of each line."""
    try:
        hosts = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(
            f'cannot read hosts from "{path}": {reason_of(error)}', field="cluster", flag="--cluster"
        ) from error
    if not hosts:
        raise PlanError(f'expected a host a line in "{path}"', field="cluster", flag="--cluster")
    return hosts


def _begun_over_ssh(cluster: Any) -> list[Any]:
    """Processes on other hosts. Dask itself forgets those of a cluster that was not whole."""
    parts = [] if cluster is None else [cluster.scheduler, *cluster.workers.values(), *cluster._created]
    return [part for part in parts if isinstance(part, ssh.Process)]


async def _over_ssh(cluster: Any, hosts: list[str]) -> None:
    """Started, or SetupError; whoever has the cluster closes it either way, as some hosts may have begun."""
    try:
        await cluster
    except Exception as error:  # of asyncssh, of the system, of Dask, which has no class of its own for it
        if isinstance(error, ImportError) or isinstance(error.__cause__, ImportError):
            raise SetupError(f"ssh: needs asyncssh, which Dask uses: {error.__cause__ or error}") from error
        where = ", ".join(dict.fromkeys(hosts))
        text = f"cannot start Dask over SSH at {where}: {error}; does ssh get in there without a question?"
        raise SetupError(text) from error
