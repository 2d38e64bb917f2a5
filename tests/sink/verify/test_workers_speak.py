"""What several processes of a sink say: once what all of them say, and the truth about those that died."""

import signal
import smtplib
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.sink.sink_process import SinkProcess, sink_process

PATIENCE_S = 60


def workers_of(sink: SinkProcess) -> list[psutil.Process]:
    """Its processes but the one that they are forked from."""
    children = psutil.Process(sink.process.pid).children(recursive=True)
    return [child for child in children if not child.children()]


def test_what_all_workers_say_of_the_table_is_said_once(tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    table.write_text("[default]\nbuonce = 1")
    with sink_process("127.0.0.1:0", "--workers", "3", "--responses", str(table)) as sink:
        assert sink.said == ['warning: key "buonce" of default is not known and ignored', sink.said[1]]
        for words in ("[default]\nbounce = 101", ""):
            table.write_text(words)
            sink.wait_for("the response table was not changed")
        table.write_text("[default]\ndefer = 100\nbuonce = 1")
        sink.wait_for("read the response table .* again")
        with smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE_S) as client:
            client.mail("a@b.test")
            client.rcpt("u@d.test")
            assert client.data(b"x\r\n")[0] == 451
        sink.end()
        said = [line.partition(":")[0] for line in sink.said[2:]]
    refused, read = "the response table was not changed", f'read the response table "{table}" again'
    assert said == [refused, refused, "warning", read]


def test_a_worker_that_died_may_have_accepted_more(tmp_path: Path) -> None:
    with sink_process("127.0.0.1:0", "--workers", "2", "--ledger", str(tmp_path / "ledger")) as sink:
        workers_of(sink)[0].send_signal(signal.SIGKILL)
        sink.wait_for("error: a worker of the sink died")
        assert sink.end().startswith("at least 0 messages accepted")


def test_a_sink_whose_workers_all_died_has_failed() -> None:
    with sink_process("127.0.0.1:0", "--workers", "2", "--no-ledger") as sink:
        for worker in workers_of(sink):
            worker.send_signal(signal.SIGKILL)
        assert sink.process.wait(PATIENCE_S) == 1
        assert "traffic-gen: all workers of the sink died" in sink.lines.read()
