"""What goes out: the source archive is whole, the licence is there, extras are what their advice says."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from trafficgen.host.extras import EXTRAS, advice

ROOT = Path(__file__).parent.parent
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", "*.egg-info", "build", "dist", "__pycache__", ".*_cache", ".hypothesis"
)


def test_the_source_archive_has_what_a_checkout_has(tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / "tree", ignore=NOT_SOURCE)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path / "tree", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    parts = ("trafficgen", "mboxgen", "docs", "examples", "tests", "benchmarks")
    wanted = {
        str(path.relative_to(tmp_path / "tree"))
        for part in parts
        for path in (tmp_path / "tree" / part).rglob("*")
        if path.is_file()
    }
    assert len(wanted) > 300
    assert wanted - names == set()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_licence_is_the_one_that_the_metadata_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_advice_to_install_an_extra_is_what_the_metadata_says() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, requirement in EXTRAS.items():
        assert extras[extra] == [requirement]
        assert f"-m pip install '{requirement}'" in advice(extra)


def test_nobody_is_told_to_install_us_from_an_index() -> None:
    places = [path for part in ("trafficgen", "mboxgen", "examples", "docs") for path in (ROOT / part).rglob("*.*")]
    for path in [*places, *ROOT.glob("*.md")]:
        if path.suffix in (".py", ".md", ".yml", ".sh", ".toml"):
            assert not re.search(r"pip install[^\n]*\btraffic-gen\[", path.read_text()), path


def test_files_that_documents_name_are_there() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for name in re.findall(
            r"`((?:trafficgen|mboxgen|tests|examples|docs|engine|sink)/[\w/]+\.\w+)`", document.read_text()
        ):
            assert (ROOT / name).is_file(), f"{document.name} names {name}"
