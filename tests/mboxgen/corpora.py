"""Corpora as tests make them."""

import os
import subprocess
import sys
from pathlib import Path


def forked(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has one thread, so that it forks its workers; `workers()` are their numbers."""
    script = (
        "import os\n"
        "from mboxgen import Recipe, generate\n"
        "from mboxgen.corpus import worker_pool, worker_process\n"
        "worker_pool.worker_count = lambda most, *_: most\n"
        "del worker_process._program\n"
        "workers = lambda: open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        f"{code}\nprint(*workers())"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
