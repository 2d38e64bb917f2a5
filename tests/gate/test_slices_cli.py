"""`traffic-gen gate` by slices, from the command line to its files."""

import csv
import json
import math
import random
import socket
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.gate.test_real_gate import server
from tests.verdict.blocks import DESIGN, QUIET, block, noisy, served
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.plan import Plan
from trafficgen.report.sliced import slices_json, slices_sections
from trafficgen.report.slices_page import slices_page
from trafficgen.report.to_text import sections_to_text
from trafficgen.runs.limit import Limit, LimitOptions
from trafficgen.verdict.limit import Bracket, LimitStep
from trafficgen.verdict.sequence import advance
from trafficgen.verdict.slices import Disturbance

LOAD = ["--", "--concurrency", "2", "--workers", "1", "--body-size", "1kb"]
SHORT = ["--slice", "60ms", "--budget", "1m"]


def test_a_public_address_is_refused_before_anything_connects(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        a = f"127.0.0.1:{listener.getsockname()[1]}"
        assert call(["gate", "--a", a, "--b", "8.8.8.8", *SHORT, *LOAD]) is ExitCode.USAGE
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "--allow-public-target" in capsys.readouterr().err


def test_a_gate_by_slices_with_all_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / f"gate.{name}" for name in ("json", "junit", "html", "history", "state")}
    queues = {side: tmp_path / side for side in "ab"}
    for directory in (queue / name for queue in queues.values() for name in ("incoming", "active", "deferred")):
        directory.mkdir(parents=True)
    arguments = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    arguments += ["--a-queue", str(queues["a"]), "--b-queue", str(queues["b"]), "--metric", "queue.delivered:5%"]
    with server(0) as a, server(0, queues["b"]) as b:
        gate = ["gate", "--a", str(a), "--b", str(b), *SHORT, *arguments, *LOAD, "--message-count", "5"]
        gate[gate.index("--budget") + 1] = "10m"  # ends at the first look, however slow this machine is
        assert call(gate) is ExitCode.VERDICT_FAILED
    shown = capsys.readouterr()
    blocks = files["state"].read_text()
    # The same again needs nobody who listens: all blocks are in the file.
    assert call(gate) is ExitCode.VERDICT_FAILED
    assert (capsys.readouterr().out, files["state"].read_text()) == (shown.out, blocks)
    assert "--message-count plays no part: a gate by slices sends until it has decided" in shown.err
    assert shown.out.startswith("FAIL\n  after ")
    assert "blocks B is worse than A, beyond chance" in shown.out
    plain = json.loads(files["json"].read_text())
    assert plain["kind"] == "slices"
    (compared,) = plain["comparisons"]
    assert compared["median_a"] == 1.0  # nothing stays in A's queue, and all in B's
    assert compared["median_b"] < 0.5
    assert {"".join(one["side"] for one in block["slices"]) for block in plain["blocks"]} <= {"abba", "baab"}
    assert len(blocks.splitlines()) == 1 + len(plain["blocks"])
    queued = plain["blocks"][-1]["queued"]
    assert queued["a"] == 0
    assert queued["b"] >= sum(one["messages"]["b"] for one in plain["blocks"]) > 0
    failures = [case.find("failure") is not None for case in ET.parse(files["junit"]).iter("testcase")]  # our own file
    assert failures == [True, True]  # the gate, and its one metric
    rows = list(csv.DictReader(files["history"].read_text().splitlines()))
    estimates = {one["metric"]["name"]: one["ratio"] for one in (compared, *plain["others"])}
    assert {row["metric"]: float(row["ratio"]) for row in rows} == pytest.approx(estimates, rel=1e-5)
    assert estimates.keys() >= {"queue.delivered", "throughput"}
    page = files["html"].read_text()
    assert page.count("<svg") == 2
    assert "FAIL" in page


def test_half_of_what_a_takes_is_the_rate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trafficgen.runs.limit.capacity", lambda plan: 200.0 if plan.target is not None else 0.0)
    with server(5) as a, server(60) as b:
        gate = ["gate", "--a", str(a), "--b", str(b), *SHORT, "--rate", "half", "--metric", "p50:10%+2ms", *LOAD]
        gate[gate.index("--concurrency") + 1] = "20"
        assert call(gate) is ExitCode.VERDICT_FAILED
    shown = capsys.readouterr()
    assert "A accepts 200 messages/s without a rate; both builds are served at 100/s" in shown.err
    assert "p50 is " in shown.out


