"""Errors of a child process reach the user as one line; scripts that start runs are told what they lack."""

import inspect
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import pytest

import mboxgen
import trafficgen
from trafficgen.errors import PlanError, SetupError
from trafficgen.host import processes


def refuse(pipe: Connection) -> NoReturn:
    raise PlanError("expected a mailbox", field="content", flag="--mbox")


def run_out_of_files(pipe: Connection) -> NoReturn:
    raise OSError(24, "Too many open files")


def speak(pipe: Connection) -> None:
    pipe.recv()
    pipe.send("still here")


@pytest.mark.parametrize(
    ("main", "kind", "words"),
    [(refuse, PlanError, "expected a mailbox (content)"), (run_out_of_files, SetupError, "too many open files")],
)
def test_what_a_child_cannot_do_is_its_last_word(main, kind, words, capfd) -> None:
    child = processes.start(main)
    word = child.pipe.recv()
    child.end(10.0)
    assert type(word) is kind
    assert str(word) == words
    assert child.process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_a_child_whose_parent_has_gone_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    child = processes.start(speak)
    child.pipe.send(None)
    child.pipe.close()
    child.end(10.0)
    assert capfd.readouterr().err == ""


def test_too_few_open_files_are_one_line(tmp_path: Path) -> None:
    limited = f"ulimit -n 64; exec {sys.executable} -m trafficgen --message-count 5 --quiet"
    done = subprocess.run(["/bin/sh", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ulimit -n" in done.stderr


TWO_CHILDREN = """
from multiprocessing.shared_memory import SharedMemory
from os import getpid
from pathlib import Path

from trafficgen.host import processes

def say_hello(pipe):
    pipe.send("hello")

def beside_us():
    return len(Path(f"/proc/self/task/{getpid()}/children").read_text().split())

if __name__ == "__main__":
    processes.prepare()
    child = processes.start(say_hello)
    print(child.pipe.recv(), beside_us())
    child.end(10.0)
    block = SharedMemory(create=True, size=1)
    block.close()
    block.unlink()
    print(beside_us())
    child = processes.start(say_hello)
    print(child.pipe.recv(), beside_us())
    child.end(10.0)
"""


def test_no_tracker_of_resources_runs_beside_children_unless_the_program_has_some(tmp_path: Path) -> None:
    done = as_script(TWO_CHILDREN, tmp_path)
    assert (done.stdout, done.stderr) == ("hello 1\n2\nhello 2\n", "")


def as_script(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False, env={**os.environ}
    )


@pytest.mark.parametrize("package", [trafficgen, mboxgen], ids=lambda package: package.__name__)
def test_the_example_of_the_package_runs_as_a_script(package, tmp_path) -> None:
    code = inspect.cleandoc(package.__doc__).split("\n\n")
    example = "\n\n".join(inspect.cleandoc(part) if not part.startswith("    ") else part for part in code)
    lines = [line[4:] for line in example.splitlines() if line.startswith("    ") or not line.strip()]
    done = as_script("\n".join(lines).replace("10_000", "200"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_without_a_guard_is_told_so_in_a_line(tmp_path: Path) -> None:
    done = as_script("from trafficgen import Plan, run\nrun(Plan(max_messages=5, sessions=1))\n", tmp_path)
    assert done.returncode == 1
    assert "put what it does under if __name__ == '__main__':" in done.stderr
    assert "freeze_support" not in done.stderr


@pytest.mark.parametrize("package", [trafficgen, mboxgen], ids=lambda package: package.__name__)
def test_dir_shows_what_there_is(package) -> None:
    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in package.__all__)
