"""Places where the disk is full: a tmpfs of a few pages where we may mount one, else a limit on the size of files."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOM_OCTETS = 16 * 1024


@contextmanager
def tiny_tmpfs(place: Path) -> Iterator[bool]:
    """A file system of 16 KiB at `place` until the block ends; False where this user may not mount one."""
    place.mkdir()
    mount = shutil.which("mount")
    arguments = ["-t", "tmpfs", "-o", f"size={ROOM_OCTETS}", "none", str(place)]
    mounted = (
        mount is not None and subprocess.run([mount, *arguments], capture_output=True, check=False).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def run_on_full_disk(arguments: Sequence[str], *, limited: bool) -> subprocess.CompletedProcess[str]:
    """The program, for which with `limited` no file may grow beyond `ROOM_OCTETS`."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_OCTETS, ROOM_OCTETS))

    return subprocess.run(
        [sys.executable, "-m", "trafficgen", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GITHUB_STEP_SUMMARY": ""},
        preexec_fn=limit if limited else None,
    )
