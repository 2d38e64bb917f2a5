"""The findings of a check: sections for people, JSON, JUnit XML, one HTML page, the one line that Nagios reads.

Takes     findings, what was checked and from where
Gives     failures first everywhere; transcripts with those that did not pass
Not here  finding them (check)
"""

import html
import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Final
from xml.etree import ElementTree as ET

from mboxgen.enums import table_of
from trafficgen.printable import printable
from trafficgen.report.section import Row, Section, Tone
from trafficgen.report.tables import write_xml
from trafficgen.verdict.findings import NOT_REACHED, Finding, Grade

_ORDER: Final = (Grade.FAIL, Grade.WARN, Grade.INCONCLUSIVE, Grade.PASS, Grade.SKIPPED)
_TONES: Final = table_of(
    Grade,
    {
        Grade.FAIL: Tone.BAD,
        Grade.WARN: Tone.WARN,
        Grade.INCONCLUSIVE: Tone.WARN,
        Grade.PASS: Tone.GOOD,
        Grade.SKIPPED: Tone.PLAIN,
    },
)
_NAGIOS: Final = table_of(
    Grade,
    {
        Grade.PASS: ("OK", 0),
        Grade.WARN: ("WARNING", 1),
        Grade.FAIL: ("CRITICAL", 2),
        Grade.INCONCLUSIVE: ("UNKNOWN", 3),
        Grade.SKIPPED: ("UNKNOWN", 3),
    },
)
_CELL: Final = '<td role="cell">'
_HEADS: Final = "".join(
    f'<th role="columnheader">{words}</th>'
    for words in ("outcome", "case", "service", "found", "expected, and what to do")
)
# On a phone the cells of a row stand below each other. A browser no longer takes that for a table, so roles say it.
_STYLE: Final = """
td { overflow-wrap: anywhere; text-align: left; vertical-align: top; white-space: normal } th { text-align: left }
td:nth-child(-n + 3) { overflow-wrap: normal } pre { font-size: .8rem; white-space: pre-wrap }
@media (max-width: 40rem) {
  thead { clip-path: inset(50%); height: 1px; overflow: hidden; position: absolute; width: 1px }
  table, tbody { display: block }
  tr { border-bottom: 1px solid var(--line); display: block; padding: .5rem 0 }
  td { border: 0; display: block; padding: .125rem 0 }
  td:nth-child(-n + 3) { display: inline-block; font-weight: 600; padding-right: .75rem }
}
"""
_TOLD: Final = _ORDER[:3]
"""What is shown with what was expected and what to do."""

_FEW: Final = 2
"""So many with one reason are shown with what each would have been."""


@dataclass(frozen=True, slots=True)
class Checked:
    """`server`: as it was typed; `vantage`: from where it was seen; `seconds`: how long all of it took."""

    server: str
    vantage: str
    started_at: str
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def ordered(self) -> list[Finding]:
        """Failures first; within an outcome in the order of the walk."""
        return sorted(self.findings, key=lambda finding: _ORDER.index(finding.outcome))

    def count(self, outcome: Grade) -> int:
        """How many ended so."""
        return sum(finding.outcome is outcome for finding in self.findings)

    @property
    def summary(self) -> str:
        """All counts, in one line."""
        return ", ".join(f"{self.count(outcome)} {outcome.value}" for outcome in _ORDER)


def to_sections(checked: Checked, *, transcripts: bool) -> list[Section]:
    """A table of all, then what did not pass with what to do about it. What could not be told for the same reason
    stands together, once."""
    groups = _together(checked.ordered)
    rows = tuple(
        Row((one[0].outcome.value, _cases(one), one[0].service, _reason(one[0])), _TONES[one[0].outcome])
        if len(one) > 1
        else Row((one[0].outcome.value, one[0].id, one[0].service, one[0].found), _TONES[one[0].outcome])
        for one in groups
    )
    notes = (f"{checked.summary}; seen {checked.vantage}",)
    shown = [Section(f"check of {checked.server}", "llll", rows, notes=notes)]
    for group in groups:
        finding = group[0]
        if len(group) > 1:
            lines = [f"found: {_reason(finding)}", f"not told: {', '.join(one.id for one in group)}"]
            lines += list(finding.transcript) if transcripts else []
            title = f"{finding.outcome.value}: {_cases(group)} ({finding.service})"
            shown.append(Section(title, "l", (), notes=tuple(lines)))
        elif finding.outcome in _TOLD:
            lines = [f"found: {finding.found}", f"expected: {finding.expected} ({finding.source})"]
            lines += [f"try: {finding.advice}"] if finding.advice else []
            lines += list(finding.transcript) if transcripts else []
            title = f"{finding.outcome.value}: {finding.id} ({finding.service})"
            shown.append(Section(title, "l", (), notes=tuple(lines)))
    return shown


