"""Shards that really run: together they send what one machine sends."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.peers.private_sink import collecting_sink
from tests.peers.running import Counts, counts, plan_for
from tests.sink.sink_process import sink_process
from trafficgen import Plan, run
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, PlanError, SetupError
from trafficgen.measure.results import Results, read_results
from trafficgen.plan import Arrivals, Corpus, OpenLoop, Shard, SizedBodies, Stage
from trafficgen.proof import trace_header
from trafficgen.runs import shards

RUN_ID = "9f3a6c1e02b4d857"
MESSAGES = 600
S = 1_000_000_000


def plan_of(port: int, shard: Shard | None = None, **words: Any) -> Plan:
    given: dict[str, Any] = {
        "messages": MESSAGES,
        "sessions": 6,
        "workers": 2,
        "seed": 7,
        "run_id": RUN_ID,
        "body": "2kb",
    }
    return plan_for(port, **(given | words), shard=shard or Shard())


def sent(of: int, **words: Any) -> tuple[dict[int, bytes], list[Results]]:
    """Everything that arrives from all shards, by number, without the date; each message once."""
    with collecting_sink() as (port, messages):
        made = [run(plan_of(port, Shard(number, of), **words)) for number in range(1, of + 1)]
        found: dict[int, bytes] = {}
        for message in messages:
            parsed = trace_header.parse(message.partition(trace_header.HEADER)[2][: trace_header.VALUE_OCTETS])
            assert parsed is not None
            assert parsed[1] not in found, "a message came twice"
            lines = message.splitlines(keepends=True)
            found[parsed[1]] = b"".join(line for line in lines if not line.startswith(b"Date: "))
        return found, made


LOADS = [
    None,
    OpenLoop(3_000.0),
    OpenLoop(3_000.0, arrivals=Arrivals.POISSON),
    OpenLoop(0.0, (Stage(S // 5, 4_000.0), Stage(S // 5, 1_000.0))),
]


@pytest.mark.parametrize("load", LOADS, ids=["closed", "constant", "poisson", "stages"])
def test_three_shards_send_what_one_machine_sends(load: OpenLoop | None) -> None:
    whole, (alone,) = sent(1, load=load)
    parts, made = sent(3, load=load)
    assert sorted(whole) == list(range(MESSAGES))
    assert parts == whole
    assert sum(one.messages.planned for one in made) == alone.messages.planned
    assert [one.generator.sessions_opened <= 2 for one in made] == [True] * 3


def test_four_shards_and_their_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the files alone: results merge, manifests are held against the ledger of one sink."""
    with sink_process("127.0.0.1:0", "--ledger", str(tmp_path / "sink.ledger")) as sink:
        for number in range(1, 5):
            results = run(
                plan_of(sink.port, Shard(number, 4), messages=1_001), manifest=tmp_path / f"{number}.manifest"
            )
            (tmp_path / f"{number}.json").write_text(results.to_json())
        sink.end()
    files = [str(tmp_path / f"{number}.json") for number in range(1, 5)]
    assert call(["merge", *files, "-o", str(tmp_path / "all.json")]) == ExitCode.DONE
    merged = read_results(tmp_path / "all.json")
    assert counts(merged) == Counts(accepted=1_001)
    assert [one.number for one in merged.shards] == [1, 2, 3, 4]
    manifests = [str(tmp_path / f"{number}.manifest") for number in range(1, 5)]
    ledger = str(tmp_path / "sink.ledger")
    capsys.readouterr()
    assert call(["verify", *manifests, ledger]) == ExitCode.DONE
    assert "1001 accepted: 1001 delivered, 0 missing" in capsys.readouterr().out
    assert call(["verify", *manifests[:3], ledger]) == ExitCode.VERDICT_FAILED  # 251 that none of the three sent
    assert call(["verify", *manifests[:3], manifests[2], ledger]) == ExitCode.NOT_COMPARABLE
    assert call(["merge", *files[:3], "-o", str(tmp_path / "all.json")]) == ExitCode.NOT_VALID
    assert call(["merge", *files[:3], files[2], "-o", str(tmp_path / "all.json")]) == ExitCode.NOT_COMPARABLE
    assert call(["merge", *files[:3], "--partial", "-o", str(tmp_path / "all.json")]) == ExitCode.DONE
    assert call(["report", str(tmp_path / "all.json")]) == ExitCode.DONE
    assert "1, 2, 3 of 4; first starts" in capsys.readouterr().out


def test_no_message_of_a_run_begins_before_its_start() -> None:
    """A machine that is too busy to be ready in time refuses; then it is asked for later."""
    ahead_ns = 2 * S
    with collecting_sink() as (port, messages):
        while True:
            start_at_ns = time.time_ns() + ahead_ns
            try:
                results = run(plan_of(port, Shard(1, 1, start_at_ns), messages=20, workers=1))
                break
            except SetupError as error:
                assert "when the workers were ready" in str(error)  # noqa: PT017
                ahead_ns *= 3
    clock = results.run.clock
    assert clock is not None
    assert abs(clock.began_ns + clock.wall_offset_ns - start_at_ns) < S // 10  # the time of day may be slewed meanwhile
    assert len(messages) == 20
    assert results.rate.over_s is not None
    assert time.time_ns() >= start_at_ns


@pytest.mark.parametrize(
    ("ahead_s", "words"),
    [(-5, "expected a start in the future, got one 5 s ago"), (10**7, "expected a start within 7")],
)
def test_a_start_that_cannot_be_kept_is_refused(ahead_s: int, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        run(plan_of(25, Shard(1, 2, time.time_ns() + ahead_s * S)))


def test_shards_write_down_what_their_messages_are_made_from(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.mbox"
    corpus.write_bytes(b"From a@b Thu Jan  1 00:00:00 1970\nSubject: x\n\nhello\n")
    plan = plan_for(25, messages=10, sessions=2, shard=Shard(1, 2), workload={"content": Corpus(corpus)})
    found = shards.files_of(plan)
    assert list(found) == [str(corpus)]
    assert len(found[str(corpus)]) == 64
    corpus.write_bytes(corpus.read_bytes() + b"\n")
    assert shards.files_of(plan) != found
    without = plan_for(25, messages=10, sessions=2, shard=Shard(1, 2), workload={"content": SizedBodies(("2kb",))})
    assert shards.files_of(without) == {}
