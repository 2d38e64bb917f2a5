"""What terminals and shells do to us: encodings without our characters, closed streams, completion in real shells."""

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
def test_closed_streams_cost_what_they_were_to_take(folder: Path, command: str, closed: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{PROGRAMS}/{command} {closed}"], cwd=folder, capture_output=True, check=False
    )
    wanted = 1 if ">&-" in closed.split() and " a " not in command else 0  # making a corpus says nothing on stdout
    assert (done.returncode, b"Traceback" in done.stderr) == (wanted, False)


@pytest.mark.parametrize("stdout", [">&-", "> /dev/full"])
@pytest.mark.parametrize(
    "command",
    [
        "traffic-gen --list-presets",
        "traffic-gen --help",
        "traffic-gen --message-count 1 --workers 1",
        "mboxgen info corpus.mbox",
        "mboxgen --help",
    ],
)
def test_what_stdout_does_not_take_is_said_in_a_line(folder: Path, command: str, stdout: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{PROGRAMS}/{command} {stdout}"], cwd=folder, capture_output=True, check=False, text=True
    )
    reason = "it is closed" if stdout == ">&-" else "no space left on device"
    words = f"{command.split()[0]}: cannot write to stdout: {reason}\n"
    assert (done.returncode, done.stderr.splitlines(keepends=True)[-1:]) == (1, [words])
    assert done.stderr == words or "--message-count" in command  # which shows its progress there


def test_ctrl_c_while_the_command_is_being_imported_is_one_line() -> None:
    script = """
import sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
from trafficgen.cli import main
main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (105, "", "traffic-gen: interrupted\n")


class Shell:
    """An interactive shell at a terminal."""

    begin: tuple[str, ...]
    """The program and its arguments."""
    prepare: tuple[str, ...]
    """What makes its answers plain, and completion work."""
    tabs = b"\t"

    def __init__(self, folder: Path) -> None:
        shell = program(self.begin[0], self.begin[0])
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            path = f"{PROGRAMS}:{os.environ['PATH']}"
            environment = {"PATH": path, "TERM": "dumb", "PS1": "$ ", "HOME": str(folder)}
            os.execve(shell, [shell, *self.begin[1:]], environment)
        for line in self.prepare:
            self.run(line)
        self.run(f'eval "$(traffic-gen completion {self.begin[0]})"')

    def run(self, line: str) -> None:
        os.write(self.terminal, f"{line}; echo READY-$((20+3))\n".encode())
        self.read_until("READY-23")

    def read_until(self, mark: str) -> str:
        said, end = "", time.monotonic() + 60
        while mark not in said:
            readable, _, _ = select.select([self.terminal], [], [], max(end - time.monotonic(), 0))
            assert readable, f"{self.begin[0]} said only {said!r}"
            said += os.read(self.terminal, 65536).decode("utf-8", "replace")
        return said

    def complete(self, line: str) -> str:
        """What it makes of this line after a tab: ^A and ^E make it the text of an echo, which is then run."""
        os.write(self.terminal, line.encode() + self.tabs + b"\x01echo '\x05' | sed s/^/GOT:/; echo READY-$((20+3))\n")
        return self.read_until("READY-23").rpartition("GOT:")[2]

    def close(self) -> None:
        os.write(self.terminal, b"\x15\nexit\n")
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


class Bash(Shell):
    begin = ("bash", "--norc", "--noprofile", "-i")
    prepare = (
        "bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; bind 'set completion-query-items 0'",
        "bind 'set page-completions off'; stty -echoctl cols 1000",
    )
    tabs = b"\t\t"


class Zsh(Shell):
    begin = ("zsh", "-f", "-i")
    prepare = (
        "unset zle_bracketed_paste; unsetopt prompt_cr prompt_sp; setopt no_beep no_list_beep no_auto_menu",
        "stty cols 1000; bindkey -e",
        "autoload -U compinit; compinit -u -D",
    )


class Fish:
    """What fish offers for a line, as it says itself (`complete --do-complete`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shell = program("fish", "fish")

    def complete(self, line: str) -> str:
        script = "traffic-gen completion fish | source; complete --do-complete $argv[1]"
        environment = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        done = subprocess.run(
            [self.shell, "--no-config", "-c", script, line],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        (offered,) = done.stdout.splitlines()
        return f"{line.rpartition(' ')[0]} {offered.partition(chr(9))[0]}"

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module", params=[Bash, Zsh, Fish])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell | Fish]:
    folder = tmp_path_factory.mktemp("shell")
    for name in ("corpus.mbox", "results.json", "body.txt"):
        (folder / name).write_text("")
    made: Shell | Fish = request.param(folder)
    yield made
    made.close()


COMPLETED = (
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
)


FOR_ALL = (0, 4, 9, 13, 17, 19)
"""Which of them tell one shell from another: file names, presets, commands of commands, words after a `--`."""


def test_shells_complete(shell: Shell | Fish) -> None:
    wrong = []
    for line, completed in COMPLETED if isinstance(shell, Bash) else [COMPLETED[place] for place in FOR_ALL]:
        said = shell.complete(line)
        if not (said.startswith(line.split()[0]) and completed in said):
            wrong.append((line, completed, said))
    assert wrong == []