def _together(findings: list[Finding]) -> list[list[Finding]]:
    """Each by itself, but those that are inconclusive for one reason, where they are more than `_FEW`."""
    same: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        if one.outcome is Grade.INCONCLUSIVE:
            same.setdefault((one.service, _reason(one)), []).append(one)
    groups = []
    for one in findings:
        group = same.get((one.service, _reason(one)), []) if one.outcome is Grade.INCONCLUSIVE else []
        if len(group) <= _FEW:
            groups.append([one])
        elif group[0] is one:
            groups.append(group)
    return groups


def _said_before(checked: Checked) -> dict[Finding, str]:
    """Where each case has its own place: those whose reason the first of their group says, and a hint at that one."""
    groups = [group for group in _together(checked.ordered) if len(group) > 1]
    return {one: f"not told, for the same reason as {group[0].id}" for group in groups for one in group[1:]}


def _reason(finding: Finding) -> str:
    return finding.found.removeprefix(NOT_REACHED)


def _cases(group: list[Finding]) -> str:
    return f"{len(group)} cases"


def to_json(checked: Checked) -> str:
    """Every finding with its transcript."""
    plain = asdict(checked)
    plain["findings"] = [{**asdict(one), "outcome": one.outcome.value} for one in checked.ordered]
    plain["counts"] = {outcome.value: checked.count(outcome) for outcome in Grade}
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def to_junit(checked: Checked) -> str:
    """A test case a finding; what is inconclusive or was skipped counts as skipped."""
    root = ET.Element("testsuites", name="traffic-gen")
    skipped = checked.count(Grade.SKIPPED) + checked.count(Grade.INCONCLUSIVE)
    suite = ET.SubElement(
        root, "testsuite", name=f"check of {checked.server}", timestamp=checked.started_at,
        time=f"{checked.seconds:.3f}", tests=str(len(checked.findings)), failures=str(checked.count(Grade.FAIL)),
        errors="0", skipped=str(skipped),
    )  # fmt: skip
    said_before = _said_before(checked)
    for finding in checked.findings:
        case = ET.SubElement(suite, "testcase", classname=f"traffic-gen.{finding.service}", name=finding.id, time="0")
        words = f"{finding.found}; expected {finding.expected} ({finding.source})"
        if finding.outcome is Grade.FAIL:
            ET.SubElement(case, "failure", message=words).text = "\n".join([finding.advice, *finding.transcript])
        elif finding.outcome in (Grade.SKIPPED, Grade.INCONCLUSIVE):
            ET.SubElement(case, "skipped", message=said_before.get(finding, finding.found))
        elif finding.outcome is Grade.WARN:
            ET.SubElement(case, "system-out").text = f"warning: {words}"
    return write_xml(root)


def to_nagios(checked: Checked) -> tuple[str, int]:
    """The line, and the exit code of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
    worst = next((one for one in checked.ordered if one.outcome not in (Grade.INCONCLUSIVE, Grade.SKIPPED)), None)
    state, code = _NAGIOS[worst.outcome if worst is not None else Grade.INCONCLUSIVE]
    words = f"{worst.id}: {worst.found}; {checked.summary}" if worst is not None and code else checked.summary
    # A bar would begin the performance data.
    line = printable(words).replace("|", "/")
    return f"MAIL {state} - {line}|time={checked.seconds:.3f}s;;;0.000 failed={checked.count(Grade.FAIL)};;;0", code


def nagios_error(grade: Grade, words: str) -> tuple[str, int]:
    """The same for a check that could not be made."""
    state, code = _NAGIOS[grade]
    return f"MAIL {state} - {printable(words).replace('|', '/')}", code


def to_html(checked: Checked) -> str:
    """One page that opens offline, in the style of the page of a run."""
    style = files("trafficgen.report").joinpath("page").joinpath("page.css").read_text(encoding="utf-8")
    said_before = _said_before(checked)
    rows = "".join(_row(finding, said_before.get(finding, finding.found)) for finding in checked.ordered)
    title = html.escape(f"Check of {checked.server}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}'
        f"{_STYLE}</style></head><body>"
        f"<main><header><h1>{title}</h1></header><p>{html.escape(checked.summary)}; {html.escape(checked.started_at)}, "
        f"{checked.seconds:.1f} s; seen {html.escape(checked.vantage)}</p>"
        f'<table role="table" aria-label="findings"><thead role="rowgroup"><tr role="row">{_HEADS}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table></main></body></html>\n'
    )


def _row(finding: Finding, words: str) -> str:
    meant = _TONES[finding.outcome]
    tone = "" if meant is Tone.PLAIN else meant.name.lower()
    said = html.escape("\n".join(map(printable, finding.transcript)))
    transcript = f"<details><summary>what was said</summary><pre>{said}</pre></details>" if said else ""
    advice = f"<br>{html.escape(finding.advice)}" if finding.advice else ""
    cells = (finding.outcome.value, finding.id, finding.service)
    named = f'{_CELL[:-1]} class="{tone}">' + f"</td>{_CELL}".join(map(html.escape, cells)) + "</td>"
    expected = f"{html.escape(finding.expected)} <small>({html.escape(finding.source)})</small>{advice}"
    found = f"{html.escape(printable(words))}{transcript}"
    return f'<tr role="row">{named}{_CELL}{found}</td>{_CELL}{expected}</td></tr>'
