"""Outputs that cannot be written lose nothing else: the summary and the other files are there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mboxgen import atomic_file
from tests.output.full_disk import ROOM_OCTETS, run_on_full_disk, tiny_tmpfs
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, OutputError
from trafficgen.host.output import Output, attempt_all

SEND = ["--quiet", "--message-count", "20", "--domain", "gmail.com", "--concurrency", "2", "--workers", "1"]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A place with room for less than a page, and whether that takes a limit on sizes of files."""
    with tiny_tmpfs(tmp_path / "full") as mounted:
        yield tmp_path / "full", not mounted


def test_a_page_without_room_leaves_the_summary_and_the_json(full: tuple[Path, bool], tmp_path: Path) -> None:
    place, limited = full
    page, results, junit = place / "x.html", tmp_path / "x.json", tmp_path / "x.xml"
    page.write_text("old")
    arguments = [*SEND, "--html", str(page), "--junit", str(junit), "--json", str(results)]
    done = run_on_full_disk(arguments, limited=limited)
    assert done.returncode == ExitCode.FAILED
    assert "accepted" in done.stdout
    assert "20" in done.stdout
    reason = "file too large" if limited else "no space left on device"
    assert done.stderr == f'traffic-gen: cannot write "{page}": {reason} (--html)\n'
    assert page.read_text() == "old"
    assert [path.name for path in place.iterdir()] == ["x.html"]
    assert json.loads(results.read_text())["complete"]
    assert junit.read_text().startswith("<?xml")


@pytest.mark.parametrize("option", ["--json", "--html", "--junit", "--manifest"])
def test_every_output_names_itself_and_spares_the_summary(option: str) -> None:
    done = run_on_full_disk([*SEND, option, "/dev/full"], limited=False)
    assert done.returncode == ExitCode.FAILED
    assert "accepted" in done.stdout
    assert f'cannot write "/dev/full": no space left on device ({option})' in " ".join(
        (done.stderr + done.stdout).split()
    )
    assert "Traceback" not in done.stderr


def test_a_limit_on_the_size_of_files_is_an_error_like_a_full_disk(tmp_path: Path) -> None:
    done = run_on_full_disk([*SEND, "--html", str(tmp_path / "x.html")], limited=True)
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.FAILED, 1)
    assert f'cannot write "{tmp_path}/x.html": file too large (--html)' in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == []


def test_appended_rows_are_all_there_or_none(full: tuple[Path, bool]) -> None:
    place, limited = full
    path = place / "history.csv"
    path.write_bytes(b"x" * (ROOM_OCTETS - 4096 - 10))
    code = f"""
from pathlib import Path
import resource
if {limited}: resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM_OCTETS},) * 2)
from mboxgen import atomic_file
try:
    atomic_file.append(Path({str(path)!r}), b"y" * 8192)
except OSError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    assert path.read_bytes() == b"x" * (ROOM_OCTETS - 4096 - 10)
    atomic_file.append(path, b"y")
    assert path.read_bytes().endswith(b"xy")


def test_a_full_stdout_is_named_and_the_files_are_there(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "trafficgen", *SEND, "--json", str(tmp_path / "x.json")],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == ExitCode.FAILED
    assert done.stderr == "traffic-gen: cannot write to stdout: no space left on device\n"
    assert json.loads((tmp_path / "x.json").read_text())["complete"]


def test_a_stderr_that_takes_nothing_costs_the_words_alone() -> None:
    reading, closed_pipe = os.pipe()
    os.close(reading)
    for full_disk_or_pipe in (os.open("/dev/full", os.O_WRONLY), closed_pipe):
        done = subprocess.run(
            [sys.executable, "-m", "trafficgen", *SEND[1:]],
            stdout=subprocess.PIPE,
            stderr=full_disk_or_pipe,
            text=True,
            check=False,
        )
        os.close(full_disk_or_pipe)
        assert done.returncode == ExitCode.DONE
        assert "20 expected, 20 received" in done.stdout


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    code = f"""
import os
os.mkdir({str(tmp_path / "gone")!r})
os.chdir({str(tmp_path / "gone")!r})
os.rmdir({str(tmp_path / "gone")!r})
from trafficgen.cli.program import main
main({SEND!r})
"""
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=there)
    assert done.returncode == ExitCode.FAILED
    assert done.stderr == "traffic-gen: the current folder is no longer there; go to another one (cd)\n"


def test_every_step_is_taken_and_every_failure_told(tmp_path: Path) -> None:
    taken = []

    def broken() -> None:
        raise KeyError("helo")

    with pytest.raises(OutputError) as raised:
        attempt_all(
            [
                ("--html", broken),
                ("--json", lambda: Output(tmp_path / "no" / "x.json", "--json").write("x")),
                ("stdout", lambda: taken.append("summary")),
            ]
        )
    assert taken == ["summary"]
    told = str(raised.value)
    assert told.startswith("cannot write --html: KeyError: 'helo' at test_full_disk.py:")
    assert told.endswith('x.json": no such file or directory (--json)')


@pytest.mark.parametrize("option", ["--json", "--html", "--junit", "--manifest"])
def test_a_path_that_cannot_be_written_is_refused_before_the_run(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*SEND, option, str(tmp_path / "no" / "x")]) is ExitCode.USAGE
    told = f'traffic-gen: cannot write "{tmp_path}/no/x": no such file or directory ({option})\n'
    assert capsys.readouterr().err == told


def test_commands_on_files_name_their_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "x.json"
    assert call([*SEND, "--json", str(results)]) is ExitCode.DONE
    for command in (["report"], ["merge"], ["export", "--hdr"]):
        assert call([*command, str(results), "-o", "/dev/full"]) is ExitCode.FAILED
        assert 'cannot write "/dev/full": no space left on device (--output)' in capsys.readouterr().err
