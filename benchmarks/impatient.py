"""A Dask worker whose shards wait less for a coordinator that is gone, and a command line that is forked.

    dask worker tcp://scheduler:8786 --preload benchmarks.impatient
    multiprocessing.get_context("forkserver").Process(target=impatient.command, args=("send", …))

Why       a shard that nobody asks after goes on for 60 s, and would send meanwhile: here the same in fewer seconds
Not here  the limits of the coordinator: on a machine with more runs than cores they are needed as they are
"""

import os
from typing import NoReturn

from trafficgen.cli import main
from trafficgen.cluster import host

ABANDONED_S = 20.0
"""A machine that starts a dozen clusters at once may not ask for 10 s."""


def dask_setup(_worker: object) -> None:
    """Dask calls it when the worker starts."""
    host._ABANDONED_S = ABANDONED_S  # type: ignore[misc]


def command(*arguments: str) -> NoReturn:
    """The command line, with nothing on stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    main(arguments)
