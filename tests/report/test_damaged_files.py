"""Files from elsewhere: those of version 0.1.0 are read; damaged ones end in one line, never in a traceback.

`python -m tests.report.test_damaged_files 8000` tries that many damaged files of each kind, from a seed of its own.
"""

import contextlib
import io
import json
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.results import Results, read_results
from trafficgen.proof import sent

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = Path(__file__).parent / "recorded"
OPEN, CLOSED, MANIFEST = (RECORDED / name for name in ("results-0.1.0.json", "closed-0.1.0.json", "manifest-0.1.0"))
FORMS = ("text", "json", "csv", "html", "junit", "markdown")
ODD: tuple[Any, ...] = (
    None, True, 0, 1, -1, 1.5, -0.0, 2**53, 2**63, 10**30, 1e308, float("inf"), float("nan"), "", "x", "\x1b[31m", "²",
    "\ud800", "2026-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", [], [1], ["x"], {}, {"x": 1}, [[[]]], "idle",
)  # fmt: skip


def test_files_of_the_first_version_are_read() -> None:
    assert read_results(OPEN).messages.accepted == 60
    assert read_results(OPEN).window is not None
    assert read_results(CLOSED).ledger is not None
    assert sent.read(MANIFEST).accepted.numbers.size == 30


def test_a_run_that_was_cut_off_passes_no_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "killed.json"
    path.write_text(replace(read_results(CLOSED), complete=False).to_json())
    assert call(["report", str(path)]) is ExitCode.DONE
    assert call(["report", str(path), "--threshold", "max<1h"]) is ExitCode.NOT_VALID
    assert "the run did not finish, so these verdicts are not valid" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(6))
def test_damaged_results_end_in_one_line(seed: int, tmp_path: Path) -> None:
    for number in range(10):
        try_results(seed * 1000 + number, tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_manifests_end_in_one_line(seed: int, tmp_path: Path) -> None:
    for number in range(25):
        try_manifest(seed * 1000 + number, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"boot_id"', b'"boat_id"', "unknown field boat_id"),
        (b'"planned": 30', b'"planned": -3', r"expected int >= 0 - at \$.planned"),
        (b"\n000000000001 a", b"\n000000000002 a", "a message is there twice"),
        (b"\n000000000001 a", b"\n000000000001 b", "a line is neither of an accepted message"),
        (b"\n000000000001 a", b"\n00000000000x a", 'expected a number, .* got "00000000000x a 0001 '),
        (b"\n000000000001 a 0001 ", b"\n000000000001 a 0001z", "expected a number"),
        (b"\n# end 30", b"\n# end 29", "it is cut off"),
    ],
)
def test_a_damaged_manifest_says_what_is_wrong(old: bytes, new: bytes, words: str, tmp_path: Path) -> None:
    octets = MANIFEST.read_bytes()
    assert octets.count(old) == 1
    path = tmp_path / "manifest"
    path.write_bytes(octets.replace(old, new))
    with pytest.raises(ResultsError, match=f'the manifest ".*manifest" is damaged: .*{words}'):
        sent.read(path)


# -- one damaged file -----------------------------------------------------------------------------------


def try_results(seed: int, directory: Path) -> bool:
    """Whether the file was still taken for one."""
    draw = random.Random(seed)
    good = draw.choice((OPEN, CLOSED))
    path = directory / "damaged.json"
    path.write_bytes(
        draw.choice((damaged_value, damaged_value, damaged_value, damaged_octets))(draw, good.read_bytes())
    )
    later = directory / "later.json"
    other = read_results(good)
    later.write_text(replace(other, run=replace(other.run, id="f" * 16)).to_json())
    codes = [run("report", str(path), f"--{form}") for form in FORMS]
    assert len(set(codes)) == 1, codes
    run("report", str(path), "--threshold", "p99<1s", "--junit")
    run("compare", str(path), str(good))
    run("compare", str(good), str(path), "--json")
    run("merge", str(path), str(later), "-o", str(directory / "merged.json"))
    run("export", str(path), "--hdr")
    if codes[0] is ExitCode.DONE:
        assert Results.from_dict(json.loads(read_results(path).to_json())) == read_results(path)
    return codes[0] is ExitCode.DONE


