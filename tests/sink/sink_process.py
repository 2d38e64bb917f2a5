"""`traffic-gen sink` in a process of its own, told what to do by its options."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SinkProcess:
    """Running; `lines` it says come one by one, and waiting for the next is waiting for the sink."""

    def __init__(self, listen: str, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trafficgen", "sink", listen, *options], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.lines = self.process.stderr
        self.said: list[str] = []
        try:
            self.address = self.wait_for(r"sink listening on (\S+);")[1]
        except AssertionError:
            self.lines.close()
            raise

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def wait_for(self, words: str) -> re.Match[str]:
        """The next line in which this is found."""
        for line in self.lines:
            self.said.append(line.rstrip())
            if found := re.search(words, line):
                return found
        raise AssertionError(f"the sink ended with code {self.process.wait()} and said {self.said}")

    def kill(self) -> None:
        """End it without any chance to clean up."""
        self.process.kill()
        self.process.wait()

    def end(self) -> str:
        """Ctrl-C; returns what it still said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        rest = self.lines.read()
        assert self.process.wait(60) == 0, [*self.said, rest]
        return rest


@contextmanager
def sink_process(listen: str = "127.0.0.1:0", *options: str) -> Iterator[SinkProcess]:
    """A sink that ends with the test."""
    sink = SinkProcess(listen, *options)
    try:
        yield sink
    finally:
        if sink.process.poll() is None:
            sink.process.kill()
        sink.process.wait()
        sink.lines.close()
