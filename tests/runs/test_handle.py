"""A run watched, stopped and waited for: from the main thread, from another one, from a running asyncio loop."""

import asyncio
import threading
from pathlib import Path

import pytest

from trafficgen import Corpus, ExitCode, Plan, PlanError, Progress, Results, RunHandle, SetupError, TcpTarget, Workload
from trafficgen.outcomes import StoppedBy

FOREVER = Plan(duration_ns=3600 * 10**9, sessions=2, workers=1, grace_ns=10**9)
SHORT = Plan(max_messages=40, sessions=2, workers=1)


def watched(handle: RunHandle) -> list[int]:
    """Stop it when the first messages have been accepted; how many there were at each look."""
    accepted = []
    for now in handle.watch():
        accepted.append(now.snapshot.accepted)
        if now.snapshot.accepted and len(accepted) > 1:
            handle.stop()
    return accepted


def check_stopped(results: Results, seen: list[int]) -> None:
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert results.complete
    assert results.valid
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= results.messages.accepted


def test_a_run_goes_on_beside_its_caller_and_gives_its_results() -> None:
    lines: list[str] = []
    handle = RunHandle(SHORT, notice=lines.append)
    results = handle.wait(60)
    assert results.exit_code(keep_going=False) is ExitCode.DONE
    assert (results.messages.accepted, handle.running) == (40, False)
    assert handle.wait() is results
    assert any("embedded sink" in line for line in lines)
    assert isinstance(handle.latest, Progress)
    assert [now.snapshot.accepted for now in handle.watch()] == [40]  # of a run that is over, its last state


def test_it_is_watched_and_stopped_where_it_was_started() -> None:
    handle = RunHandle(FOREVER)
    check_stopped(handle.wait(60) if (seen := watched(handle)) else handle.wait(0), seen)


def test_it_is_watched_and_stopped_in_another_thread() -> None:
    found: list[tuple[Results, list[int]]] = []

    def work() -> None:
        handle = RunHandle(FOREVER)
        seen = watched(handle)
        found.append((handle.wait(60), seen))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    check_stopped(*found[0])


def test_a_running_loop_watches_stops_and_awaits_it_and_is_never_blocked() -> None:
    async def work() -> tuple[Results, list[int], int]:
        ticks, over = 0, asyncio.Event()

        async def tick() -> None:
            nonlocal ticks
            while not over.is_set():
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        handle = RunHandle(FOREVER)
        seen: list[int] = []
        ticked: set[int] = set()
        async for now in handle:
            seen.append(now.snapshot.accepted)
            ticked.add(ticks)
            if now.snapshot.accepted and len(seen) > 1:
                handle.stop()
        results = await handle
        over.set()
        await ticking
        return results, seen, len(ticked)

    results, seen, moments = asyncio.run(work())
    check_stopped(results, seen)
    assert moments == len(seen)  # the loop went on between any two looks


def test_who_stops_waiting_does_not_stop_the_run() -> None:
    with RunHandle(FOREVER) as handle:
        with pytest.raises(TimeoutError):
            handle.wait(0)

        async def wait() -> None:
            async with asyncio.timeout(0):
                await handle

        with pytest.raises(TimeoutError):
            asyncio.run(wait())
        assert handle.running
    assert not handle.running
    assert handle.wait(0).stopped_by is StoppedBy.INTERRUPTED


def test_told_so_it_ends_at_once() -> None:
    with RunHandle(Plan(target=None, duration_ns=3600 * 10**9, sessions=1, workers=1, grace_ns=600 * 10**9)) as handle:
        next(handle.watch())
        handle.stop()
        handle.stop(at_once=True)
        assert handle.wait(60).stopped_by is StoppedBy.INTERRUPTED


def test_stopped_again_and_again_it_ends_in_good_order_all_the_same() -> None:
    with RunHandle(FOREVER) as handle:
        for now in handle.watch():
            if now.snapshot.accepted:
                handle.stop()
                handle.stop()
    ledger = handle.wait().ledger
    assert ledger is not None
    assert ledger.clean


def test_progress_is_called_and_what_it_raises_ends_the_run() -> None:
    seen: list[int] = []
    RunHandle(SHORT, progress=lambda now: seen.append(now.snapshot.accepted)).wait(60)
    assert seen[-1] == 40

    def refuse(now: Progress) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        RunHandle(FOREVER, progress=refuse).wait(60)


def test_an_async_block_that_is_left_or_cancelled_ends_the_run() -> None:
    async def leave() -> RunHandle:
        async with RunHandle(FOREVER) as handle:
            async for now in handle:
                if now.snapshot.accepted:
                    break
        assert not handle.running
        return handle

    assert asyncio.run(leave()).wait(0).stopped_by is StoppedBy.INTERRUPTED

    handles: list[RunHandle] = []

    async def cancelled() -> None:
        async def work() -> None:
            async with RunHandle(FOREVER) as handle:
                handles.append(handle)
                async for _ in handle:
                    under_way.set()

        under_way = asyncio.Event()
        task = asyncio.create_task(work())
        await under_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert handles[0].wait(60).stopped_by is StoppedBy.INTERRUPTED


def test_a_failed_run_that_nobody_waited_for_is_raised_where_its_block_ends() -> None:
    unknown = Plan(max_messages=1, target=TcpTarget("no-such-host.invalid", 25))

    async def work() -> None:
        async with RunHandle(unknown):
            pass

    with pytest.raises((SetupError, PlanError), match=r"no-such-host\.invalid"), RunHandle(unknown):
        pass
    with pytest.raises((SetupError, PlanError), match=r"no-such-host\.invalid"):
        asyncio.run(work())
    with RunHandle(unknown) as heard, pytest.raises((SetupError, PlanError)):
        heard.wait(60)
    with pytest.raises(KeyError), RunHandle(unknown):
        raise KeyError("the block's own")


def test_what_a_plan_alone_shows_is_raised_at_once_and_the_rest_where_it_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="expected a Plan"):
        RunHandle("localhost")  # type: ignore[arg-type]
    with pytest.raises(PlanError):
        RunHandle(Plan(max_messages=1, workload=Workload(content=Corpus(tmp_path / "none.mbox"))))
    unknown = RunHandle(Plan(max_messages=1, target=TcpTarget("no-such-host.invalid", 25)))
    assert list(unknown.watch()) == []
    with pytest.raises((SetupError, PlanError), match=r"no-such-host\.invalid"):
        unknown.wait(60)