def try_manifest(seed: int, directory: Path) -> bool:
    draw = random.Random(seed)
    path, nothing = directory / "damaged", directory / "empty"
    (nothing / "new").mkdir(parents=True, exist_ok=True)
    path.write_bytes(damaged_octets(draw, MANIFEST.read_bytes()))
    assert run("verify", str(MANIFEST), "--maildir", str(nothing)) is ExitCode.VERDICT_FAILED
    return run("verify", str(path), "--maildir", str(nothing)) is not ExitCode.NOT_COMPARABLE


def run(*arguments: str) -> ExitCode:
    """The exit code of a command that either did its work or said in one line why not."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = call(arguments)
    if code in (ExitCode.DONE, ExitCode.VERDICT_FAILED, ExitCode.NOT_VALID):
        assert err.getvalue() == ""
    else:
        assert code is ExitCode.NOT_COMPARABLE, (code, err.getvalue())
        assert err.getvalue().startswith("traffic-gen: ")
        assert err.getvalue().removesuffix("\n").isprintable(), err.getvalue()
    return code


def damaged_value(draw: random.Random, octets: bytes) -> bytes:
    """One to three values, keys or items, anywhere in the document, changed for odd ones."""
    plain = json.loads(octets)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at: Any = plain
        while True:
            steps = list(at) if isinstance(at, dict) else range(len(at))
            if not steps:
                break
            step = draw.choice(steps)
            if not isinstance(at[step], dict | list) or not at[step] or draw.random() < 0.15:
                draw.choice((put_odd, put_odd, take_out, rename, double))(draw, at, step)
                break
            at = at[step]
    return json.dumps(plain).encode()


def put_odd(draw: random.Random, at: Any, step: Any) -> None:
    value = at[step]
    near = [value + 1, -value, value * 2, value / 3] if isinstance(value, int | float) else []
    at[step] = draw.choice((*ODD, *near))


def take_out(draw: random.Random, at: Any, step: Any) -> None:
    del at[step]


def rename(draw: random.Random, at: Any, step: Any) -> None:
    if isinstance(at, dict):
        at[draw.choice((f"{step}x", "", "\x1b[2J", "a.b[0]", step.upper()))] = at.pop(step)
    else:
        draw.shuffle(at)


def double(draw: random.Random, at: Any, step: Any) -> None:
    if isinstance(at, list):
        at.insert(step, at[step])
    else:
        at[f"{step}2"] = at[step]


def damaged_octets(draw: random.Random, octets: bytes) -> bytes:
    """Some octets changed, put in, taken out, or the file cut off."""
    changed = bytearray(octets)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(changed))
        match draw.randrange(5):
            case 0:
                changed[at] = draw.randrange(256)
            case 1:
                changed[at] = draw.choice(b'0123456789adx\n {}[]",:-')
            case 2:
                changed[at:at] = draw.choice((b"\n", b"9" * 30, b"\x1b[2J", b"\xff", b"[" * 5000))
            case 3:
                del changed[at : at + draw.choice((1, 2, 50))]
            case _:
                del changed[at:]
        changed = changed or bytearray(b" ")
    return bytes(changed)


def main(count: int) -> None:
    """Count files that are still taken for results and manifests; anything unforeseen ends it with its seed."""
    tries: dict[str, Callable[[int, Path], bool]] = {"results": try_results, "manifests": try_manifest}
    with tempfile.TemporaryDirectory() as directory:
        for name, attempt in tries.items():
            taken = 0
            for seed in range(10_000, 10_000 + count):
                try:
                    taken += attempt(seed, Path(directory))
                except BaseException:
                    sys.stdout.write(f"{name}, seed {seed}\n")
                    raise
            sys.stdout.write(f"{count} damaged {name}: {taken} still taken for some, the others refused in one line\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
