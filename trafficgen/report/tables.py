"""Results as tables for other programs: CSV, Markdown, JUnit XML.

Takes     one or more `Results`
Gives     to_csv        a row a run, a column a number, units in the column's name
          to_markdown   the key numbers and verdicts, for a pull request or a job's summary page; rate and latencies
                        are those of the judged part of a run
          to_junit      a test case for each thing that a run had to keep to
Not here  the whole summary in words (to_text), pictures (to_html), the gate's verdict (of_gate)
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from trafficgen.errors import ExitCode
from trafficgen.measure.results import Results
from trafficgen.printable import csv_cell, markdown, printable
from trafficgen.report import words
from trafficgen.report.judged import value_in_words, verdict_of
from trafficgen.report.section import Tone
from trafficgen.report.sessions import target_in_words

_PERCENTILES: Final = ("min", "mean", "p50", "p75", "p90", "p95", "p99", "p99_9", "max")


def to_csv(runs: Sequence[Results]) -> str:
    """A header and a row for each run."""
    rows = [{name: csv_cell(value) for name, value in _columns(run)} for run in runs]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _columns(results: Results) -> Iterator[tuple[str, object]]:
    run, rate = results.run, results.rate
    yield from (("id", run.id), ("started_at", run.started_at), ("duration_s", run.duration_s), ("seed", run.seed))
    yield from (("target", run.target or ""), ("model", run.model), ("tool_version", run.tool_version))
    yield from (("complete", results.complete), ("valid", results.valid), ("stopped_by", results.stopped_by.value))
    for name in type(results.messages).__slots__:
        yield name, getattr(results.messages, name)
    yield from (("messages_per_s", rate.messages_per_s), ("bytes_per_s", rate.bytes_per_s))
    yield from (("started_per_s", rate.started_per_s), ("wanted_per_s", rate.wanted_per_s))
    for stretch, latency in results.latency_ns.items():
        if latency:
            yield f"{stretch}_count", latency.count
            yield from ((f"{stretch}_{name}_ns", getattr(latency, name)) for name in _PERCENTILES)
    for name, command in results.commands.items():
        yield from ((f"command_{name}_{what}", getattr(command, what)) for what in ("count", "errors", "bytes"))
        if command.latency_ns:
            latency = command.latency_ns
            yield from ((f"command_{name}_{what}_ns", getattr(latency, what)) for what in _PERCENTILES)
    if results.ledger:
        yield from ((name, getattr(results.ledger, name)) for name in ("missing", "duplicated", "corrupted"))
    yield "generator_limited", results.generator.limited


# -- Markdown -------------------------------------------------------------------------------------------


def to_markdown(runs: Sequence[Results]) -> str:
    """A table with a column for each run, then what each had to keep to."""
    verdicts = [verdict_of(run) for run in runs]
    table = [
        ("run", [f"`{run.run.id}`" for run in runs]),
        *([("verdict", [_verdict(verdict) for verdict in verdicts])] if any(verdicts) else []),
        ("target", [markdown(run.run.target or "embedded sink") for run in runs]),
        ("accepted", [_accepted(run) for run in runs]),
        ("messages/s", [words.rate((run.window or run).rate.messages_per_s) for run in runs]),
        *((name, words.together([_latency(run, name) for run in runs])) for name in ("p50", "p95", "p99")),
        *(row for name in _used_commands(runs) for row in _command_rows(name, runs)),
        ("ledger", [_ledger(run) for run in runs]),
    ]
    (head, first), *rest = table
    lines = [_row(head, first), _row("---", ["---:"] * len(runs)), *(_row(name, cells) for name, cells in rest)]
    for run in runs:
        lines += _judged(run)
    return "\n".join(lines) + "\n"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join((name, *cells))} |"


def _verdict(verdict: tuple[str, Tone] | None) -> str:
    return f"{'✅' if verdict[1] is Tone.GOOD else '❌'} {verdict[0]}" if verdict else "–"


def _accepted(run: Results) -> str:
    return f"{words.count(run.messages.accepted)} of {words.count(run.messages.started)}"


def _latency(run: Results, name: str) -> float | None:
    latency = (run.window or run).latency_ns["response" if run.run.model == "open" else "service"]
    return float(getattr(latency, name)) if latency else None


def _used_commands(runs: Sequence[Results]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name, one in run.commands.items() if one.count))


def _command_rows(name: str, runs: Sequence[Results]) -> Iterator[tuple[str, Sequence[str]]]:
    found = [(run.window or run).commands.get(name) for run in runs]
    yield f"{name} p99", words.together([one.latency_ns.p99 if one and one.latency_ns else None for one in found])
    yield f"{name} errors", [words.share(one.errors, one.count) if one else "–" for one in found]


def _ledger(run: Results) -> str:
    if run.ledger is None:
        return "–"
    counts = (run.ledger.missing, run.ledger.duplicated, run.ledger.corrupted)
    return "clean" if run.ledger.clean else f"**{counts[0]} missing, {counts[1]} duplicated, {counts[2]} corrupted**"


def _judged(run: Results) -> list[str]:
    if not (run.thresholds or run.caveats):
        return []
    lines = ["", f"**`{run.run.id}`**", ""]
    judged = run.verdict_code is not ExitCode.NOT_VALID
    for one in run.thresholds:
        mark = ("✅" if one.passed else "❌") if judged else "not judged:"
        lines.append(f"- {mark} {markdown(one.expression)}: {value_in_words(one)}")
    return lines + [f"- ⚠️ {markdown(caveat.text)}; {markdown(caveat.advice)}" for caveat in run.caveats]


# -- JUnit ----------------------------------------------------------------------------------------------


def to_junit(runs: Sequence[Results]) -> str:
    """One suite a run: it is valid, its ledger is clean, each threshold holds."""
    suites = ET.Element("testsuites", name="traffic-gen")
    for run in runs:
        suite = add_suite(suites, f"run {run.run.id}", run.run.started_at, run.run.duration_s, tuple(_cases(run)))
        properties = ET.Element("properties")
        ET.SubElement(properties, "property", name="target", value=target_in_words(run))
        suite.insert(0, properties)
    return write_xml(suites)


def _cases(run: Results) -> Iterator[tuple[str, str | None]]:
    """Name, and what is wrong with it."""
    why = "; ".join(caveat.text for caveat in run.caveats)
    yield "the measurement is valid", f"{run.not_judged}: {why}" if run.not_judged else None
    yield "the run is complete", None if run.complete else "it was cut off"
    if run.ledger:
        yield "every accepted message arrived once and whole", None if run.ledger.clean else _ledger(run).strip("*")
    for verdict in run.thresholds:
        yield verdict.expression, None if verdict.passed else f"measured: {value_in_words(verdict)}"


def add_suite(
    parent: ET.Element, name: str, started_at: str, duration_s: float, cases: Sequence[tuple[str, str | None]]
) -> ET.Element:
    """A suite of (name, failure) under `parent`; a failure of None is a success."""
    failures = sum(failure is not None for _, failure in cases)
    suite = ET.SubElement(
        parent, "testsuite", name=name, timestamp=started_at, time=f"{duration_s:.3f}", tests=str(len(cases)),
        failures=str(failures), errors="0", skipped="0",
    )  # fmt: skip
    for title, failure in cases:
        case = ET.SubElement(suite, "testcase", classname=f"traffic-gen.{name}", name=title, time="0")
        if failure is not None:
            ET.SubElement(case, "failure", message=failure).text = failure
    return suite


def write_xml(root: ET.Element) -> str:
    """The document, indented. XML 1.0 holds no control characters, not even as references."""
    for element in root.iter():
        element.attrib = {name: printable(value) for name, value in element.attrib.items()}
        element.text = printable(element.text) if element.text else None
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
