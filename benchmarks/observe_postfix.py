"""An observer and a real Postfix: a long queue, and what a server is short of. As root, on a quiet machine.

    python -m benchmarks.observe_postfix queue [MESSAGES]    # 20,000 held, as postqueue -j says, released, drained
    python -m benchmarks.observe_postfix shortage [SECONDS]  # the sentence for six servers

Lasts     3 minutes (`queue`), 2 (`shortage`)
The slow disk: Postfix's processes are put into a cgroup that may write `WRITES` times a second to the disk that has the
queue (blkio.throttle of v1, io.max of v2); where there is none, its row says so. The slow fsync is a library put before
libc (LD_PRELOAD), which sleeps: the kernel then knows of no wait for the disk, and the sentence must say what can be
known. Costly checks: regular expressions for every header, which cleanup(8) tries one by one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.conftest import program
from tests.peers.postfix import Postfix, private_postfix
from tests.peers.running import plan_for
from tests.server.filled_queue import fill_and_drain
from tests.sink.sink_process import sink_process
from trafficgen.measure.bottleneck import ClientView, Shortage, find
from trafficgen.plan import OpenLoop
from trafficgen.report.observed import sentence
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.observation import Observation, options_of

WRITES: Final = 40
SLEEP_US: Final = 30_000
RULES: Final = 400
SLOW_SYNC: Final = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int fsync(int fd) { usleep(SLEEP_US); return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { usleep(SLEEP_US); return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd); }
"""


