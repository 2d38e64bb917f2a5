"""What several tests of mboxgen share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mboxgen import Recipe, generate


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 300 messages with every shape, LF line ends, for readers."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.mbox"
    recipe = Recipe(("uniform:700-40000",), count=300, seed=5, look="corporate", eol=_lf())
    generate(recipe, path)
    return path


def _lf() -> object:
    from mboxgen.recipe import Eol

    return Eol.LF


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
def mboxgen(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a folder of its own."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from mboxgen.cli import main; main()", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]

    return run
