"""An observer and a real Postfix: a long queue, and what a server is short of. As root, on a quiet machine.

    python -m benchmarks.observe_postfix queue [MESSAGES]    # 20,000 held, as postqueue -j says, released, drained
    python -m benchmarks.observe_postfix shortage [SECONDS]  # the sentence for a slow disk and for costly header checks

The slow disk: a library put before libc in Postfix's processes (LD_PRELOAD) makes of each fsync `WRITES` more
synchronous writes, so that processes wait for the disk that there is. A sleep would not do: the kernel counts only
those that wait for I/O. Costly checks: regular expressions for every header, which cleanup(8) tries one by one.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.conftest import program
from tests.peers.postfix import private_postfix
from tests.peers.running import plan_for
from tests.server.filled_queue import fill_and_drain
from tests.sink.sink_process import sink_process
from trafficgen.measure.bottleneck import Shortage, find
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


def said_of(settings: str, seconds: float) -> tuple[Shortage, str, float]:
    """The finding, the sentence, messages a second."""
    with sink_process("127.0.0.1:0") as sink, private_postfix(sink.port, settings) as postfix:
        with Observation("local", options_of(str(postfix.folder / "queue"), None, ())) as seen:
            plan = plan_for(postfix.port, duration_s=seconds, sessions=16)
            results = run_monitored(plan, MonitorOptions(), observation=seen)
        postfix.stop()
        sink.end()
    assert results.server is not None
    found = find(results.server, 0.0, results.run.duration_s)
    return found.shortage, sentence(found), results.rate.messages_per_s or 0.0


def shortage(seconds: float) -> None:
    print("| server | messages/s | the sentence |\n|---|---|---|")
    wanted = (("slow disk", slow_disk, Shortage.DISK), ("costly checks", costly_checks, Shortage.CPU))
    wrong = []
    for words, settings, expected in wanted:
        with tempfile.TemporaryDirectory() as text:
            found, said, rate = said_of(settings(Path(text)), seconds)
        print(f"| {words} | {rate:.0f} | {said} |")
        wrong += [] if found is expected else [f"{words}: expected {expected.value}, got {found.value}"]
    if wrong:
        sys.exit("; ".join(wrong))


def queue(messages: int) -> None:
    began = time.monotonic()
    found = fill_and_drain(messages, patience_s=1800)
    assert found.sent == found.depth == found.said_depth == messages
    assert found.arrivals == found.said_arrivals
    assert (found.drained.left, found.left) == (0, 0)
    drained_s, rate = found.drained.took_s, found.drained.per_s
    print(
        f"{messages:,} held: depth {found.depth:,}, postqueue -j {found.said_depth:,}; arrivals equal to the second; "
        f"a look {found.look_cpu_s:.3f} s of CPU, postqueue {found.postqueue_s:.1f} s; released, "
        f"drained in {drained_s:.1f} s at {rate:.0f}/s; all in {time.monotonic() - began:.0f} s"
    )


def main() -> None:
    match sys.argv[1:]:
        case ["queue", *rest]:
            queue(int(rest[0]) if rest else 20_000)
        case ["shortage", *rest]:
            shortage(float(rest[0]) if rest else 20.0)
        case _:
            sys.exit("expected queue [MESSAGES] or shortage [SECONDS]")


if __name__ == "__main__":
    main()