@pytest.mark.parametrize("kept", [200.0, None])
def test_half_of_the_limit_that_a_search_finds_is_the_rate(
    kept: float | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LimitOptions] = []

    def find_limit(plan: Plan, options: LimitOptions, _say: object) -> Limit:
        asked.append(options)
        return Limit(Bracket(kept, 240.0), (LimitStep(240.0, held=False),), whole=False)

    monkeypatch.setattr("trafficgen.runs.limit.find_limit", find_limit)
    with server(5) as a, server(60) as b:
        gate = ["gate", "--a", str(a), "--b", str(b), *SHORT, "--rate", "half", "--threshold", "p99<250ms", *LOAD]
        gate[gate.index("--concurrency") + 1] = "20"
        assert call(gate) is (ExitCode.FAILED if kept is None else ExitCode.VERDICT_FAILED)
    shown = capsys.readouterr().err
    words = "no rate was found at which A keeps p99<250ms: there was time for 1 step in 15 s"
    if kept is not None:
        words = "A accepts 200 messages/s while it keeps p99<250ms; both builds are served at 100/s"
    assert words in shown
    assert [(one.budget_ns, [held.expression for held in one.thresholds]) for one in asked] == [
        (15 * 10**9, ["p99<250ms"])
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "p99<1s"], "expected --rate half with it (--threshold)"),
        (["--rate", "half", "--threshold", "p99<1"], "expected a limit with its unit"),
        (["--rate", "half", "--threshold", "queue.depth<9", "--threshold", "domain{x.y}.p9<1s"], "no mail goes to"),
        (["--whole-runs", "--threshold", "p99<1s"], "it is for --rate half, by slices only (--threshold)"),
        (["--looks", "8"], "a gate by slices looks by itself, within --budget; or give --whole-runs (--looks)"),
        (["--keep", "runs"], "--json holds its slices; or give --whole-runs (--keep)"),
        (
            ["--budget", "5s"],
            "8 blocks of slices, and what is around them, take 76.8 s: allow more time or serve shorter slices",
        ),
        (["--slice", "x"], "(--slice)"),
        (["--a-start", "", "--a-stop", "true"], 'expected a command such as ./up, got "" (--a-start)'),
        (["--b-start", "true", "--b-stop", "say 'x"], 'got "say \'x" (--b-stop)'),
        (["--", "--before", " "], "(--before)"),
        (["--metric", "p95", "--metric", "p50", "--metric", "p95:20%"], "expected p95 once, got it 2 times (--metric)"),
        (["--metric", "command{fetch}.p95:5%"], "this gate sends mail: it times service, response,"),
        (["--whole-runs", "--metric", "command{fetch}.p95:5%"], "envelope, end_of_data, as in end_of_data.p95"),
        (["--metric", "host.listen_drops:5%"], "is read in whole runs only (--whole-runs); of the server, slices have"),
        (["--metric", "queue.age_p99"], "server.fsyncs, queue.delivered (--metric)"),
        (["--metric", "seen.p95"], '"seen.p95" is of users of mailboxes (-- mailbox profile=FILE)'),
        (["--metric", "command{fetch}.throughput"], '"command{fetch}.throughput" is of users of mailboxes'),
        (
            ["--metric", "queue.delivered:5%", "--a-queue", "x"],
            "expected the queues of both builds, to see what leaves them (queue.delivered) (--a-queue, --b-queue)",
        ),
        (["--whole-runs", "--metric", "queue.delivered"], "whole runs look at no queue (queue.delivered) (--metric)"),
        (["--metric", "domain{no.where}.p95:5%"], 'no mail goes to the domain of "domain{no.where}.p95"'),
        (["--metric", "tls.p95"], '"tls.p95" needs TLS, and sessions are plain: add --starttls or --tls (--metric)'),
        (["--whole-runs", "--metric", "tls.p95"], '"tls.p95" needs TLS'),
        (["--rate", "half", "--metric", "auth.p95"], '"auth.p95" needs a login'),
        (["--whole-runs", "--metric", "domain{no.where}.p95"], "no mail goes to the domain"),
        (["--metric", "lateness.p95"], "needs intended starts"),
        (["--", "--stage", "1s:5"], "one rate (--rate), or give --whole-runs"),
        (["--whole-runs", "--rate", "5/s"], "give it behind -- for whole runs (--rate)"),
        (["--whole-runs", "--html", "x"], "whole runs have no page"),
    ],
)
def test_what_is_of_the_other_kind_of_gate(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["gate", "--a", "127.0.0.1:1", "--b", "127.0.0.1:2", *arguments]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_what_was_left_out_is_shown_with_its_reason_and_what_it_would_have_changed() -> None:
    stolen = (QUIET, Disturbance(stolen=0.4, foreign=0.01, lag_ns=3_000_000), QUIET, QUIET)
    spoiled = block([1000, 100, 1000, 1000], stolen, first=DESIGN.order(8)[0])
    blocks = [*served(8, noisy(1.0, 0.01)), spoiled]
    ended = advance(DESIGN, blocks, time_is_up=True)
    assert ended is not None
    text = " ".join(sections_to_text(slices_sections(ended, DESIGN)).split())
    assert "left out: 1 of 18 pairs, 1 as CPU time went to others" in text
    assert "with nothing left out it would be " in text
    page = slices_page(ended, DESIGN)
    assert page.count("<tr class=plain><th scope=row>9</th><td>1, ") == 2
    assert "<td>40.0%</td><td>1.0%</td><td>3.0 ms</td><td>0%</td><td>–</td>" in page
    assert (page.count('class="a out"'), page.count('class="b out"')) == (1, 1)
    assert page.count("<title>block ") == 9  # the ratio of each block; nine of them count in part
    plain = json.loads(slices_json(ended, DESIGN))
    assert plain["left_out"] == [{"block": 8, "pair": 0, "why": "others"}]
    assert plain["blocks"][8]["why"] == ["others", None]
    assert plain["with_all"]["comparisons"][0]["pairs"] == 9


def test_blocks_that_were_joined_are_said_to_be() -> None:
    rng = random.Random(1)
    waves = served(
        96, lambda n, side: 1000 * math.exp(rng.gauss(0, 0.01) + 0.1 * math.sin(n / 60) * (side.value == "b"))
    )
    ended = advance(DESIGN, waves, time_is_up=True)
    assert ended is not None
    assert ended.joined > 1
    assert f"so {ended.joined} of them are one observation" in " ".join(
        sections_to_text(slices_sections(ended, DESIGN)).split()
    )


def test_a_page_of_a_gate_that_measured_nothing() -> None:
    ended = advance(DESIGN, [], time_is_up=True)
    assert ended is not None
    page = slices_page(ended, replace(DESIGN, budget_ns=DESIGN.budget_ns))
    assert "nothing was measured" in page
    assert "INCONCLUSIVE" in page
