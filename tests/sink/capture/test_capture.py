"""Captured messages: whole, in every form, up to the limit and never beyond."""

import contextlib
import errno
import mailbox
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest

from mboxgen.mbox.reader import read_mbox
from tests.sink.sink_process import sink_process
from tests.smtp.conversation import RUN_ID
from trafficgen.errors import SetupError
from trafficgen.proof import trace_header
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.dots import stuff
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.store.capture import Capture, CaptureFormat, CapturingStore
from trafficgen.sink.store.counting import CountingStore, Totals
from trafficgen.sink.store.interface import Store
from trafficgen.sink.store.ledger import Ledger, SessionReceiver

MESSAGE = b"Subject: x\r\n\r\nhello\r\n.dot\r\nFrom here\r\n>From there\r\n"


def receive(capture: Capture, *messages: bytes, pieces: int = 1, store: Store | None = None) -> list[bytes]:
    """Messages of one session, each in so many pieces; the replies to them."""
    store = CapturingStore(store or CountingStore(), capture)
    session = store.session = ServerSession(store)
    replies = []
    for message in messages:
        session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nRCPT TO:<v@d.test>\r\nDATA\r\n")
        octets = stuff(message) + b".\r\n"
        step = -(-len(octets) // pieces)
        replies.append(b"".join(session.feed(octets[at : at + step]) for at in range(0, len(octets), step)))
    return replies


@pytest.mark.parametrize("pieces", [1, 7, 60])
def test_an_mbox_holds_every_message_quoted_and_readable(tmp_path: Path, pieces: int) -> None:
    capture = Capture(CaptureFormat.MBOX, tmp_path / "mbox", None)
    receive(capture, MESSAGE, MESSAGE, pieces=pieces)
    capture.close()
    found = list(read_mbox(tmp_path / "mbox"))
    assert len(found) == 2
    assert found[0] == found[1]
    envelope = b"Return-Path: <a@b.test>\r\nX-Envelope-To: u@d.test, v@d.test\r\n"
    assert found[0] == envelope + MESSAGE.replace(b"From there", b">From there").replace(b"\r\nFrom h", b"\r\n>From h")
    assert capture.messages == 2


def test_a_message_without_a_final_line_end_is_apart_from_the_next(tmp_path: Path) -> None:
    capture = Capture(CaptureFormat.MBOX, tmp_path / "mbox", None)
    store = CapturingStore(CountingStore(), capture)
    session = store.session = ServerSession(store)
    for _ in range(2):
        session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nBDAT 17 LAST\r\nSubject: x\r\n\r\nend")
    capture.close()
    with contextlib.closing(mailbox.mbox(tmp_path / "mbox")) as box:
        assert len(box) == 2
    assert (tmp_path / "mbox").read_bytes().count(b"\n\nend\n\n") == 2


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_maildir_holds_every_message_as_it_came(tmp_path: Path, pieces: int) -> None:
    capture = Capture(CaptureFormat.MAILDIR, tmp_path / "box", None)
    receive(capture, MESSAGE, pieces=pieces)
    [name] = mailbox.Maildir(tmp_path / "box").keys()
    [file] = (tmp_path / "box" / "new").iterdir()
    assert file.name == name
    assert file.read_bytes().endswith(MESSAGE)
    assert list((tmp_path / "box" / "tmp").iterdir()) == []


def test_one_file_a_message_and_digests(tmp_path: Path) -> None:
    capture = Capture(CaptureFormat.FILES, tmp_path / "files", None)
    receive(capture, MESSAGE, MESSAGE)
    assert [file.suffix for file in (tmp_path / "files").iterdir()] == [".eml", ".eml"]
    capture = Capture(CaptureFormat.DIGESTS, tmp_path / "digests", None)
    receive(capture, b"x\r\n", pieces=3)
    capture.close()
    digest = "b35e09fa2ced9ebcad9d16336fb961146fe34bfbebc562679da85f8a314c9dca"
    assert (tmp_path / "digests").read_text() == f"{digest} 3 2 <a@b.test>\n"


def test_a_large_message_is_spooled_and_kept(tmp_path: Path) -> None:
    capture = Capture(CaptureFormat.FILES, tmp_path / "files", None)
    large = b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 200_000 + b"\r\n"
    receive(capture, large, pieces=20)
    [file] = (tmp_path / "files").iterdir()
    assert file.read_bytes().endswith(large)


def test_a_message_cut_off_leaves_nothing(tmp_path: Path) -> None:
    capture = Capture(CaptureFormat.FILES, tmp_path / "files", None)
    store = CapturingStore(CountingStore(), capture)
    session = store.session = ServerSession(store)
    session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nDATA\r\n")
    session.feed(b"Subject: x\r\n\r\nhel")
    session.eof()
    assert list((tmp_path / "files").iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot store messages"):
        Capture(CaptureFormat.MBOX, tmp_path / "no" / "mbox", None)


def test_a_pipe_is_refused_before_anybody_waits_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SetupError, match="expected a file, found a pipe or device"):
        Capture(CaptureFormat.MBOX, tmp_path / "pipe", None)


@pytest.mark.parametrize(
    ("left", "between"),
    [
        (b"From a@b.test Fri Nov 21 22:55:00 2025\n\nhal", b"\n\n"),
        (b"From a@b.test Fri Nov 21 22:55:00 2025\n\nx\n", b"\n"),
        (b"From a@b.test Fri Nov 21 22:55:00 2025\n\nx\n\n", b""),
        (b"", b""),
    ],
)
def test_an_mbox_that_a_killed_sink_left_is_gone_on_with_on_a_line_of_its_own(
    tmp_path: Path, left: bytes, between: bytes
) -> None:
    (tmp_path / "mbox").write_bytes(left)
    (tmp_path / "digests").write_bytes(b"half a line")
    for form in (CaptureFormat.MBOX, CaptureFormat.DIGESTS):
        capture = Capture(form, tmp_path / form.value, None)
        receive(capture, MESSAGE)
        capture.close()
    assert (tmp_path / "mbox").read_bytes().startswith(left + between + b"From a@b.test ")
    assert len(list(read_mbox(tmp_path / "mbox"))) == 1 + bool(left)
    assert (tmp_path / "digests").read_bytes().startswith(b"half a line\n")
    assert (tmp_path / "digests").read_bytes().count(b"\n") == 2


@contextmanager
def files_of(octets: int) -> Iterator[None]:
    """No file may grow beyond this: a disk that is full, as far as writing goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kept(form: CaptureFormat, path: Path) -> list[bytes]:
    """What is there, whole or not."""
    if form in (CaptureFormat.MBOX, CaptureFormat.DIGESTS):
        return path.read_bytes().splitlines() if form is CaptureFormat.DIGESTS else list(read_mbox(path))
    return [file.read_bytes() for file in path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("form", list(CaptureFormat))
def test_what_cannot_be_kept_is_not_entered_either(tmp_path: Path, form: CaptureFormat, pieces: int) -> None:
    said: list[str] = []
    capture, ledger = Capture(form, tmp_path / "kept", None, said.append), Ledger()
    large = MESSAGE + b"x" * 70 + b"\r\n"
    message = trace_header.render(RUN_ID, 7, crc32(large.partition(b"\r\n\r\n")[2])) + large
    other = trace_header.render(RUN_ID, 8, crc32(large.partition(b"\r\n\r\n")[2])) + large
    store = SessionReceiver(ledger)
    assert receive(capture, message, store=store, pieces=pieces)[0].startswith(b"250")
    octets = capture.octets
    with files_of(octets if form in (CaptureFormat.MBOX, CaptureFormat.DIGESTS) else octets // 2):
        replies = receive(capture, other, other, store=store, pieces=pieces)
    assert all(reply.startswith(b"452") for reply in replies)
    assert (ledger.received, capture.messages, capture.octets) == (1, 1, octets)
    assert ledger.arrivals(RUN_ID).numbers.tolist() == [7]
    assert len(kept(form, tmp_path / "kept")) == 1
    assert len(said) == 1
    assert "kept" in said[0]
    assert receive(capture, other, store=store, pieces=pieces)[0].startswith(b"250")
    assert ledger.arrivals(RUN_ID).numbers.tolist() == [7, 8]
    assert len(kept(form, tmp_path / "kept")) == 2
    capture.close()


class Full(CountingStore):
    """A store without room."""

    error = OSError(errno.ENOSPC, "no space left on device")

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        raise self.error

    def ended(self, recipients: int) -> None:
        raise self.error


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize(
    ("number", "reply"),
    [
        (errno.ENOSPC, b"452 4.3.1 no space left on device, the message is not taken\r\n"),
        (errno.EFBIG, b"452 4.3.1 file too large, the message is not taken\r\n"),
        (errno.EMFILE, b"451 4.3.0 too many open files, the message is not taken\r\n"),
        (errno.EIO, b"451 4.3.0 input/output error, the message is not taken\r\n"),
    ],
)
def test_a_message_that_cannot_be_entered_is_refused_with_the_reason(
    number: int, reply: bytes, lmtp: bool, pieces: int
) -> None:
    store = Full()
    store.error = OSError(number, os.strerror(number))
    session = ServerSession(store, capabilities=Capabilities(lmtp=lmtp))
    session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nRCPT TO:<v@d.test>\r\nDATA\r\n")
    octets = stuff(MESSAGE) + b".\r\n"
    step = -(-len(octets) // pieces)
    replies = b"".join(session.feed(octets[at : at + step]) for at in range(0, len(octets), step))
    assert replies == reply * (2 if lmtp else 1)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("form", list(CaptureFormat))
def test_what_cannot_be_entered_is_not_kept_either(tmp_path: Path, form: CaptureFormat, pieces: int) -> None:
    capture = Capture(form, tmp_path / "kept", None)
    assert receive(capture, MESSAGE, pieces=pieces)[0].startswith(b"250")
    before = kept(form, tmp_path / "kept")
    assert receive(capture, MESSAGE, store=Full(), pieces=pieces)[0].startswith(b"452")
    assert kept(form, tmp_path / "kept") == before
    assert capture.messages == 1
    capture.close()


@pytest.mark.parametrize("form", list(CaptureFormat))
def test_an_empty_message_is_kept_as_it_is_entered(tmp_path: Path, form: CaptureFormat) -> None:
    capture, totals = Capture(form, tmp_path / "kept", None), Totals()
    store = CapturingStore(CountingStore(totals), capture)
    session = store.session = ServerSession(store)
    session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\n")
    assert session.feed(b"BDAT 0 LAST\r\n").startswith(b"250")
    assert totals.received == capture.messages == len(kept(form, tmp_path / "kept")) == 1
    capture.close()


def test_a_message_that_no_spool_can_hold_is_put_off_when_it_ends(tmp_path: Path) -> None:
    capture = Capture(CaptureFormat.FILES, tmp_path / "files", None)
    totals = Totals()
    with files_of(1 << 20):
        replies = receive(capture, b"x: " + b"y" * (3 << 20) + b"\r\n", MESSAGE, store=CountingStore(totals), pieces=9)
    assert [reply[:3] for reply in replies] == [b"452", b"250"]
    assert (totals.received, totals.octets) == (1, len(MESSAGE))
    assert capture.spooled == 0


def test_messages_under_way_share_the_memory_there_is(tmp_path: Path) -> None:
    capture = Capture(CaptureFormat.FILES, tmp_path / "files", None)
    keepers = [CapturingStore(CountingStore(), capture) for _ in range(80)]
    for store in keepers:
        for _ in range(9):
            store.piece(b"x" * 100_000)
    assert capture.spooled <= 64 << 20
    for store in keepers:
        store.dropped()
    assert capture.spooled == 0


def test_a_message_larger_than_all_that_may_be_kept_fills_no_spool(tmp_path: Path) -> None:
    capture = Capture(CaptureFormat.FILES, tmp_path / "files", 1000)
    store = CapturingStore(CountingStore(), capture)
    for _ in range(1000):
        store.piece(b"x" * 1000)
        assert capture.spooled <= 1000
    with pytest.raises(OSError, match="larger"):
        store.ended(1)


def test_octets_of_messages_that_never_end_are_not_counted() -> None:
    totals = Totals()
    session = ServerSession(CountingStore(totals))
    session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nBDAT 5\r\nhelloRSET\r\n")
    session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nBDAT 3 LAST\r\nabc")
    assert (totals.received, totals.octets) == (1, 3)


def test_when_the_limit_is_reached_messages_are_put_off(tmp_path: Path) -> None:
    import smtplib

    options = ("--capture", f"mbox:{tmp_path / 'mbox'}", "--capture-limit", "200")
    with sink_process("127.0.0.1:0", *options) as sink, smtplib.SMTP("127.0.0.1", sink.port, timeout=60) as client:
        client.sendmail("a@b.test", "u@d.test", MESSAGE)
        client.sendmail("a@b.test", "u@d.test", MESSAGE)
        with pytest.raises(smtplib.SMTPDataError, match="452"):
            client.sendmail("a@b.test", "u@d.test", MESSAGE)
    assert len(list(read_mbox(tmp_path / "mbox"))) == 2
