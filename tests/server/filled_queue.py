"""A queue that is filled while deliveries are held, compared with what Postfix says, released, and seen to drain.

Takes     how many messages
Gives     `Filled`: what the spool and `postqueue -j` said of the full queue, and the drain that an observer saw
"""

import json
import subprocess
import time
from dataclasses import dataclass

import numpy as np

from tests.conftest import program
from tests.peers.postfix import Postfix, private_postfix
from tests.peers.running import plan_for
from tests.sink.sink_process import sink_process
from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.measure.bottleneck import Drain, drain
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.observation import Observation, options_of
from trafficgen.server.spool import QUEUES, PostfixSpool

_HELD = (
    "defer_transports = smtp relay\nqueue_run_delay = 3000s\nminimal_backoff_time = 3000s\nmaximal_backoff_time = 4000s"
)

_PICKUP = "pickup unix n - n 60 1 pickup\n"
"""Without it postqueue -f says that Postfix is down."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Of a queue at one moment, by the spool and by Postfix; arrivals in whole seconds, ascending. `sent`: accepted by
    Postfix.  `left`: files in the queues at the end."""

    sent: int
    depth: int
    arrivals: tuple[int, ...]
    said_depth: int
    said_arrivals: tuple[int, ...]
    look_cpu_s: float
    postqueue_s: float
    drained: Drain
    left: int


def fill_and_drain(messages: int, *, patience_s: float, every: str = "1s") -> Filled:
    """AssertionError when Postfix is not done by `patience_s` at either end."""
    with sink_process("127.0.0.1:0") as sink, private_postfix(sink.port, _HELD, _PICKUP) as postfix:
        queue = postfix.folder / "queue"
        with Observation(
            "local", options_of(str(queue), None, (), every), drain_ns=round(patience_s * NS_PER_S)
        ) as seen:
            results = run_monitored(plan_for(postfix.port, messages=messages, sessions=8), MonitorOptions())
            clock = results.run.clock
            assert clock is not None
            spool = PostfixSpool(queue)
            deadline = time.monotonic() + patience_s
            while _look(spool)["queue.deferred"] < results.messages.accepted:
                assert time.monotonic() < deadline, "not everything was deferred in time"
                time.sleep(0.1)
            began = time.process_time()
            depth = _look(spool)["queue.depth"]
            look_cpu_s = time.process_time() - began
            began = time.monotonic()
            said = _said_by_postfix(postfix)
            postqueue_s = time.monotonic() - began
            arrivals = np.sort(spool.arrivals()).astype(np.int64).tolist()
            while (now_seen := seen.samples(clock)) is None or now_seen.series["queue.depth"][-1] != len(said):
                assert time.monotonic() < deadline, "the observer did not see the full queue in time"
                time.sleep(0.1)
            released_s = (now_ns() - clock.began_ns) / NS_PER_S
            _release(postfix)
            seen.wait_for_drain(clock, released_s, lambda: False)
            samples = seen.samples(clock)
        assert samples is not None
        drained = drain(samples, released_s)
        assert drained is not None
        left = postfix.queued()
        postfix.stop()
        sink.end()
    return Filled(
        results.messages.accepted, int(depth), tuple(arrivals), len(said), tuple(said), look_cpu_s, postqueue_s,
        drained, left,
    )  # fmt: skip


def _look(spool: PostfixSpool) -> dict[str, float]:
    for queue in QUEUES:
        spool.look(queue)
    return spool.values(time.time())


def _said_by_postfix(postfix: Postfix) -> list[int]:
    """Arrivals, of each queue id once: postqueue may list one twice."""
    command = [program("postqueue", "postfix"), "-c", str(postfix.folder / "config"), "-j"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    return sorted({one["queue_id"]: int(one["arrival_time"]) for one in listed}.values())


def _release(postfix: Postfix) -> None:
    config = str(postfix.folder / "config")
    subprocess.run([program("postconf", "postfix"), "-c", config, "-e", "defer_transports="], timeout=60, check=True)
    subprocess.run([program("postfix", "postfix"), "-c", config, "reload"], capture_output=True, timeout=60, check=True)
    subprocess.run([program("postqueue", "postfix"), "-c", config, "-f"], capture_output=True, timeout=60, check=True)
