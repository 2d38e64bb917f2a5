"""The report page: whole in one file, drawn by a real browser, safe from what a server says."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trafficgen.engine.account import PHASES
from trafficgen.errors import SetupError
from trafficgen.measure.counts import FailureCount, MessageCounts, ReplyCount, ThresholdVerdict
from trafficgen.measure.delivered import Delivery, LedgerCounts
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.observed import QueueShape, ServerSamples
from trafficgen.measure.results import Results
from trafficgen.measure.timeline import Interval
from trafficgen.measure.window import Window
from trafficgen.outcomes import Phase
from trafficgen.publish.live_page import LivePage
from trafficgen.publish.prometheus import Prometheus
from trafficgen.report import to_html as to_html_module
from trafficgen.report.tables import to_markdown
from trafficgen.report.to_html import page_runs, to_html
from trafficgen.report.to_text import to_text

US, MS = 1_000, 1_000_000

COUNT_PIXELS = """<script>
document.body.dataset.painted = [...document.querySelectorAll("canvas")].map(canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] > 0;
  return painted;
}).join(" ");
</script></body>"""


@pytest.fixture
def drawn(results: Results) -> Results:
    """With histograms and ten seconds of a timeline."""
    histogram = Histogram()
    histogram.record_many(np.arange(1, 993, dtype=np.int64) * 20 * US)
    timeline = tuple(
        Interval(second, 1, 100, 99, 0, 1, 0, 0, 500_000, (2 + second) * MS, (9 + second) * MS) for second in range(10)
    )
    return replace(results, histograms={"response": histogram, "connect": histogram}, timeline=timeline)


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium here, and CI must look at the page")
        pytest.skip("no Chromium here")
    return found


def looked_at(page: str, directory: Path, *options: str) -> tuple[str, str]:
    """The page as the browser has made it, and what its console said."""
    file = directory / "page.html"
    file.write_text(page.replace("</body>", COUNT_PIXELS), encoding="utf-8")
    command = [browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={directory / 'profile'}", *options, "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("options", [(), ("--blink-settings=preferredColorScheme=0",)], ids=["light", "dark"])
def test_a_browser_draws_every_chart_and_has_nothing_to_complain_of(
    drawn: Results, tmp_path: Path, options: tuple[str, ...]
) -> None:
    other = replace(drawn, run=replace(drawn.run, id="1" * 16))
    dom, console = looked_at(to_html([drawn, other]), tmp_path, *options)
    assert console == ""
    assert 'data-charts="4"' in dom
    painted = re.search(r'data-painted="([\d ]+)"', dom)
    assert painted is not None
    assert [int(pixels) > 2_000 for pixels in painted[1].split()] == [True] * 4
    assert "9f3a6c1e accepted" in dom
    assert "11111111 accepted" in dom


def test_a_run_without_any_message_is_drawn_too(drawn: Results, tmp_path: Path) -> None:
    bare = replace(drawn, histograms={}, timeline=(), latency_ns=dict.fromkeys(drawn.latency_ns))
    dom, console = looked_at(to_html([bare]), tmp_path)
    assert console == ""
    assert dom.count("<p>nothing was recorded</p>") == 4


def test_what_a_server_said_is_text_and_nothing_else(drawn: Results, tmp_path: Path) -> None:
    rude = ReplyCount(
        Phase.RCPT, 550, "", 7, "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
    )
    dom, console = looked_at(to_html([replace(drawn, replies=(rude,))]), tmp_path)
    assert console == ""
    assert "<title>traffic-gen</title>" in dom
    assert "&lt;/script&gt;&lt;script&gt;document.title='taken'" in dom


def test_every_phase_has_words(results: Results) -> None:
    replies = tuple(ReplyCount(phase, 250, "", 1, "ok") for phase in Phase)
    failures = tuple(FailureCount(phase, "timed out", 1, "30 s") for phase in Phase)
    every = replace(results, replies=replies, failures=failures, phases=dict(PHASES.phases))
    (run,) = page_runs([every])
    assert len(run["replies"]) == 2 * len(Phase)
    for one in Phase:
        assert every.phases[one] in to_text(replace(every, replies=(ReplyCount(one, 421, "", 1, "bye"),)))


def test_the_page_loads_nothing_from_anywhere(drawn: Results) -> None:
    page = to_html([drawn])
    assert not re.search(r"""<(?:link|script|img)[^>]+(?:src|href)=(?!"data:,")""", page)
    assert not re.search(r"@import|url\(", page)


def test_a_spectrum_ends_where_values_no_longer_support_it(drawn: Results) -> None:
    (run,) = page_runs([drawn])
    xs, ys = run["spectrum"]
    assert xs[0] == 1.0
    assert (round(xs[10]), ys[10]) == (10, pytest.approx(893 * 20 * US, rel=2e-3))
    assert xs[-1] <= 992
    assert None not in ys


def test_the_last_part_of_an_interval_is_no_drop_in_the_rate(drawn: Results) -> None:
    def rates(duration_s: float) -> list[float]:
        (run,) = page_runs([replace(drawn, run=replace(drawn.run, duration_s=duration_s))])
        found: list[float] = run["timeline"]["started"]
        return found

    assert rates(10.0) == [100] * 10
    assert rates(9.5) == [100] * 9 + [200]
    assert rates(9.05) == [100] * 9  # too little of it to speak of a rate


def test_percentiles_that_few_values_cannot_tell_are_left_out(drawn: Results) -> None:
    few = replace(drawn.latency_ns["response"], count=99)  # type: ignore[type-var]
    (run,) = page_runs([replace(drawn, latency_ns={"response": few})])
    ((_, name, count, _, _, p90, p95, p99, p999, _),) = run["latencies"]
    assert (name, count, p99, p999) == ("response", "99", "–", "–")
    assert (p90, p95) == ("6.00 ms", "8.00 ms")


def test_the_numbers_of_a_card_are_of_the_same_part_of_the_run(drawn: Results) -> None:
    (whole,) = page_runs([drawn])
    assert (whole["rate"], whole["percentiles"]) == ("397/s", [("p50", "2.00 ms"), ("p99", "10.0 ms")])
    assert whole["outcomes"].startswith("992 of 995 accepted, 1 rejected, 1 failed, 1 in doubt, 5 not started, in the")
    assert whole["whole"] == "ledger clean"
    messages = MessageCounts(500, 500, 499, 0, 1, 0, 0, 0, 1)
    latencies = dict(drawn.latency_ns) | {"response": replace(drawn.latency_ns["response"], p50=3 * MS)}  # type: ignore[type-var]
    window = Window(1.0, 2.25, messages, replace(drawn.rate, messages_per_s=399.2), latencies, {}, {})
    (judged,) = page_runs([replace(drawn, window=window)])
    assert (judged["rate"], judged["percentiles"][0]) == ("399/s", ("p50", "3.00 ms"))
    assert judged["outcomes"] == "499 of 500 accepted, 1 rejected, judged from 1.0 s to 2.2 s"
    assert judged["whole"].startswith("whole run: 992 of 995 accepted")


def test_a_card_says_what_was_run_where_and_by_what(drawn: Results) -> None:
    (run,) = page_runs([drawn])
    assert dict(run["facts"]) == {
        "load": "open model, 400/s, Poisson arrivals, onto 20 sessions",
        "content": "bodies of 10kb:5 80kb:5, to 2 domains",
        "seed": "42",
        "host": "Linux, 2 CPUs, Python 3.11.7",
        "version": "traffic-gen 0.1.0",
        "command": "traffic-gen --target mail.test:2525",
    }


def test_the_wanted_rate_is_that_of_the_plan(drawn: Results) -> None:
    stages = [{"duration_ns": 4_000_000_000, "rate_per_s": 80.0}, {"duration_ns": 0, "rate_per_s": 10.0},
              {"duration_ns": 2_000_000_000, "rate_per_s": 10.0}]  # fmt: skip

    def wanted(plan: dict[str, object]) -> object:
        (run,) = page_runs([replace(drawn, plan=plan, run=replace(drawn.run, duration_s=10.0))])
        return run["timeline"]["wanted"]

    assert wanted({}) is None
    assert wanted({"load": {"rate_per_s": 400.0}}) == [400.0] * 10
    assert wanted({"load": {"rate_per_s": 400.0}, "duration_ns": 2_500_000_000}) == [400.0, 400.0, 200.0, *[0.0] * 7]
    assert wanted({"load": {"rate_per_s": 0.0, "stages": stages}}) == [10, 30, 50, 70, 10, 10, 0, 0, 0, 0]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_and_lines_stand_out_on_light_and_dark() -> None:
    """WCAG 2.2 AA: 4.5:1 for text (1.4.3), 3:1 for lines (1.4.11)."""
    style = (Path(to_html_module.__file__).parent / "page" / "page.css").read_text(encoding="utf-8")
    modes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{([^}]*)\}", style)]
    assert [len(colours) for colours in modes] == [14, 14]
    for colours in modes:
        for name, least in [("ink", 4.5), ("soft", 4.5), ("good", 4.5), ("bad", 4.5), ("warn", 4.5)] + [
            (f"line-{number}", 3.0) for number in range(1, 7)
        ]:
            for ground in ("paper", "panel"):
                low, high = sorted((luminance(colours[name]), luminance(colours[ground])))
                assert (high + 0.05) / (low + 0.05) >= least, (name, ground)


def test_legends_and_narrow_tables_say_something_before_a_mouse_comes(drawn: Results, tmp_path: Path) -> None:
    ten = replace(drawn, run=replace(drawn.run, duration_s=10.0))
    dom, _ = looked_at(to_html([ten]), tmp_path, "--window-size=500,3000")
    legends = re.findall(r'class="u-value">([^<]*)<', dom)
    assert len(legends) == 12
    assert "–" not in legends
    assert "mean 100" in legends
    hints = re.findall(r'<p class="hint"( hidden="")?', dom)
    assert len(hints) == 4
    assert "" in hints


def test_a_page_and_a_job_summary_begin_with_the_verdict(drawn: Results) -> None:
    kept = ThresholdVerdict("p99<250ms", 90 * MS, 250 * MS, True)
    missed = ThresholdVerdict("throughput>5000", 300.0, 5000.0, False)
    sound = replace(drawn, caveats=(), generator=replace(drawn.generator, limited=False, sentences=()), ledger=None)
    limited = replace(drawn, generator=replace(drawn.generator, limited=True))
    passed, failed, spoiled, lossy, unjudged = page_runs(
        [
            replace(sound, thresholds=(kept,)),
            replace(sound, thresholds=(kept, missed)),
            replace(limited, ledger=None, thresholds=(kept,)),
            replace(sound, ledger=LedgerCounts(10, 9, 1, 0, 0)),
            sound,
        ]
    )
    assert passed["verdict"] == ["PASSED", "good"]
    assert failed["verdict"] == ["FAILED: 1 of 2 thresholds", "bad"]
    assert spoiled["verdict"] == ["NOT VALID: the generator was the limit", "bad"]
    assert lossy["verdict"] == ["FAILED: mail was lost, duplicated or damaged", "bad"]
    assert unjudged["verdict"] is None
    kept_words = to_markdown([replace(sound, thresholds=(kept,))])
    assert "| verdict | ✅ PASSED |\n" in kept_words
    assert "- ✅ p99&#60;250ms: 90.0 ms" in kept_words
    assert "- not judged: p99&#60;250ms: 90.0 ms" in to_markdown([replace(limited, ledger=None, thresholds=(kept,))])
    assert "verdict" not in to_markdown([sound])


# -- while a run goes on --------------------------------------------------------------------------------


def fetch(port: int, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, answer.read().decode()


def test_the_live_page_serves_the_numbers_so_far(drawn: Results) -> None:
    with LivePage(0) as page:
        assert fetch(page.port, "/runs.json") == (200, "[]")
        page(replace(drawn, complete=False))
        status, body = fetch(page.port, "/")
        assert (status, '<script type="application/json" id="runs">null</script>' in body) == (200, True)
        (run,) = json.loads(fetch(page.port, "/runs.json")[1])
        assert (run["complete"], run["name"]) == (False, "9f3a6c1e")
        with pytest.raises(SetupError, match="cannot listen"):
            LivePage(page.port)


def test_prometheus_scrapes_a_run(results: Results) -> None:
    with Prometheus(0) as metrics:
        assert "traffic_gen" not in fetch(metrics.port, "/metrics")[1]
        metrics(results)
        lines = fetch(metrics.port, "/metrics")[1].splitlines()
    assert 'traffic_gen_messages_total{outcome="accepted"} 992.0' in lines
    assert 'traffic_gen_replies_total{code="550",phase="rcpt"} 1.0' in lines
    assert 'traffic_gen_latency_seconds{quantile="0.99",stretch="response"} 0.01' in lines


def test_what_an_observer_saw_is_drawn_under_the_same_axis(drawn: Results, tmp_path: Path) -> None:
    seen = ServerSamples(
        source="local",
        host="mx",
        clock="same",
        every_s=1.0,
        cost_share=0.001,
        at_s=(0.0, 1.0, 2.0, 3.0),
        series={"queue.depth": (0.0, 5.0, None, 9.0), "host.cpu_busy": (0.2, 0.9, 0.8, 0.1)},
        shape=QueueShape(2.0, 9, 9, (5, 10), {"gmail.com": (1, 2, 4), "<b>": (0, 0, 2)}),
    )
    delivery = Delivery(0, 1.0, 1.0, True, 0, 0, None, 1.0, (1, 8, 2))
    dom, console = looked_at(to_html([replace(drawn, server=seen, delivery=delivery)]), tmp_path)
    assert console == ""
    assert 'data-charts="7"' in dom
    assert "Undelivered" in dom
    assert "the server was short of nothing that was looked at" in dom
    assert re.search(r"<th[^>]*>gmail\.com</th><td[^>]*>7</td><td[^>]*>1</td><td[^>]*>2</td><td[^>]*>4</td>", dom)
    assert "&lt;b&gt;" in dom
    assert "when it was fullest, by age" in dom
    assert "Server: queue" in dom
    assert "Server: load" in dom
