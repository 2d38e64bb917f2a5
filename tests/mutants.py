"""How many small changes to the code its tests notice: python -m tests.mutants [--sample 25] [--seed 1] [ROOM ...].

Takes     rooms of trafficgen, or mboxgen/ROOM, as they are in a copy of HEAD: comparisons turned, numbers one off,
          calls left out …
Gives     a line for each change, and what share of each room's was noticed: by the test files that name the module,
          the nearest first, until one fails. Seconds where one does, up to minutes where none does: an hour in all
Not here  whether what goes unnoticed matters: some changes change nothing, other tests may notice some; judge each
"""

import argparse
import ast
import copy
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOMS = ("measure", "verdict", "proof", "schedule", "engine/account.py", "engine/run_account.py", "protocol/smtp")
TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
AS_IT_IS = ast.Import | ast.ImportFrom | ast.Assert | ast.Raise | ast.JoinedStr


def changed(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """What of a node is replaced, and by what."""
    match twin := copy.deepcopy(node):
        case ast.Compare(ops=[one]) if type(one) in TURNED:
            twin.ops = [TURNED[type(one)]()]  # type: ignore[list-item]
            yield node, ast.unparse(twin)
        case ast.BinOp(op=one) | ast.BoolOp(op=one) | ast.AugAssign(op=one) if type(one) in TURNED:
            twin.op = TURNED[type(one)]()  # type: ignore[assignment]
            yield node, ast.unparse(twin)
    match node:
        case ast.UnaryOp(_, operand) if not isinstance(operand, ast.Constant):
            yield node, ast.unparse(operand)
        case ast.Constant(bool() as value):
            yield node, repr(not value)
        case ast.Constant(int() | float() as value):
            yield node, repr(value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield test, f"not ({ast.unparse(test)})"
        case ast.Expr(ast.Call() as value) | ast.Return(ast.expr() as value):
            yield value, "None"


def changes(path: Path) -> Iterator[tuple[int, int, int, str]]:
    """Line, beginning, end and new text of each change to a file."""
    text = path.read_bytes()
    starts = [0, *(at + 1 for at, octet in enumerate(text) if octet == 10)]
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        for node, new in changed(top := waiting.pop()):
            assert isinstance(node, ast.expr | ast.stmt)
            last, after = node.end_lineno or 0, node.end_col_offset or 0
            begin, end = starts[node.lineno - 1] + node.col_offset, starts[last - 1] + after
            yield node.lineno, begin, end, f"({new})" if isinstance(node, ast.expr) else new
        for name, value in ast.iter_fields(top):
            if name not in ("annotation", "returns", "decorator_list"):
                below = (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, ast.AST))
                waiting += [one for one in below if not isinstance(one, AS_IT_IS)]


@cache
def tests_of(tree: Path, path: Path) -> tuple[Path, ...]:
    """The test files that name a module or its room, the nearest first."""
    module, near = ".".join(path.relative_to(tree).with_suffix("").parts), Counter[Path]()
    names = {module: 10, module.rpartition(".")[0]: 1}
    for file in (tree / "tests").rglob("test_*.py"):
        text = file.read_text(encoding="utf-8")
        near[file] = 1000 * (file.name == f"test_{path.stem}.py") + sum(names[one] * text.count(one) for one in names)
    return tuple(file for file, points in near.most_common(12) if points)


def fails(tree: Path, files: tuple[Path, ...]) -> bool:
    """Whether a test fails, or runs into its time limit."""
    options = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=1")
    command = [sys.executable, "-m", "pytest", *options, *map(str, files)]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False).returncode != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", default=ROOMS, metavar="ROOM", help=f"default: {' '.join(ROOMS)}")
    parser.add_argument("--sample", type=int, default=25, help="how many changes of each room (25)")
    parser.add_argument("--seed", default="1", help="others with another one (1)")
    given, fails_anyway = parser.parse_args(), cache(fails)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        archive = subprocess.run(
            ["git", "archive", "HEAD"], cwd=Path(__file__).parent.parent, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
        for room in given.rooms:
            top = tree / room if room.startswith("mboxgen/") else tree / "trafficgen" / room
            pool = [(path, *one) for path in (sorted(top.rglob("*.py")) or [top]) for one in changes(path)]
            drawn = random.Random(given.seed + room).sample(pool, min(given.sample, len(pool)))
            noticed = 0
            for path, line, begin, end, new in drawn:
                whole, files = path.read_bytes(), tests_of(tree, path)
                if fails_anyway(tree, files):
                    sys.exit(f"a test of {', '.join(map(str, files))} fails without any change")
                path.write_bytes(whole[:begin] + new.encode() + whole[end:])
                noticed += (found := fails(tree, files))
                path.write_bytes(whole)
                old, name = " ".join(whole[begin:end].decode().split()), path.relative_to(tree)
                print(f"{'noticed ' if found else 'SURVIVES'} {name}:{line}: {old} -> {new}", flush=True)
            print(f"{room}: {noticed} of {len(drawn)} changes noticed", flush=True)


if __name__ == "__main__":
    main()
