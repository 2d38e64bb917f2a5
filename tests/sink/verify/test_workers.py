"""Several processes on one port: nothing is lost between them, and their ledgers are read as one."""

from pathlib import Path

import pytest

import trafficgen
from tests.peers.running import plan_for
from tests.sink.sink_process import sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.proof import ledger_reader


def test_workers_share_the_port_and_verify_reads_their_ledgers_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, manifest = tmp_path / "ledger", tmp_path / "manifest"
    with sink_process("127.0.0.1:0", "--workers", "2", "--ledger", str(ledger)) as sink:
        plan = plan_for(sink.port, messages=3000, sessions=30)
        trafficgen.run(plan, manifest=manifest)
        assert "3000 messages accepted" in sink.end()
    assert call(["verify", str(manifest), str(ledger)]) is ExitCode.DONE
    assert "3000 delivered, 0 missing" in capsys.readouterr().out
    log = ledger_reader.read([ledger], plan.run_id)
    assert (log.sinks, log.killed) == (2, 0)
    alone = ledger_reader.read([ledger.with_name("ledger.1")], plan.run_id)
    assert 0 < alone.copies.numbers.size < 3000


@pytest.mark.parametrize(
    ("listen", "options", "words"),
    [
        ("unix:/tmp/x", [], "cannot share a UNIX socket"),
        ("127.0.0.1:0", ["--api", "127.0.0.1:0"], "the API serves one process"),
        ("127.0.0.1:0", ["--capture", "mbox:/tmp/x"], "several cannot write one file"),
        ("127.0.0.1:0", ["--ledger", "/no/such/folder/x"], "cannot write the ledger"),
    ],
)
def test_what_workers_cannot_share_is_refused(listen: str, options: list[str], words: str) -> None:
    with (
        pytest.raises(AssertionError, match=r"the sink ended with code [12]") as caught,
        sink_process(listen, "--workers", "2", *options),
    ):
        pass
    assert words in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert str(caught.value).count("traffic-gen: ") == 1
    assert "error:" not in str(caught.value)
