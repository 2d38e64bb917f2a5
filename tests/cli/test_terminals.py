"""What terminals and shells do to us: encodings without our characters, closed streams, completion in a real bash."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import program

PROGRAMS = Path(sys.executable).parent
MESSAGE = "From a@b.test Fri Nov 21 22:55:00 2025\nSubject: µ – …\nContent-Type: text/µ\n\nhello\n\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.mbox").write_text(MESSAGE, encoding="utf-8")
    (tmp_path / "results.json").write_text("{}")
    return tmp_path


COMMANDS = (
    ("traffic-gen", "--help"),
    ("traffic-gen", "--list-presets"),
    ("traffic-gen", "--dry-run", "--header", "X-A: µ–…", "--domain", "ü.test"),
    ("traffic-gen", "--dry-run", "--header", "X-A: µ–…"),
    ("traffic-gen", "--mbox", "\udcff\udcfe.mbox"),
    ("traffic-gen", "--message-count", "5", "--html", "µ\udcff.html", "--json", "-"),
    ("traffic-gen", "report", "no-µ.json"),
    ("traffic-gen", "sned-µ"),
    ("traffic-gen", "schema", "results"),
    ("mboxgen", "--help"),
    ("mboxgen", "info", "corpus.mbox"),
    ("mboxgen", "info", "\udcff-µ.mbox"),
    ("mboxgen", "µ\udcff.mbox", "--size", "1kb:3"),
    ("mboxgen", "verify", "µ.mbox"),
)


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_no_encoding_ends_a_command(folder: Path, command: tuple[str, ...], environment: dict[str, str]) -> None:
    arguments = [os.fsencode(PROGRAMS / command[0]), *map(os.fsencode, command[1:])]
    done = subprocess.run(arguments, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False)
    assert done.returncode in (0, 1, 2, 122)
    assert b"Traceback" not in done.stderr
    assert b"codec" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command", ["traffic-gen --list-presets", "mboxgen info corpus.mbox", "mboxgen a --size 1kb:3"]
)
def test_closed_streams_end_no_command(folder: Path, command: str, closed: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{PROGRAMS}/{command} {closed}"], cwd=folder, capture_output=True, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


class Bash:
    """An interactive bash at a terminal."""

    def __init__(self, folder: Path) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            shell = program("bash", "bash")
            path = f"{PROGRAMS}:{os.environ['PATH']}"
            os.execve(shell, [shell, "--norc", "--noprofile", "-i"], {"PATH": path, "TERM": "dumb", "PS1": "$ "})
        self.run(
            "bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; bind 'set completion-query-items 0'"
        )
        self.run("bind 'set page-completions off'; stty -echoctl cols 1000")
        for name in ("traffic-gen", "mboxgen"):
            variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
            self.run(f'eval "$({variable}=bash_source {name})"')

    def run(self, line: str) -> None:
        os.write(self.terminal, f"{line}; echo READY-$((20+3))\n".encode())
        self.read_until("READY-23")

    def read_until(self, mark: str) -> str:
        said, end = "", time.monotonic() + 60
        while mark not in said:
            readable, _, _ = select.select([self.terminal], [], [], max(end - time.monotonic(), 0))
            assert readable, f"bash said only {said!r}"
            said += os.read(self.terminal, 65536).decode("utf-8", "replace")
        return said

    def complete(self, line: str) -> str:
        """What bash makes of this line after a tab: ^A and ^E make it the text of an echo, which is then run."""
        os.write(self.terminal, line.encode() + b"\t\t\x01echo '\x05' | sed s/^/GOT:/; echo READY-$((20+3))\n")
        return self.read_until("READY-23")

    def close(self) -> None:
        os.write(self.terminal, b"\x15\nexit\n")
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bash]:
    folder = tmp_path_factory.mktemp("bash")
    for name in ("corpus.mbox", "results.json", "body.txt"):
        (folder / name).write_text("")
    shell = Bash(folder)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("traffic-gen --mbox cor", "--mbox corpus.mbox"),
        ("traffic-gen --message-count 5 --json res", "--json results.json"),
        ("traffic-gen send --body-file bod", "--body-file body.txt"),
        ("traffic-gen sink 2526 --ledger bod", "--ledger body.txt"),
        ("traffic-gen sink 2526 --responses prov", "--responses providers"),
        ("traffic-gen sink 2526 --responses bod", "--responses body.txt"),
        ("traffic-gen report res", "report results.json"),
        ("traffic-gen verify res", "verify results.json"),
        ("traffic-gen --scenario bod", "--scenario body.txt"),
        ("traffic-gen --domain-preset kumo-do", "--domain-preset kumo-doc"),
        ("traffic-gen --body-size spec2", "--body-size spec2001"),
        ("traffic-gen --recipients rcpt", "--recipients rcpt-cam"),
        ("traffic-gen --pipelining au", "--pipelining auto"),
        ("traffic-gen sink stat", "sink status"),
        ("traffic-gen schema res", "schema results"),
        ("traffic-gen cali", "traffic-gen calibrate"),
        ("traffic-gen gate --a 127.0.0.1 -- --message-c", "-- --message-count"),
        ("traffic-gen gate --a 127.0.0.1 -- --mbox cor", "--mbox corpus.mbox"),
        ("mboxgen inf", "mboxgen info"),
        ("mboxgen info cor", "info corpus.mbox"),
        ("mboxgen cor", "mboxgen corpus.mbox"),
        ("mboxgen out --preset spec", "--preset spec2001"),
        ("mboxgen out --recipe bod", "--recipe body.txt"),
        ("mboxgen out --fault leading", "--fault leading-dot"),
    ],
)
def test_bash_completes(bash: Bash, line: str, completed: str) -> None:
    assert f"GOT:{line.split()[0]}" in (said := bash.complete(line))
    assert completed in said.partition("GOT:")[2]
