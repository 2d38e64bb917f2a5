"""Pages as somebody meets them who does not see them, or sees them small or dark: axe-core in a real browser.

axe-core (https://github.com/dequelabs/axe-core) holds a page to what a program can judge of WCAG 2: contrast, names of
pictures and tables, order of headings, what a keyboard reaches.
"""

import html
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.report.test_page import browser, drawn
from tests.verdict.blocks import DESIGN, QUIET, block, noisy, served
from trafficgen.measure.counts import ThresholdVerdict
from trafficgen.measure.results import Results
from trafficgen.report.checked import Checked
from trafficgen.report.checked import to_html as page_of_check
from trafficgen.report.gated import PastGate
from trafficgen.report.past_gates import eras_of, history_page
from trafficgen.report.slices_page import slices_page
from trafficgen.report.to_html import to_html
from trafficgen.verdict.findings import Finding, Grade
from trafficgen.verdict.sequence import advance
from trafficgen.verdict.slices import Disturbance

__all__ = ["drawn"]

LOOK = """<pre id="violations" hidden></pre><script>{axe}</script><script>
axe.run(document).then(found => {{
  const words = found.violations.map(one => [one.id, one.help, one.nodes.map(node => node.html.slice(0, 200))]);
  document.getElementById("violations").textContent = JSON.stringify([found.passes.length, words]);
}});
</script>"""
WAYS = {
    "light, on a desk": ("--window-size=1280,900",),
    "dark, on a phone": ("--blink-settings=preferredColorScheme=0", "--window-size=390,844"),
}


def of_runs(results: Results) -> str:
    judged = replace(results, thresholds=(ThresholdVerdict("p99<1ms", 2e6, 1e6, passed=False),))
    return to_html([judged, replace(results, run=replace(results.run, id="1" * 16))])


def of_gate(_results: Results) -> str:
    stolen = (QUIET, Disturbance(stolen=0.4, foreign=0.01, lag_ns=3_000_000), QUIET, QUIET)
    spoiled = block([1000, 100, 1000, 1000], stolen, first=DESIGN.order(8)[0])
    ended = advance(DESIGN, [*served(8, noisy(1.0, 0.01)), spoiled], time_is_up=True)
    assert ended is not None
    return slices_page(ended, DESIGN)


def of_check(_results: Results) -> str:
    findings = tuple(
        Finding(
            f"smtp.{grade.value}", "smtp", grade, "one thing", "another", "do this", "RFC 5321", ("S: 220 x", "C: QUIT")
        )
        for grade in Grade
    )
    return page_of_check(Checked("mx.test:25", "127.0.0.1", "2026-11-27 10:00:00 UTC", 1.5, findings))


def of_history(_results: Results) -> str:
    gates = [PastGate("2026-11-27T12:54:50+00:00", "", ratio) for ratio in (0.9, 0.91, 0.92) * 3]
    metrics = {"throughput": gates, "p99": gates}
    return history_page(metrics, {metric: eras_of(metric, past) for metric, past in metrics.items()})


@pytest.mark.parametrize("page", [of_runs, of_gate, of_check, of_history])
def test_an_accessibility_checker_has_nothing_to_say(
    page: Callable[[Results], str], drawn: Results, tmp_path: Path
) -> None:
    axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    made = page(drawn)
    end = made.rindex("</body>")
    file = tmp_path / "page.html"
    file.write_text(made[:end] + LOOK.format(axe=axe) + made[end:], encoding="utf-8")
    for way, options in WAYS.items():
        command = [browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", *options, "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
        found = re.search(r'<pre id="violations"[^>]*>(.+?)</pre>', done.stdout, re.DOTALL)
        assert found is not None, (way, done.stderr)
        passes, violations = json.loads(html.unescape(found[1]))
        assert violations == [], way
        assert passes > 10
