"""Several targets: each gets its share of sessions, and results have the numbers of each."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.end_to_end.test_command_line import results_of, run
from tests.engine.test_retrying import RefusesForNow
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, send
from tests.peers.scripted import scripted
from trafficgen import PlanError, Results, parse_target
from trafficgen.cli.parsing import parse_targets
from trafficgen.engine.targets import Turntable
from trafficgen.measure.counts import TargetCounts
from trafficgen.measure.merging_runs import merge_results
from trafficgen.plan import Plan, WeightedTarget
from trafficgen.report.sessions import target_in_words
from trafficgen.report.tables import to_csv, to_junit, to_markdown
from trafficgen.report.to_html import page_runs

RECORDED: Final = Path(__file__).parents[1] / "report" / "recorded" / "results-0.1.0.json"
"""Results as they were written by 0.1.0."""


@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=5), sessions=st.integers(0, 200), first=st.integers(0, 9)
)
def test_of_any_number_of_sessions_each_target_has_its_share(weights: list[int], sessions: int, first: int) -> None:
    table = Turntable(weights, first=first)
    got = Counter(table.next() for _ in range(sessions))
    for index, weight in enumerate(weights):
        assert abs(got[index] - sessions * weight / sum(weights)) < 2


def test_every_target_has_its_sessions_and_its_own_account() -> None:
    with private_sink() as one, private_sink() as other, scripted(RefusesForNow) as refusing:
        results = send(
            one.port, messages=400, sessions=4, workers=2, session={"max_messages": 1}, target_weight=2.0,
            more_targets=(
                WeightedTarget(parse_target(f"127.0.0.1:{other.port}"), 1.0),
                WeightedTarget(parse_target(f"127.0.0.1:{refusing.port}"), 1.0),
            ),
        )  # fmt: skip
        received = one.received, other.received
    at_one, at_other, at_refusing = results.targets
    assert [round(target.weight, 6) for target in results.targets] == [0.5, 0.25, 0.25]
    assert (at_one.accepted, at_other.accepted) == received
    assert (at_one.accepted, at_other.accepted) == (at_one.started, at_other.started)
    assert at_refusing.rejected_temporary == at_refusing.started > 0
    assert counts(results) == Counts(accepted=sum(received), rejected_temporary=at_refusing.started)
    assert abs(at_one.sessions - sum(target.sessions for target in results.targets) / 2) <= 4  # 2 in each worker
    assert at_one.latency_ns is not None
    assert at_one.latency_ns.count == at_one.accepted
    assert at_refusing.latency_ns is None or at_refusing.latency_ns.count == 0
    assert Results.from_dict(results.to_dict()) == results
    assert results.run.addresses == tuple(f"127.0.0.1:{port}" for port in (one.port, other.port, refusing.port))


def test_a_target_that_nobody_is_at_fails_its_own_share_alone() -> None:
    with private_sink() as sink:
        results = send(
            sink.port, messages=40, session={"max_messages": 1},
            more_targets=(WeightedTarget(parse_target("unix:/nobody/is/here")),),
        )  # fmt: skip
    alive, dead = results.targets
    assert counts(results) == Counts(accepted=alive.accepted, failed=dead.failed)
    assert (alive.failed, dead.accepted) == (0, 0)
    assert alive.accepted == dead.failed == 20


def test_the_command_line_takes_several_with_weights_and_merging_adds_them_up() -> None:
    with private_sink() as one, private_sink() as other:
        out, err = run(
            "--target", f"127.0.0.1:{one.port}=3", "--target", f"127.0.0.1:{other.port}", "--message-count", "40",
            "--messages-per-session", "1", "--concurrency", "2", "--workers", "1", "--body-size", "1kb", "--json", "-",
        )  # fmt: skip
    assert f"target 127.0.0.1:{other.port} is at 127.0.0.1:{other.port}" in err
    results = results_of(out)
    assert [(target.accepted, target.weight) for target in results.targets] == [(30, 0.75), (10, 0.25)]
    assert "targets" in err
    assert merge_results([results]).targets == results.targets
    assert results.run.target == f"127.0.0.1:{one.port}=3, 127.0.0.1:{other.port}=1"
    in_words = f"127.0.0.1:{one.port} (75.00%), 127.0.0.1:{other.port} (25.00%)"
    assert in_words in err
    suite = ElementTree.fromstring(to_junit([results]))[0]
    assert suite[0][0].attrib == {"name": "target", "value": in_words}
    assert f"| target | {results.run.target} |" in to_markdown([results])
    assert results.run.target in to_csv([results])
    (page,) = page_runs([results])
    (targets,) = (section for section in page["sections"] if section["title"] == "Targets")
    assert [row[1] for row in targets["rows"]] == [f"127.0.0.1:{port}" for port in (one.port, other.port)]
    assert page["target"] == in_words


def test_of_many_targets_the_first_are_named_and_the_others_counted() -> None:
    results = Results.from_dict(json.loads(RECORDED.read_text()))
    counts = TargetCounts("a.test:25", 0.2, 0, 0, 0, 0, 0, 0, 0, None)
    many = tuple(replace(counts, target=f"{name}.test:25") for name in "abcde")
    assert target_in_words(replace(results, targets=many)) == (
        "a.test:25 (20.00%), b.test:25 (20.00%), c.test:25 (20.00%), 2 more"
    )


def test_every_target_passes_the_guard() -> None:
    with pytest.raises(PlanError, match=r'"192\.0\.2\.7" is at 192\.0\.2\.7, which is not a loopback'):
        send(1, messages=1, more_targets=(WeightedTarget(parse_target("192.0.2.7:25")),))


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("127.0.0.1:1", "127.0.0.1:1=2"), "got one twice"),
        (("127.0.0.1:1", "lmtp://127.0.0.1:2"), "all speak the same"),
        (("127.0.0.1:1", "127.0.0.1:2=0"), "must be a number above zero"),
        (("127.0.0.1:1=x", "127.0.0.1:2"), "expected HOST"),
    ],
)
def test_targets_that_do_not_go_together_are_refused(targets: tuple[str, ...], words: str) -> None:
    def plan() -> Plan:
        first, *more = parse_targets(targets)
        return Plan(target=first.target, more_targets=tuple(more), max_messages=1)

    with pytest.raises(PlanError, match=words):
        plan()


def test_of_one_target_an_equals_sign_belongs_to_its_path() -> None:
    (target,) = parse_targets(("http://127.0.0.1:8000/inject?tenant=3",))
    assert str(target.target) == "http://127.0.0.1:8000/inject?tenant=3"
