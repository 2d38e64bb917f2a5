"""What goes out: archives are whole and the same each time, man finds its pages, extras are what their advice says."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import warnings
import zipfile
from datetime import date
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import program
from tests.examples.containerfile import steps
from trafficgen.cli.completion import completion_script
from trafficgen.cli.manual import man_pages
from trafficgen.cli.program import COMMANDS
from trafficgen.host.extras import EXTRAS, advice

ROOT = Path(__file__).parent.parent
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", "*.egg-info", "build", "dist", "__pycache__", ".*_cache", ".hypothesis"
)
PAGES = {page.title: page.text for page in man_pages(date(2026, 11, 27))}


def build(tree: Path, folder: Path, *targets: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    arguments = [word for target in targets for word in ("-t", target)]
    done = subprocess.run([*command, *arguments], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("first") / "tree", ignore=NOT_SOURCE))


@pytest.fixture(scope="module")
def archives(tree: Path) -> Path:
    build(tree, tree.parent / "built", "sdist", "wheel")
    return tree.parent / "built"


def one(archives: Path, pattern: str) -> Path:
    (found,) = archives.glob(pattern)
    return found


def test_the_source_archive_has_what_a_checkout_has(tree: Path, archives: Path) -> None:
    with tarfile.open(one(archives, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    parts = ("trafficgen", "mboxgen", "docs", "examples", "tests", "benchmarks", ".ci")
    wanted = {
        str(path.relative_to(tree))
        for part in parts
        for path in (tree / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(wanted) > 300
    assert wanted - names == set()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_other_days_places_and_rights_make_the_same_archives(archives: Path, tmp_path: Path) -> None:
    """The other wheel is made from the source archive, as whoever installs that makes it."""
    source = one(archives, "*.tar.gz")
    with warnings.catch_warnings(), tarfile.open(source) as archive:
        warnings.simplefilter("ignore")  # Python 3.12 wants a filter that 3.11.2 has not
        archive.extractall(tmp_path)
    (tree,) = tmp_path.iterdir()
    for path in tree.rglob("*.py"):
        path.chmod(0o600)
        path.touch()
    (tree / "PKG-INFO").unlink()
    build(tree, tmp_path / "built", "sdist", "wheel")
    assert one(tmp_path / "built", "*.tar.gz").read_bytes() == source.read_bytes()
    assert one(tmp_path / "built", "*.whl").read_bytes() == one(archives, "*.whl").read_bytes()


def test_what_the_container_copies_makes_that_wheel(tree: Path, archives: Path, tmp_path: Path) -> None:
    """As an engine would: with nothing but what COPY names, in the place that it names."""
    for name, rest in steps(0):
        *given, to = rest.split()
        for path in [tree / one for one in given] if name == "COPY" else []:
            place = tmp_path / to.lstrip("/")
            if path.is_dir():
                shutil.copytree(path, place)
            else:
                place.mkdir(exist_ok=True)
                shutil.copy(path, place)
    build(tmp_path / "src", tmp_path / "built", "wheel")
    assert one(tmp_path / "built", "*.whl").read_bytes() == one(archives, "*.whl").read_bytes()


def test_the_wheel_holds_all_that_is_installed(archives: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(one(archives, "*.whl")) as wheel:
        wheel.extractall(tmp_path)
    (shared,) = tmp_path.glob("*.data/data")
    for package in ("trafficgen", "mboxgen"):
        files = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.*") if "__pycache__" not in path.parts}
        assert [path for path in sorted(files) if not (tmp_path / path).is_file()] == []
    assert {path.stem for path in (shared / "share/man/man1").iterdir()} == set(PAGES)
    fish = shared / "share/fish/vendor_completions.d/mboxgen.fish"
    assert fish.read_text() == completion_script("fish", "mboxgen")
    # As an installation has them: man looks beside the programs of PATH (manpath(1)).
    (shared / "bin").mkdir()
    environment = {"PATH": f"{shared}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    found = subprocess.run(
        [program("man", "man-db"), "-w", "traffic-gen-sink"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(shared / "share/man/man1/traffic-gen-sink.1")


def test_every_command_has_a_man_page() -> None:
    assert {f"traffic-gen-{name}" for name in COMMANDS} < set(PAGES)
    assert {"traffic-gen", "mboxgen", "mboxgen-info", "mboxgen-verify", "mboxgen-index"} < set(PAGES)
    assert ".SH EXAMPLES\n" in PAGES["mboxgen-info"]
    assert "\\fB\\-\\-bounce\\-to HOST:PORT\\fR\n" in PAGES["traffic-gen-sink"]


def test_groff_and_mandoc_have_nothing_to_say_of_man_pages(tmp_path: Path) -> None:
    names = []
    for title, text in PAGES.items():
        names.append(str(tmp_path / f"{title}.1"))
        Path(names[-1]).write_text(text, encoding="ascii")
    checks = (
        [program("groff", "groff-base"), "-man", "-ww", "-z", "-Tutf8", *names],
        [program("mandoc", "mandoc"), "-Tlint", "-Wwarning", *names],
    )
    for command in checks:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    shown = subprocess.run(
        [program("man", "man-db"), "-l", str(tmp_path / "traffic-gen-verify.1")],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "78", "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "EXAMPLES\n" in shown
    assert "       traffic-gen verify " in shown


def test_the_licence_is_the_one_that_the_metadata_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_ci_tests_versions_that_are_allowed_and_all_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / ".ci" / "lock.txt").read_text().splitlines()[1:]
    pins = [Requirement(line) for line in lines]
    assert not [pin for pin in pins if "://" in str(pin)]
    wanted = [Requirement(line) for group in project["optional-dependencies"].values() for line in group]
    for one in [*wanted, *map(Requirement, project["dependencies"])]:
        found = [str(pin.specifier)[2:] for pin in pins if canonicalize_name(pin.name) == canonicalize_name(one.name)]
        assert found, f"{one}: run .ci/lock"
        assert all(one.specifier.contains(version) for version in found), f"{one}: run .ci/lock"


def test_a_release_gets_its_number_in_one_step(tree: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tree, tmp_path / "tree", ignore=shutil.ignore_patterns("tests", "benchmarks")))
    changelog = copy / "CHANGELOG.md"
    before, _, after = changelog.read_text().partition("\n## ")
    if not after.startswith("Unreleased\n"):  # right after a release
        changelog.write_text(f"{before}\n## Unreleased\n\n- something\n\n## {after}")
    subprocess.run([sys.executable, copy / ".ci" / "version", "7.8.9", "2031-02-03"], check=True)
    shown = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"], cwd=copy, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "7.8.9\n"
    assert "\n## 7.8.9 (2031-02-03)\n" in changelog.read_text()
    named = re.findall(
        r"(?:gen-|constraints-|of version )(\d+\.\d+\.\d+)", (copy / "docs/reference/installing.md").read_text()
    )
    assert len(named) > 5
    assert set(named) == {"7.8.9"}
    again = [sys.executable, str(copy / ".ci" / "version"), "7.9"]
    refused = subprocess.run(again, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (1, 'expected a version such as 1.0.0, got "7.9"\n')


def test_what_others_wrote_goes_with_its_licence(archives: Path) -> None:
    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license-files"]
    others = {
        str(path.relative_to(ROOT))
        for package in ("trafficgen", "mboxgen")
        for path in (ROOT / package).rglob("*-LICENSE")
    }
    assert set(files) == {"LICENSE"} | others
    with zipfile.ZipFile(one(archives, "*.whl")) as wheel:
        (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        head = wheel.read(metadata).decode("utf-8").splitlines()
        assert "License-Expression: Apache-2.0 AND MIT" in head
        for name in files:
            assert f"License-File: {name}" in head
            held = wheel.read(metadata.replace("METADATA", f"licenses/{name}")).decode("utf-8")
            assert held == (ROOT / name).read_text(encoding="utf-8")
            assert ("Permission is hereby granted, free of charge" in held) == (name in others)


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


def test_pages_that_code_and_documents_name_are_there() -> None:
    code = [path for part in ("trafficgen", "mboxgen", "tests", "benchmarks") for path in (ROOT / part).rglob("*.py")]
    for path in (*code, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for name in re.findall(r"(?<![\w/.])docs/[\w/-]+\.\w+", path.read_text()):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)} names {name}"
