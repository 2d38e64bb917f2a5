"""An observer and a real Postfix: a long queue, and what a server is short of. As root, on a quiet machine.

    python -m benchmarks.observe_postfix queue [MESSAGES]    # 20,000 held, as postqueue -j says, released, drained
    python -m benchmarks.observe_postfix shortage [SECONDS]  # the sentence for five servers

Lasts     3 minutes (`queue`), 2 (`shortage`)
The slow disk: a library put before libc in Postfix's processes (LD_PRELOAD) makes of each fsync `WRITES` more
synchronous writes, so that processes wait for the disk that there is. A sleep would not do: the kernel counts only
those that wait for I/O. Costly checks: regular expressions for every header, which cleanup(8) tries one by one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from tests.conftest import program
from tests.peers.postfix import private_postfix
from tests.peers.running import plan_for
from tests.server.filled_queue import fill_and_drain
from tests.sink.sink_process import sink_process
from trafficgen.measure.bottleneck import Shortage, find
from trafficgen.plan import OpenLoop
from trafficgen.report.observed import sentence
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.observation import Observation, options_of

WRITES: Final = 40
RULES: Final = 400
SLOW_SYNC: Final = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int slow(void)
{
    static int scratch = -1;
    if (scratch < 0) {
        char name[200];
        snprintf(name, sizeof name, "%s/sync.%d", FOLDER, (int) getpid());
        scratch = open(name, O_RDWR | O_CREAT | O_DSYNC, 0600);
    }
    for (int n = 0; scratch >= 0 && n < WRITES; n++)
        if (pwrite(scratch, &n, sizeof n, 0) < 0)
            break;
    return 0;
}

int fsync(int fd) { slow(); return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { slow(); return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd); }
"""


def slow_disk(folder: Path) -> str:
    """Settings of a Postfix whose every fsync is slow."""
    folder.chmod(0o777)  # Postfix's own user writes there
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(SLOW_SYNC)
    defines = [f'-DFOLDER="{folder}"', f"-DWRITES={WRITES}"]
    subprocess.run(
        [program("cc", "gcc"), "-shared", "-fPIC", "-O2", *defines, "-o", str(library), str(source), "-ldl"], check=True
    )
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
    sessions: int = 16
    rate: float | None = None
    a_session_each: bool = False
    delay: str = "0ms"


SERVERS: Final = (
    Server("slow disk", slow_disk, Shortage.DISK),
    Server("costly checks", costly_checks, Shortage.CPU),
    Server("one slow delivery at a time", slow_next_hop, Shortage.SLOTS, rate=40.0, delay="250ms"),
    Server("two processes for sixty sessions", few_processes, Shortage.CONNECTIONS, 60, a_session_each=True),
    Server("nothing to do", lambda _folder: "", Shortage.NOTHING, rate=20.0),
)


def said_of(server: Server, seconds: float) -> tuple[Shortage, str, float]:
    """The finding, the sentence, messages a second."""
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        sink = stack.enter_context(sink_process("127.0.0.1:0", "--delay", f"dot:{server.delay}"))
        postfix = stack.enter_context(private_postfix(sink.port, server.settings(Path(text))))
        plan = plan_for(
            postfix.port, duration_s=seconds, sessions=server.sessions,
            load=OpenLoop(server.rate) if server.rate else None,
            session={"max_messages": 1} if server.a_session_each else None,
        )  # fmt: skip
        with Observation("local", options_of(str(postfix.folder / "queue"), None, ())) as seen:
            results = run_monitored(plan, MonitorOptions(), observation=seen)
        subprocess.run([program("postsuper", "postfix"), "-c", str(postfix.folder / "config"), "-d", "ALL"], check=True)
        postfix.stop()
        sink.end()
    assert results.server is not None
    found = find(results.server, 0.0, results.run.duration_s)
    return found.shortage, sentence(found), results.rate.messages_per_s or 0.0


def shortage(seconds: float) -> Iterator[str]:
    """A row each. SystemExit when one is told wrong, after the last."""
    yield "| server | messages/s | the sentence |"
    yield "|---|---|---|"
    wrong = []
    for server in SERVERS:
        found, said, rate = said_of(server, seconds)
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
