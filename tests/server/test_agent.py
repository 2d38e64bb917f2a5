"""The observer: its lines, its cost, and what it does when something cannot be seen."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.server.agent import Observed, Observer, answer_clock_questions, observe, paces
from trafficgen.server.metrics import MetricsPage, sums

NS = 1_000_000_000


class Clocked:
    """A sampler that says how often it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        self.asked += 1
        return {f"queue.{self.name}": float(self.asked)}


MS = 1_000_000


def test_what_costs_little_is_looked_at_each_time_and_what_costs_much_less_often() -> None:
    found = paces([1 * MS, 130 * MS, 2 * MS], NS, 0.01)
    assert (found[0], found[2]) == (NS, NS)
    assert found[1] == pytest.approx(130 * MS / 0.007)  # 10 ms a second, less 3


def test_two_dear_things_share_what_is_left() -> None:
    assert paces([0, 20 * MS, 20 * MS], NS, 0.01) == [NS, pytest.approx(4 * NS), pytest.approx(4 * NS)]


@given(st.lists(st.floats(0, 1e10), max_size=8), st.integers(1_000_000, 10 * NS), st.floats(1e-4, 1))
def test_all_together_never_take_more_than_their_share(costs: list[float], every_ns: int, share: float) -> None:
    found = paces(costs, every_ns, share)
    assert all(pace >= every_ns for pace in found)
    assert sum(cost / pace for cost, pace in zip(costs, found, strict=True)) <= share * (1 + 1e-9)


def test_each_look_is_a_line_after_the_first() -> None:
    lines: list[str] = []
    looks = iter([False, False, True])
    observe(
        Observer([Clocked("a"), Clocked("b")], 1, share=10**9), lines.append, every_ns=1, wait=lambda _s: next(looks)
    )
    head, *rest = (json.loads(line) for line in lines)
    assert head["samples"] == 1
    assert len(head["boot_id"]) == 16
    assert [one["values"] for one in rest] == [{"queue.a": n, "queue.b": n} for n in (1, 2, 3)]
    assert all(one["cost_ns"] >= 0 and one["wall_ns"] > one["mono_ns"] for one in rest)


def test_the_next_look_is_due_at_its_time_and_late_ones_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100 * NS, 100 * NS + 300 * MS, 102 * NS, 103 * NS])  # the beginning, and the ends of three looks
    monkeypatch.setattr("trafficgen.server.agent.now_ns", lambda: next(clock))
    observer = Observer([], NS)
    monkeypatch.setattr(observer, "head", lambda: "")
    monkeypatch.setattr(observer, "look", list)
    waits: list[float] = []
    observe(observer, lambda _line: None, every_ns=NS, for_ns=2 * NS, wait=waits.append)  # type: ignore[arg-type]
    assert waits == [0.7, 0.0]


def test_only_questions_about_the_clock_are_answered() -> None:
    lines: list[str] = []
    answer_clock_questions(BytesIO(b"clock 7\nclock x\nclock\nwatch 8\n\n clock 9 \n"), lines.append, lambda: None)
    answers = [json.loads(line) for line in lines]
    assert [one["clock"] for one in answers] == [7, 9]
    assert all(one["received"] <= one["answered"] for one in answers)


def test_what_is_dear_waits_until_as_much_was_saved_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What costs little is looked at each time. The dear one's second look was thought to cost a tenth of its first."""
    now, cpu = 0, 0

    class Costly(Clocked):
        def __init__(self, name: str, *costs: int) -> None:
            super().__init__(name)
            self.costs = costs

        def sample(self, now_s: float) -> dict[str, float]:
            nonlocal cpu
            cpu += self.costs[min(self.asked, len(self.costs) - 1)]
            return super().sample(now_s)

    monkeypatch.setattr("trafficgen.server.agent.now_ns", lambda: now)
    monkeypatch.setattr("trafficgen.server.agent._cpu_ns", lambda: cpu)
    cheap, dear = Costly("cheap", 1 * MS), Costly("dear", 89 * MS, 20 * MS)
    observer = Observer([cheap, dear], share=0.01)
    at_dear = []
    for second in range(1, 101):
        now, before = second * NS, dear.asked
        observer.look()
        at_dear += [second] if dear.asked > before else []
        assert second < 16 or cpu <= 0.01 * (now - NS)
    assert cheap.asked == 100
    assert at_dear[:4] == [1, 2, 16, 18]
    assert cpu > 0.009 * 99 * NS


def test_what_cannot_be_seen_is_said_once(tmp_path: Path) -> None:
    observer = Observer(Observed(postfix_queue=tmp_path / "nowhere").samplers())
    first, second = observer.look(), observer.look()
    (missing,) = [json.loads(line)["missing"] for line in first if "missing" in json.loads(line)]
    assert any("nowhere" in word for word in missing)
    assert not any("missing" in json.loads(line) for line in second)


def test_the_command_writes_until_its_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "samples.ndjson"
    command = [sys.executable, "-m", "trafficgen", "observe", "--write", str(path), "--every", "50ms", "--for", "300ms"]
    subprocess.run(command, check=True, timeout=60)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["every_s"] == 0.05
    assert any("host.running" in line.get("values", {}) for line in lines[1:])


PAGE = """\
# HELP scheduled_count waits
# TYPE scheduled_count gauge
scheduled_count{queue="gmail.com",note="a } b \\"c\\""} 12
scheduled_count{queue="x"} 3 1795305188000
ready_count 0.5
odd_count NaN
other{le="+Inf"} 7
# EOF
"""


def test_metrics_are_summed_over_their_labels() -> None:
    assert sums(PAGE, {"scheduled_count", "ready_count", "odd_count", "none"}) == {
        "scheduled_count": 15.0, "ready_count": 0.5,
    }  # fmt: skip
    with pytest.raises(ValueError, match="expected a metric in line 1"):
        sums("<html>", {"x"})


def test_a_series_that_vanished_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    page = MetricsPage("http://127.0.0.1:1/metrics", ["a", "b"])
    pages = iter([b"a 1\n", b"b 2\n"])
    monkeypatch.setattr("trafficgen.server.metrics.urllib.request.urlopen", lambda *_, **__: BytesIO(next(pages)))
    assert page.sample(0.0) == {"metric.a": 1.0}
    assert page.sample(1.0) == {"metric.a": 0.0, "metric.b": 2.0}


def test_a_page_that_nobody_serves_is_said() -> None:
    page = MetricsPage("http://127.0.0.1:1/metrics", ["a"])
    assert page.sample(0.0) == {}
    assert any("refused" in word.lower() for word in page.missing)
