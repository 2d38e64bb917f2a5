"""What strangers wrote reaches nobody as a command: not a terminal, a spreadsheet, Markdown or XML."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.measure.counts import FailureCount, ReplyCount, ThresholdVerdict
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.results import Results
from trafficgen.outcomes import Phase
from trafficgen.printable import csv_cell, markdown, printable

RUDE = "=cmd()|'/c calc'!A0\x1b]0;pwn\x07\x1b[31m\r\n# h <script>`x`\x00\ufffe\u2028\u202eabc\x9b2J"
FORMS = ("text", "json", "csv", "html", "junit", "markdown")


@pytest.fixture
def rude(results: Results, tmp_path: Path) -> Path:
    """Hostile text wherever a results file may hold any."""
    path = tmp_path / "rude.json"
    made = replace(
        results,
        run=replace(results.run, target=RUDE, addresses=(RUDE,), tool_version=RUDE, command=(RUDE,)),
        plan={"workload": {"content": {"path": RUDE}}, RUDE: RUDE},
        host=replace(results.host, python=RUDE, platform=RUDE),
        replies=(ReplyCount(Phase.RCPT, 550, RUDE, 1, RUDE),),
        failures=(FailureCount(Phase.CONNECT, RUDE, 1, RUDE),),
        domains={RUDE: results.domains["aol.com.test"]},
        generator=replace(results.generator, sentences=(RUDE,)),
        caveats=(Caveat(CaveatKind.LOOP_LAG, RUDE, RUDE),),
        thresholds=(ThresholdVerdict(RUDE, 1.0, 2.0, True),),
    )
    path.write_text(made.to_json())
    return path


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_report_passes_on_a_control_character(
    form: str, rude: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["report", str(rude), f"--{form}"]) is ExitCode.DONE
    out = capsys.readouterr().out
    # uPlot's style and script in the page are ours and hold tabs
    assert not [c for c in out if not c.isprintable() and c not in "\n\t"]
    if form == "junit":
        ET.fromstring(out)
    if form == "csv":
        _, row = csv.reader(io.StringIO(out))
        assert [cell for cell in row if cell.startswith(("=", "+", "-", "@"))] == []
        assert row[4].startswith("'=cmd()")
    if form in ("html", "markdown"):
        assert "<script>`" not in out


def test_an_error_about_a_file_is_one_printable_line(rude: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rude.write_text(rude.read_text().replace('"rcpt"', '"\\u001b[31m"'))
    assert call(["report", str(rude)]) is ExitCode.NOT_COMPARABLE
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()


@given(st.text())
def test_any_text_is_made_printable_and_printable_text_is_left_alone(text: str) -> None:
    made = printable(text)
    assert made.isprintable()
    assert printable(made) == made
    assert "|" not in markdown(text)
    ET.fromstring(f"<a b={_quoted(made)}/>".encode())
    assert not str(csv_cell(text)).lstrip().startswith(("=", "+", "-", "@"))


def _quoted(text: str) -> str:
    element = ET.Element("x", b=text)
    return ET.tostring(element, encoding="unicode").removeprefix("<x b=").removesuffix(" />")
