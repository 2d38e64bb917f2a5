"""A run under way, beside whatever else its caller does: watch it, stop it, wait for it.

Takes     what `run` takes
Gives     `RunHandle`, at once: usable from any thread, and from a running asyncio loop, which it never blocks
Fails     what `run` raises is raised where it is waited for, or where the `with` block ends
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
    """One run, started with this object; `with` or `async with` ends it with the block: in good order, and waited for.

    >>> from trafficgen import Plan, RunHandle
    >>> with RunHandle(Plan(duration_ns=3600 * 10**9)) as handle:  # to the embedded sink, for an hour
    ...     for now in handle.watch():
    ...         if now.snapshot.accepted >= 100:
    ...             handle.stop()
    >>> results = handle.wait()
    >>> results.stopped_by.value, results.messages.accepted >= 100, results.ledger.clean
    ('interrupted', True, True)

    In a running asyncio loop, which goes on meanwhile:

    >>> import asyncio
    >>> async def main():
    ...     async with RunHandle(Plan(max_messages=100)) as handle:
    ...         async for now in handle:
    ...             assert now.elapsed_ns > 0
    ...         return await handle
    >>> asyncio.run(main()).messages.accepted
    100

    A block that is left early stops the run, and one that is left by an exception or a cancelled task as well. What
    the run itself raises, `wait` and `await` raise; where nobody has waited, the end of the block does.
    """

    def __init__(
        self,
        plan: Plan | ResolvedPlan,
        *,
        progress: Callable[[Progress], None] | None = None,
        notice: Callable[[str], None] | None = None,
        manifest: Path | None = None,
        delivery_wait: DeliveryWait | None = None,
    ) -> None:
        """The arguments are those of `run`. PlanError here for a plan that no run could be made from.

        `progress` and `notice` are called in the run's own thread: an asyncio program passes what it is told on with
        `loop.call_soon_threadsafe`, or uses `async for`. What `progress` raises ends the run, and `wait` raises it.

        >>> from trafficgen import Plan, RunHandle
        >>> seen = []
        >>> RunHandle(Plan(max_messages=100), progress=lambda now: seen.append(now.snapshot.accepted)).wait().complete
        True
        >>> seen[-1]
        100
        """
        resolved = ResolvedPlan.of(plan)
        self._control = RunControl()
        self._ended: Future[Results] = Future()
        self._ended.set_running_or_notify_cancel()  # who stops waiting does not stop the run
        self._news = threading.Condition()
        self._latest: Progress | None = None
        self._serial = 0
        self._waited_for = False
        self._progress = progress
        told: dict[str, Any] = {"notice": notice, "manifest": manifest, "delivery_wait": delivery_wait}
        self._thread = threading.Thread(target=self._run, args=(resolved, told), name="traffic-gen run", daemon=True)
        self._thread.start()

    def stop(self, why: StoppedBy = StoppedBy.INTERRUPTED, *, at_once: bool = False) -> None:
        """End the run in good order: what is on its way is finished, within the plan's grace. Once or often, it is the
        same; only `at_once` waits for nothing more, and then what arrived may not be known. Results there are either
        way."""
        if not self._control.count:
            self._control.stop(why)
        if at_once and not self._control.at_once:
            self._control.stop(why)

    def wait(self, timeout_s: float | None = None) -> Results:
        """The results, once the run has ended; TimeoutError when it has not after `timeout_s`, and it goes on.

        In an asyncio loop: `await handle`.
        """
        error = self._ended.exception(timeout_s)
        self._waited_for = True
        if error is not None:
            raise error
        return self._ended.result()

    def __await__(self) -> Generator[Any, None, Results]:
        ended = asyncio.wrap_future(self._ended)
        try:
            return (yield from ended.__await__())
        finally:
            self._waited_for = self._waited_for or (ended.done() and not ended.cancelled())

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
        if kind is None:
            self._raise_what_nobody_heard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.stop()
        try:
            await asyncio.to_thread(self._thread.join)
        except asyncio.CancelledError:
            self.stop(at_once=True)  # the loop's executor still waits for the thread when the loop ends
            raise
        if kind is None:
            self._raise_what_nobody_heard()

    def _raise_what_nobody_heard(self) -> None:
        if not self._waited_for:
            self.wait(0)

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
        if self._progress:
            self._progress(now)

    def _run(self, resolved: ResolvedPlan, told: dict[str, Any]) -> None:
        try:
            self._ended.set_result(run(resolved, progress=self._see, control=self._control, **told))
        except BaseException as error:
            self._ended.set_exception(error)
        with self._news:
            self._news.notify_all()