@contextmanager
def slow_disk(postfix: Postfix) -> Iterator[bool]:
    """While few writes a second are let through; False where this kernel has nothing for it."""
    device = whole_disk(postfix.folder)
    for root, limit in (
        (Path("/sys/fs/cgroup/blkio"), ("blkio.throttle.write_iops_device", f"{device} {WRITES}")),
        (Path("/sys/fs/cgroup"), ("io.max", f"{device} wiops={WRITES}")),
    ):
        group = root / f"traffic-gen-{postfix.port}"
        if not device or not (root / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
            (group / limit[0]).write_text(limit[1])
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        master = int((postfix.folder / "queue/pid/master.pid").read_text())
        theirs = [str(master), *Path(f"/proc/{master}/task/{master}/children").read_text().split()]
        for pid in theirs:
            (group / "cgroup.procs").write_text(pid)
        try:
            yield True
        finally:
            for one in (group / "cgroup.procs").read_text().split():
                with suppress(OSError):  # it has just ended
                    (root / "cgroup.procs").write_text(one)
            group.rmdir()
        return
    yield False


def whole_disk(folder: Path) -> str:
    """Its number, as 254:0: a partition has no limits of its own. "" where there is none, as for a tmpfs."""
    device = folder.stat().st_dev
    at = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not at.exists():
        return ""
    at = at.resolve()
    return ((at.parent if (at / "partition").exists() else at) / "dev").read_text().strip()


def slow_sync(folder: Path) -> str:
    """Settings of a Postfix whose every fsync sleeps."""
    folder.chmod(0o755)  # Postfix's own user reads there
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(SLOW_SYNC)
    words = ["-shared", "-fPIC", "-O2", f"-DSLEEP_US={SLEEP_US}", "-o", str(library), str(source), "-ldl"]
    subprocess.run([program("cc", "gcc"), *words], check=True)
    library.chmod(0o755)
    return f"import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LD_PRELOAD={library}"


def costly_checks(folder: Path) -> str:
    """Settings of a Postfix that tries `RULES` expressions on each header."""
    folder.chmod(0o755)
    rules = folder / "checks"
    rules.write_text("".join(f"/^(Subject|X-[A-Z]+): *(.*[a-z]+)* nothing-{n}$/ WARN\n" for n in range(RULES)))
    rules.chmod(0o644)
    return f"header_checks = regexp:{rules}"


def slow_next_hop(_folder: Path) -> str:
    """One delivery at a time, to a sink that takes its time."""
    return "default_destination_concurrency_limit = 1\ninitial_destination_concurrency = 1"


def few_processes(_folder: Path) -> str:
    """Two processes a service, which take a second for a session; the listen queue is as long as they are many."""
    return "default_process_limit = 2\nsmtpd_client_restrictions = sleep 1"


class Server(NamedTuple):
    """One that is short of something, and what is sent to it."""

    words: str
    settings: Callable[[Path], str]
    expected: Shortage
    meanwhile: Callable[[Postfix], AbstractContextManager[bool]] = lambda _postfix: nullcontext(enter_result=True)
    sessions: int = 16
    rate: float | None = None
    a_session_each: bool = False
    delay: str = "0ms"


SERVERS: Final = (
    Server("slow disk", lambda _folder: "", Shortage.DISK, slow_disk),
    Server("fsync that sleeps", slow_sync, Shortage.ELSEWHERE),
    Server("costly checks", costly_checks, Shortage.CPU),
    Server("one slow delivery at a time", slow_next_hop, Shortage.SLOTS, rate=40.0, delay="250ms"),
    Server("two processes for sixty sessions", few_processes, Shortage.CONNECTIONS, sessions=60, a_session_each=True),
    Server("nothing to do", lambda _folder: "", Shortage.NOTHING, rate=20.0),
)


def said_of(server: Server, seconds: float) -> tuple[Shortage, str, float] | None:
    """The finding, the sentence, messages a second; None where this machine cannot be made so."""
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        sink = stack.enter_context(sink_process("127.0.0.1:0", "--delay", f"dot:{server.delay}"))
        postfix = stack.enter_context(private_postfix(sink.port, server.settings(Path(text))))
        plan = plan_for(
            postfix.port, duration_s=seconds, sessions=server.sessions,
            load=OpenLoop(server.rate) if server.rate else None,
            session={"max_messages": 1} if server.a_session_each else None,
        )  # fmt: skip
        with (
            server.meanwhile(postfix) as possible,
            Observation("local", options_of(str(postfix.folder / "queue"), None, ())) as seen,
        ):
            results = run_monitored(plan, MonitorOptions(), observation=seen) if possible else None
        subprocess.run([program("postsuper", "postfix"), "-c", str(postfix.folder / "config"), "-d", "ALL"], check=True)
        postfix.stop()
        sink.end()
    if results is None:
        return None
    assert results.server is not None
    found = find(results.server, 0.0, results.run.duration_s, ClientView.of(results))
    return found.shortage, sentence(found), results.rate.messages_per_s or 0.0


def shortage(seconds: float) -> Iterator[str]:
    """A row each. SystemExit when one is told wrong, after the last."""
    yield "| server | messages/s | the sentence |"
    yield "|---|---|---|"
    wrong = []
    for server in SERVERS:
        seen = said_of(server, seconds)
        if seen is None:
            yield f"| {server.words} | | not possible on this machine |"
            continue
        found, said, rate = seen
        yield f"| {server.words} | {rate:.0f} | {said} |"
        wrong += [] if found is server.expected else [f"{server.words}: expected {server.expected.value}"]
    if wrong:
        sys.exit("; ".join(wrong))


def queue(messages: int) -> Iterator[str]:
    """One line. AssertionError when Postfix says something else."""
    began = time.monotonic()
    found = fill_and_drain(messages, patience_s=1800)
    assert found.sent == found.depth == found.said_depth == messages
    assert found.arrivals == found.said_arrivals
    assert (found.drained.left, found.left) == (0, 0)
    drained_s, rate = found.drained.took_s, found.drained.per_s
    yield (
        f"{messages:,} held: depth {found.depth:,}, postqueue -j {found.said_depth:,}; arrivals equal to the second; "
        f"a look {found.look_cpu_s:.3f} s of CPU, postqueue {found.postqueue_s:.1f} s; released, "
        f"drained in {drained_s:.1f} s at {rate:.0f}/s; all in {time.monotonic() - began:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["queue", "shortage"])
    parser.add_argument("number", nargs="?", type=int, help="messages, or seconds")
    chosen = parser.parse_args()
    for line in queue(chosen.number or 20_000) if chosen.what == "queue" else shortage(chosen.number or 15):
        print(line, flush=True)


if __name__ == "__main__":
    main()
