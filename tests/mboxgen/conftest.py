"""What several tests of mboxgen share."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mboxgen import Recipe, generate
from mboxgen.corpus import worker_pool
from mboxgen.recipe.recipe import Eol


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 300 messages with every shape, LF line ends, for readers."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.mbox"
    generate(Recipe(("uniform:700-40000",), count=300, seed=5, look="corporate", eol=Eol.LF), path)
    return path


@pytest.fixture
def program() -> Callable[[str], str]:
    """Give the path of a program; without it the test is skipped, and fails in CI."""

    def find(name: str) -> str:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/lib/dovecot")
        if found is None:
            message = f"{name} is not installed"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        return found

    return find


@pytest.fixture
def many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let corpora be made by as many workers as asked for, from the third block on, though nobody gains by it."""
    monkeypatch.setattr(worker_pool, "worker_count", lambda most, blocks, *_: min(most, blocks))


@pytest.fixture
def mboxgen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run the command in a folder of its own, in this process."""
    from mboxgen import cli

    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["mboxgen", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), said.out, said.err)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
