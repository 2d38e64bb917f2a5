"""The ledger on disk: every message is there before it is answered, and a killed sink loses none."""

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.sink.verify.conftest import RUN_ID, message, take
from trafficgen.errors import ResultsError, SetupError
from trafficgen.plan import TcpTarget
from trafficgen.proof import ledger_file, ledger_reader
from trafficgen.proof.ledger_file import LINE_OCTETS
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.store.capture import Capture, CaptureFormat
from trafficgen.sink.store.ledger import Ledger, SessionReceiver


def test_every_message_is_a_line_of_text(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    receiver = SessionReceiver(ledger)
    take(receiver, message(7), recipients=3)
    take(receiver, message(8, claimed=b"another body"))
    take(receiver, b"Subject: not ours\r\n\r\nhello\r\n")
    ledger.close()
    lines = (tmp_path / "ledger").read_text("ascii").splitlines()
    assert {len(line) for line in lines} == {LINE_OCTETS - 1}
    assert lines[0].startswith("# traffic-gen ledger 2 ")
    assert lines[1].startswith(f"{RUN_ID} 000000000007 46ce8aac + 00000001 0003 ")
    assert lines[2].startswith(f"{RUN_ID} 000000000008 ")
    assert lines[2][38:55] == " ! 00000001 0001 "
    assert lines[3].startswith(" " * 38 + " + 00000001 0001 ")
    assert lines[4].startswith("# closed ")


def test_lines_are_on_disk_before_the_ledger_is_closed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    take(SessionReceiver(ledger), message(7))
    log = ledger_reader.read([tmp_path / "ledger"], RUN_ID)
    assert log.copies.numbers.tolist() == [7]
    assert (log.sinks, log.killed) == (1, 1)
    ledger.close()


def test_more_messages_than_a_window_holds_are_all_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    receiver = SessionReceiver(ledger)
    for number in range(30_000):
        take(receiver, message(number))
    ledger.close()
    log = ledger_reader.read([tmp_path / "ledger"], RUN_ID)
    assert log.copies.numbers.tolist() == list(range(30_000))
    assert (tmp_path / "ledger").stat().st_size == 30_002 * LINE_OCTETS


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.sink.verify.conftest import message, take
from trafficgen.sink.store.ledger import Ledger, SessionReceiver
ledger = Ledger(Path(sys.argv[1]))
first, second = SessionReceiver(ledger), SessionReceiver(ledger)
for number in range(20_000):
    take(first if number % 2 else second, message(number))
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path: Path) -> None:
    """A process that takes 20,000 messages in two sessions and is killed."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert done.returncode == -signal.SIGKILL


def test_a_killed_sink_loses_no_line_and_only_each_sessions_last_may_be_unanswered(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    killed(path)
    log = ledger_reader.read([path], RUN_ID)
    assert log.copies.numbers.tolist() == list(range(20_000))
    assert log.copies.numbers[log.copies.unanswered > 0].tolist() == [19_998, 19_999]
    assert (log.sinks, log.killed, log.torn) == (1, 1, 0)


def test_a_sink_started_again_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    killed(path)
    ledger = Ledger(path)
    take(SessionReceiver(ledger), message(20_000))
    ledger.close()
    log = ledger_reader.read([path], RUN_ID)
    assert log.copies.numbers.tolist() == list(range(20_001))
    assert (log.sinks, log.killed) == (2, 1)
    assert not log.copies.unanswered[-1]


def test_a_torn_line_is_counted_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    take(SessionReceiver(ledger), message(1))
    ledger.close()
    octets = path.read_bytes()[: -LINE_OCTETS - 20]
    path.write_bytes(octets + bytes(1000))
    ledger = Ledger(path)
    take(SessionReceiver(ledger), message(2))
    ledger.close()
    log = ledger_reader.read([path], RUN_ID)
    assert log.copies.numbers.tolist() == [2]
    assert (log.torn, log.killed) == (1, 1)


def test_two_sinks_cannot_write_one_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with pytest.raises(SetupError, match="another sink writes the ledger"):
        Ledger(tmp_path / "ledger")
    ledger.close()


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Sir,\n")
    with pytest.raises(SetupError, match="is there and is no ledger"):
        Ledger(tmp_path / "letter")
    assert (tmp_path / "letter").read_text() == "Dear Sir,\n"
    with pytest.raises(ResultsError, match='expected a ledger of "sink --ledger"'):
        ledger_reader.read([tmp_path / "letter"], RUN_ID)


def test_a_ledger_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    words = "expected a file, found a pipe or device"
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(SetupError, match=f'cannot write the ledger "{path}": {words}'):
            Ledger(path)
        with pytest.raises(ResultsError, match=f'cannot read "{path}": {words}'):
            ledger_reader.read([path], RUN_ID)


@pytest.mark.parametrize("value", [b"\x1b[31m" + b"x" * 33, b"a\r\nb" + b"0" * 34, b"\0" * 38])
def test_nothing_of_a_strangers_mark_gets_into_the_file(tmp_path: Path, value: bytes) -> None:
    ledger = Ledger(tmp_path / "ledger")
    take(SessionReceiver(ledger), b"X-Traffic-Gen: " + value + b"\r\n\r\nhello\r\n")
    ledger.close()
    assert all(line.isprintable() for line in (tmp_path / "ledger").read_text("ascii").splitlines())
    assert ledger_reader.read([tmp_path / "ledger"], RUN_ID).unmarked == 1


def test_ledgers_of_several_processes_are_found_by_the_first(tmp_path: Path) -> None:
    for name, number in (("ledger", 1), ("ledger.1", 2), ("ledger.2", 3), ("ledger.txt", 4)):
        ledger = Ledger(tmp_path / name)
        take(SessionReceiver(ledger), message(number))
        ledger.close()
    assert ledger_reader.read([tmp_path / "ledger"], RUN_ID).copies.numbers.tolist() == [1, 2, 3]


def test_a_message_that_a_full_disk_has_no_room_for_is_answered_452_and_not_taken(
    tmp_path: Path,
) -> None:
    """The file may grow to one window and a line, by the system's limit (setrlimit, RLIMIT_FSIZE)."""
    path = tmp_path / "sink.ledger"
    said: list[str] = []
    ledger = Ledger(path, said.append)
    room = (1 << 20) // LINE_OCTETS - 1  # the line that opens the file
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((1 << 20) + LINE_OCTETS, hard))
    try:
        session = ServerSession(SessionReceiver(ledger))
        session.feed(b"EHLO me\r\n")
        envelope = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"
        session.feed(envelope)
        replies = [session.feed(message(n) + b".\r\n" + envelope) for n in range(room + 2)]
        assert {reply[:3] for reply in replies[:room]} == {b"250"}
        assert [reply[:9] for reply in replies[room:]] == [b"452 4.3.1", b"452 4.3.1"]
        assert [line[:3] for line in replies[-1].split(b"\r\n")] == [b"452", b"250", b"250", b"354", b""]
        assert session.feed(message(9)) == b""  # in pieces
        assert session.feed(b".\r\n")[:9] == b"452 4.3.1"
        session.feed(envelope)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert session.feed(message(room) + b".\r\n")[:3] == b"250"
    assert ledger.received == room + 1
    assert ledger.arrivals(RUN_ID).messages == room + 1
    ledger.close()
    assert len(said) == 1
    assert said[0].startswith(f'error: cannot write the ledger "{path}": file too large')
    log = ledger_reader.read([path], RUN_ID)
    assert log.copies.numbers.tolist() == list(range(room + 1))
    assert log.killed == 0


