"""A run under way, beside whatever else its caller does: watch it, stop it, wait for it.

Takes     what `run` takes
Gives     `RunHandle`, at once: usable from any thread, and from a running asyncio loop, which it never blocks
Fails     what `run` raises is raised where it is waited for
Limits    nobody has to watch: only the latest progress is kept. Signals are the caller's: they stop no such run
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.host.signals import RunControl
from trafficgen.measure.results import Results
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs.run import Progress, run


class RunHandle:
    """One run, started with this object.

    As a context manager it stops the run in good order when the block is left, and waits for it.
    """

    def __init__(
        self,
        plan: Plan | ResolvedPlan,
        *,
        notice: Callable[[str], None] | None = None,
        manifest: Path | None = None,
        delivery_wait: DeliveryWait | None = None,
    ) -> None:
        """The arguments are those of `run`. PlanError here for a plan that no run could be made from."""
        resolved = ResolvedPlan.of(plan)
        self._control = RunControl()
        self._ended: Future[Results] = Future()
        self._ended.set_running_or_notify_cancel()  # who stops waiting does not stop the run
        self._news = threading.Condition()
        self._latest: Progress | None = None
        self._serial = 0
        told: dict[str, Any] = {"notice": notice, "manifest": manifest, "delivery_wait": delivery_wait}
        self._thread = threading.Thread(target=self._run, args=(resolved, told), name="traffic-gen run", daemon=True)
        self._thread.start()

    def stop(self, why: StoppedBy = StoppedBy.INTERRUPTED) -> None:
        """End the run in good order; asked again, at once. There are results either way."""
        self._control.stop(why)

    def wait(self, timeout_s: float | None = None) -> Results:
        """The results, once the run has ended; TimeoutError when it has not after `timeout_s`, and it goes on.

        In an asyncio loop: `await handle`.
        """
        return self._ended.result(timeout_s)

    def __await__(self) -> Generator[Any, None, Results]:
        return asyncio.wrap_future(self._ended).__await__()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.done()

    @property
    def latest(self) -> Progress | None:
        """How the run goes; None before the first word of its workers."""
        return self._latest

    def watch(self) -> Iterator[Progress]:
        """The run's progress whenever there is news, some times a second, until it has ended."""
        serial = 0
        while (found := self._after(serial)) is not None:
            serial, progress = found
            yield progress

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """The same for `async for`."""
        serial = 0
        while (found := await asyncio.to_thread(self._after, serial)) is not None:
            serial, progress = found
            yield progress

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.stop()
        self._thread.join()

    def _after(self, serial: int) -> tuple[int, Progress] | None:
        """What is newer than `serial`; None when nothing more will come."""
        with self._news:
            self._news.wait_for(lambda: self._serial > serial or self._ended.done())
            return (self._serial, self._latest) if self._latest and self._serial > serial else None

    def _see(self, now: Progress) -> None:
        with self._news:
            self._latest = now
            self._serial += 1
            self._news.notify_all()

    def _run(self, resolved: ResolvedPlan, told: dict[str, Any]) -> None:
        try:
            self._ended.set_result(run(resolved, progress=self._see, control=self._control, **told))
        except BaseException as error:
            self._ended.set_exception(error)
        with self._news:
            self._news.notify_all()
