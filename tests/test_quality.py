"""The tools that watch over the code, run as tests: format and lint, types, who may import whom."""

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",)],
    ids=lambda command: "-".join(word for word in command if word != "."),
)
def test_tool_has_nothing_to_say(command: tuple[str, ...]) -> None:
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> Path:
    """A program of the dev extra; where CI runs it must be there."""
    path = Path(sys.executable).parent / name
    if not path.exists() and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed: pip install -e '.[dev]'")
    return path


def test_nothing_is_there_that_only_its_own_tests_use() -> None:
    done = subprocess.run([tool("vulture")], cwd=ROOT, capture_output=True, text=True, check=False)
    advice = "\ndelete it; what a library calls, or a file names, is listed in pyproject.toml, tool.vulture"
    assert done.returncode == 0, done.stdout + done.stderr + advice


def test_every_benchmark_that_a_line_names_is_there() -> None:
    sources = [path for room in ("trafficgen", "mboxgen", "docs") for path in (ROOT / room).rglob("*.*")]
    texts = (path.read_text() for path in sources if path.suffix in (".py", ".md"))
    named = {name for text in texts for name in re.findall(r"benchmarks/\w+\.py", text)}
    assert len(named) > 3
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_a_class_name_is_defined_once() -> None:
    """One name, one idea; nested classes as well, and those that only their module uses."""
    places: dict[str, list[str]] = {}
    for package in ("trafficgen", "mboxgen"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 500
    assert {name: where for name, where in places.items() if len(where) > 1} == {}, "find the second idea its own word"


def modules_taken(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules whose names a file takes, for types only as well."""
    taken = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module in modules:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            taken |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            taken |= {alias.name for alias in node.names if alias.name in modules}
    return taken


def test_no_files_need_each_other() -> None:
    """Each file can be read after those that it takes from."""
    modules = {}
    for package in ("trafficgen", "mboxgen"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(modules) > 300
    graph = {name: modules_taken(path, modules) - {name} for name, path in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"in a circle: {' <- '.join(error.args[1])}")


_OF_THE_SYSTEM = {"OSError", "PermissionError", "FileNotFoundError", "ConnectionError", "URLError", "HTTPException"}


def _shown_raw(path: Path) -> Iterator[int]:
    """Lines that put an error of the system into a text as it is, with Python's "[Errno 2]" and repeated names."""
    for handler in ast.walk(ast.parse(path.read_text())):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        kinds = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(handler.type)}
        if kinds & _OF_THE_SYSTEM:
            for node in ast.walk(handler):
                shown = node.value if isinstance(node, ast.FormattedValue) else None
                if isinstance(shown, ast.Name) and shown.id == handler.name:
                    yield shown.lineno


@pytest.mark.parametrize("package", ["trafficgen", "mboxgen"])
def test_an_error_of_the_system_is_told_in_its_words_alone(package: str) -> None:
    found = [
        f"{path}:{line}: use reason_of(error)"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in _shown_raw(path)
    ]
    assert found == []