def test_a_process_that_can_open_no_file_more_goes_on_with_its_ledger(tmp_path: Path) -> None:
    """Three windows of lines; each is a mapping with a descriptor of its own."""
    ledger = Ledger(tmp_path / "ledger")
    receiver = SessionReceiver(ledger)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 20, hard))
    try:
        with suppress(OSError):
            while True:
                opened.append(os.dup(0))
        for number in range(30_000):
            take(receiver, message(number))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in opened:
            os.close(file)
    ledger.close()
    assert ledger_reader.read([tmp_path / "ledger"], RUN_ID).copies.numbers.tolist() == list(range(30_000))


def test_a_ledger_that_cannot_be_written_is_said_with_the_reason_and_what_comes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    ledger = Ledger(tmp_path / "ledger", said.append)

    def refuse(_line: bytes) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(ledger._file, "write", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        take(SessionReceiver(ledger), message(1))
    consequence = "too many open files; messages are answered 451; raise the limit (ulimit -n)"
    assert said == [f'error: cannot write the ledger "{tmp_path / "ledger"}": {consequence}']


def test_a_sink_on_a_full_disk_still_says_that_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "sink.ledger"
    ledger = Ledger(path)
    receiver = SessionReceiver(ledger)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((1 << 20) + LINE_OCTETS, hard))
    try:
        for n in range((1 << 20) // LINE_OCTETS - 1):
            take(receiver, message(n))
        with pytest.raises(OSError, match="File too large"):
            take(receiver, message(99_999))
        ledger.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger_reader.read([path], RUN_ID).killed == 0


def test_a_ledger_of_before_is_read_but_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "sink.ledger"
    lines = (
        "# traffic-gen ledger 1 4e12593fa2683a3d 1795305188873267769",
        "9f3a6c1e02b4d857 000000000123 1c291ca3 + 00000042 0003 0000012345678901234",
        "# closed 0000012345678999999",
    )
    path.write_text("".join(f"{line:74}\n" for line in lines))
    log = ledger_reader.read([path], RUN_ID)
    assert log.copies.numbers.tolist() == [123]
    assert log.copies.recipients.tolist() == [3]
    assert log.copies.taken_ns.tolist() == [12345678901234]
    assert log.copies.digests.tolist() == [-1]
    assert (log.killed, log.torn, log.unmarked, log.sinks) == (0, 0, 0, 1)
    with pytest.raises(SetupError, match="a ledger of another version"):
        Ledger(path)


def test_a_session_that_is_over_is_freed_at_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    capture = Capture(CaptureFormat.DIGESTS, tmp_path / "digests", None)
    sink = Sink(TcpTarget("127.0.0.1", 0), ledger=ledger, capture=capture)
    gc.collect()
    gc.disable()
    try:
        store = sink.store()
        session = ServerSession(store)
        sink.attach(store, session)
        sink.detach(store)
        del store, session
        assert gc.collect() == 0  # nothing was left for it
    finally:
        gc.enable()
        ledger.close()
        capture.close()


def test_anybody_may_read_a_ledger_and_its_owner_alone_may_write_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Ledger(tmp_path / "ledger").close()
    finally:
        os.umask(before)
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o644


def test_room_is_reserved_where_the_system_has_no_call_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)  # as on macOS
    path = tmp_path / "ledger"
    with path.open("wb+") as file:
        for offset, octets, size in ((0, 10, 10), (4, 4, 10), (20, 3 << 20, 20 + (3 << 20))):
            ledger_file._reserve(file.fileno(), offset, octets)
            assert os.fstat(file.fileno()).st_size == size
    path.unlink()
    ledger = Ledger(path)
    receiver = SessionReceiver(ledger)
    for number in range(13_000):  # more than a window
        take(receiver, message(number))
    ledger.close()
    assert ledger_reader.read([path], RUN_ID).copies.numbers.tolist() == list(range(13_000))
