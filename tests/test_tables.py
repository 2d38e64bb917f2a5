"""Tables whose keys are the members of an enum are complete, or the program does not start."""

import ast
from enum import Enum
from pathlib import Path

import pytest

from mboxgen.enums import table_of

ROOT = Path(__file__).parent.parent
_ENUMS = {"Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"}


class Colour(Enum):
    RED = 1
    GREEN = 2


def test_a_table_that_lacks_a_member_or_has_one_too_many_cannot_be_built() -> None:
    assert list(table_of(Colour, {Colour.GREEN: "g", Colour.RED: "r"})) == [Colour.RED, Colour.GREEN]
    with pytest.raises(TypeError, match=r"<Colour\.GREEN: 2>"):
        table_of(Colour, {Colour.RED: "r"})
    with pytest.raises(TypeError, match=r"<Colour\.GREEN: 2>"):
        table_of([Colour.RED], {Colour.RED: "r", Colour.GREEN: "g"})


def test_no_table_of_an_enum_is_built_in_another_way() -> None:
    sources = [path for room in ("trafficgen", "mboxgen") for path in (ROOT / room).rglob("*.py")]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources}
    enums = {
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and _ENUMS & {ast.unparse(base).split(".")[-1] for base in node.bases}
    }
    assert len(enums) > 20
    free = [
        f"{path.relative_to(ROOT)}:{table.lineno}"
        for path, tree in trees.items()
        for table in tables(tree)
        if any(isinstance(key, ast.Attribute) and ast.unparse(key.value) in enums for key in table.keys)
    ]
    assert free == [], "wrap these in mboxgen.enums.table_of"


def tables(tree: ast.Module) -> list[ast.Dict]:
    """All that are no argument of `table_of`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "table_of"]
    complete = {node for call in calls for argument in call.args for node in ast.walk(argument)}
    return [node for node in ast.walk(tree) if isinstance(node, ast.Dict) and node not in complete]
