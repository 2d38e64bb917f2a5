"""Captured messages: whole, in every form, up to the limit and never beyond."""

import mailbox
from pathlib import Path

import pytest

from mboxgen.mbox import read_mbox
from tests.sink.sink_process import sink_process
from trafficgen.errors import SetupError
from trafficgen.sink.capture import Capture, Form, Keeper
from trafficgen.sink.server import Counter
from trafficgen.smtp.dots import stuff
from trafficgen.smtp.server import ServerSession

MESSAGE = b"Subject: x\r\n\r\nhello\r\n.dot\r\nFrom here\r\n>From there\r\n"


def receive(capture: Capture, *messages: bytes, pieces: int = 1) -> None:
    """Messages of one session, each in so many pieces."""
    keeper = Keeper(Counter(), capture)
    session = keeper.session = ServerSession(keeper)
    for message in messages:
        session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nRCPT TO:<v@d.test>\r\nDATA\r\n")
        octets = stuff(message) + b".\r\n"
        step = -(-len(octets) // pieces)
        for begin in range(0, len(octets), step):
            session.feed(octets[begin : begin + step])


@pytest.mark.parametrize("pieces", [1, 7, 60])
def test_an_mbox_holds_every_message_quoted_and_readable(tmp_path: Path, pieces: int) -> None:
    capture = Capture(Form.MBOX, tmp_path / "mbox", None)
    receive(capture, MESSAGE, MESSAGE, pieces=pieces)
    capture.close()
    found = list(read_mbox(tmp_path / "mbox"))
    assert len(found) == 2
    assert found[0] == found[1]
    envelope = b"Return-Path: <a@b.test>\r\nX-Envelope-To: u@d.test, v@d.test\r\n"
    assert found[0] == envelope + MESSAGE.replace(b"From there", b">From there").replace(b"\r\nFrom h", b"\r\n>From h")
    assert capture.messages == 2


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_maildir_holds_every_message_as_it_came(tmp_path: Path, pieces: int) -> None:
    capture = Capture(Form.MAILDIR, tmp_path / "box", None)
    receive(capture, MESSAGE, pieces=pieces)
    [name] = mailbox.Maildir(tmp_path / "box").keys()
    [file] = (tmp_path / "box" / "new").iterdir()
    assert file.name == name
    assert file.read_bytes().endswith(MESSAGE)
    assert list((tmp_path / "box" / "tmp").iterdir()) == []


def test_one_file_a_message_and_digests(tmp_path: Path) -> None:
    capture = Capture(Form.FILES, tmp_path / "files", None)
    receive(capture, MESSAGE, MESSAGE)
    assert [file.suffix for file in (tmp_path / "files").iterdir()] == [".eml", ".eml"]
    capture = Capture(Form.DIGESTS, tmp_path / "digests", None)
    receive(capture, b"x\r\n", pieces=3)
    capture.close()
    digest = "b35e09fa2ced9ebcad9d16336fb961146fe34bfbebc562679da85f8a314c9dca"
    assert (tmp_path / "digests").read_text() == f"{digest} 3 2 <a@b.test>\n"


def test_a_large_message_is_spooled_and_kept(tmp_path: Path) -> None:
    capture = Capture(Form.FILES, tmp_path / "files", None)
    large = b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 200_000 + b"\r\n"
    receive(capture, large, pieces=20)
    [file] = (tmp_path / "files").iterdir()
    assert file.read_bytes().endswith(large)


def test_a_message_cut_off_leaves_nothing(tmp_path: Path) -> None:
    capture = Capture(Form.FILES, tmp_path / "files", None)
    keeper = Keeper(Counter(), capture)
    session = keeper.session = ServerSession(keeper)
    session.feed(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nDATA\r\n")
    session.feed(b"Subject: x\r\n\r\nhel")
    session.eof()
    assert list((tmp_path / "files").iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot keep messages"):
        Capture(Form.MBOX, tmp_path / "no" / "mbox", None)


def test_when_the_limit_is_reached_messages_are_put_off(tmp_path: Path) -> None:
    import smtplib

    options = ("--capture", f"mbox:{tmp_path / 'mbox'}", "--capture-limit", "200")
    with sink_process("127.0.0.1:0", *options) as sink, smtplib.SMTP("127.0.0.1", sink.port, timeout=30) as client:
        client.sendmail("a@b.test", "u@d.test", MESSAGE)
        client.sendmail("a@b.test", "u@d.test", MESSAGE)
        with pytest.raises(smtplib.SMTPDataError, match="452"):
            client.sendmail("a@b.test", "u@d.test", MESSAGE)
    assert len(list(read_mbox(tmp_path / "mbox"))) == 2
