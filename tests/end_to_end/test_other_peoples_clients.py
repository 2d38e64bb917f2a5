"""Clients that other people wrote are understood by our sink: swaks, smtplib, curl, smtp-source."""

import smtplib
import subprocess
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.conftest import program
from tests.peers.private_sink import collecting_sink, private_sink

BODY = b"first line\r\n.dot\r\n..\r\n.\r\nlast line\r\n"


def run(*command: str, stdin: bytes = b"") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("options", [[], ["--pipeline"]])
def test_swaks(options: list[str]) -> None:
    swaks = program("swaks", "swaks")
    with collecting_sink() as (port, messages):
        said = run(
            swaks, "--server", "127.0.0.1", "--port", str(port), "--helo", "client.test", "--from", "a@a.test",
            "--to", "b@b.test,c@b.test", "--header", "Subject: from swaks", "--body", "hello\n.dot\n", *options,
        )  # fmt: skip
    assert "<-  250 2.0.0 taken" in said
    assert "<-  221 2.0.0 bye" in said
    (message,) = messages
    assert b"Subject: from swaks\r\n" in message
    assert b"\r\n\r\nhello\r\n.dot\r\n" in message


def test_smtplib_with_a_message_full_of_dots() -> None:
    with collecting_sink() as (port, messages), smtplib.SMTP("127.0.0.1", port, "client.test", timeout=60) as client:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "a@a.test", "b@b.test", "from smtplib"
        message.set_content(BODY.decode().replace("\r\n", "\n"))
        assert client.send_message(message) == {}
        assert client.sendmail("a@a.test", ["b@b.test", "c@b.test"], b"Subject: raw\r\n\r\n" + BODY) == {}
        assert client.noop()[0] == 250
        assert client.verify("somebody")[0] == 252
        assert client.rset()[0] == 250
    assert len(messages) == 2
    assert messages[0].endswith(b"\r\n\r\n" + BODY)
    assert messages[1] == b"Subject: raw\r\n\r\n" + BODY


def test_curl(tmp_path: Path) -> None:
    path = tmp_path / "message.eml"
    path.write_bytes(b"Subject: from curl\r\n\r\n" + BODY)
    with collecting_sink() as (port, messages):
        run(
            program("curl", "curl"), "--silent", "--show-error", "--max-time", "30", f"smtp://127.0.0.1:{port}/client.test",
            "--mail-from", "a@a.test", "--mail-rcpt", "b@b.test", "--mail-rcpt", "c@b.test", "--upload-file", str(path),
        )  # fmt: skip
    assert messages == [b"Subject: from curl\r\n\r\n" + BODY]


@pytest.mark.parametrize("options", [["-d"], []])
def test_smtp_source(options: list[str]) -> None:
    source = program("smtp-source", "postfix")
    with private_sink() as sink:
        run(source, *options, "-s", "5", "-m", "500", "-l", "5000", f"127.0.0.1:{sink.port}")
        assert sink.received == 500
        assert sink.unmarked == 500
