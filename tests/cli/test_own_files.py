"""No command writes over a file that it reads, or writes two things into one file."""

from pathlib import Path

import pytest

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("corpus.mbox", "to.csv", "run.json", "gates.csv", "load.toml"):
        Path(name).write_text("the only copy\n")
    Path("link.mbox").symlink_to("corpus.mbox")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--mbox corpus.mbox --manifest corpus.mbox", '"corpus.mbox", which --mbox reads (--manifest)'),
        ("--mbox link.mbox --json ./corpus.mbox", '"corpus.mbox", which --mbox reads (--json)'),
        ("--recipients-from to.csv --html to.csv", '"to.csv", which --recipients-from reads (--html)'),
        ("--json new --junit ./new", '"new", which --json writes as well (--junit)'),
        ("report run.json --html -o run.json", '"run.json", which this command reads (--output)'),
        ("merge run.json to.csv -o run.json", '"run.json", which this command reads (--output)'),
        ("history gates.csv --csv gates.csv", '"gates.csv", which this command reads (--csv)'),
        ("gate --a 127.0.0.1 --b 127.0.0.1 --json h --history h", '"h", which --history writes as well (--json)'),
        ("mailbox --mbox corpus.mbox --json corpus.mbox", '"corpus.mbox", which --mbox reads (--json)'),
        (
            "sink 0 --ledger corpus.mbox --certificate corpus.mbox",
            '"corpus.mbox", which --certificate reads (--ledger)',
        ),
        ("sink 0 --ledger new --capture mbox:./new", '"new", which --ledger writes as well (--capture)'),
        ("sink 0 --capture digests:to.csv --certificate to.csv", '"to.csv", which --certificate reads (--capture)'),
    ],
)
def test_files_that_meet_are_refused_and_stay(command: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command.split()) == ExitCode.USAGE
    assert capsys.readouterr().err == f"traffic-gen: expected a file of its own, got {words}\n"
    assert {path.read_text() for path in Path().iterdir()} == {"the only copy\n"}


def test_a_device_may_stand_behind_several_options() -> None:
    devices = "--json /dev/null --html /dev/null --junit /dev/null"
    assert call(f"--dry-run --message-count 1 {devices}".split()) == ExitCode.DONE
