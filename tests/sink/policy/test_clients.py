"""Other people's clients talk to the sink: TLS, AUTH, XCLIENT, LMTP, chunks, faults as they see them."""

import asyncio
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from tests.conftest import program
from tests.sink.sink_process import SinkProcess, sink_process

PATIENCE_S = 60


def run(*arguments: str, say: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(arguments, input=say, capture_output=True, timeout=PATIENCE_S, check=False)


def swaks(sink: SinkProcess, *options: str) -> "subprocess.CompletedProcess[bytes]":
    swaks = program("swaks", "swaks")
    return run(
        swaks, "--server", sink.address, "--to", "u@d.test", "--from", "a@b.test", "--helo", "x", *options
    )  # fmt: skip


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.test", "u@d.test", "x"
    message.set_content("hello\n.\n..\n")
    return message


@pytest.mark.parametrize(
    ("sink_options", "client_options"),
    [
        ([], ["--pipeline"]),
        (["--starttls"], ["-tls"]),
        (["--tls"], ["-tlsc"]),
        (["--auth", "--require-auth"], ["--auth", "PLAIN", "--auth-user", "u", "--auth-password", "p"]),
        (["--auth", "--require-auth"], ["--auth", "LOGIN", "--auth-user", "u", "--auth-password", "p"]),
        (["--xclient"], ["--xclient-addr", "192.0.2.5", "--xclient-name", "mx.test"]),
        (["--lmtp"], ["--protocol", "LMTP"]),
    ],
)
def test_swaks_is_served(sink_options: list[str], client_options: list[str]) -> None:
    with sink_process("127.0.0.1:0", *sink_options) as sink:
        done = swaks(sink, *client_options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 message accepted" in sink.end()


@pytest.mark.parametrize(
    ("fault", "code"),
    [("connect:554", 21), ("helo:550", 22), ("mail:451", 23), ("rcpt:550", 24), ("data:451", 25), ("dot:452", 26)],
)
def test_swaks_names_the_stage_that_refuses(fault: str, code: int) -> None:
    with sink_process("127.0.0.1:0", "--reject", fault) as sink:
        assert swaks(sink).returncode == code


def test_smtplib_over_starttls_with_auth() -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with sink_process("127.0.0.1:0", "--starttls", "--auth") as sink:
        with smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE_S) as client:
            client.starttls(context=context)
            client.login("u", "p")
            assert client.send_message(letter()) == {}
        assert "1 message accepted" in sink.end()


def test_smtplib_speaks_lmtp_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    with sink_process(f"unix:{path}", "--lmtp", "--reject", "quit:421") as sink:
        client = smtplib.LMTP(path)
        assert client.sendmail("a@b.test", ["u@d.test", "v@d.test"], letter().as_bytes()) == {}
        client.close()
        assert "1 message accepted" in sink.end()
    assert not Path(path).exists()


def test_aiosmtplib_over_implicit_tls() -> None:
    async def send(port: int) -> None:
        await aiosmtplib.send(letter(), hostname="127.0.0.1", port=port, use_tls=True, validate_certs=False)

    with sink_process("127.0.0.1:0", "--tls") as sink:
        asyncio.run(send(sink.port))
        assert "1 message accepted" in sink.end()


def test_curl_over_tls(tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(letter().as_bytes())
    with sink_process("127.0.0.1:0", "--starttls") as sink:
        done = run(
            program("curl", "curl"), "--silent", "--show-error", "--insecure", "--ssl-reqd", f"smtp://{sink.address}",
            "--mail-from", "a@b.test", "--mail-rcpt", "u@d.test", "--upload-file", str(tmp_path / "letter"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "1 message accepted" in sink.end()


@pytest.mark.parametrize(("option", "arguments"), [("--tls", []), ("--starttls", ["-starttls", "smtp"])])
def test_openssl_sees_the_certificate_made_on_the_spot(option: str, arguments: list[str]) -> None:
    with sink_process("127.0.0.1:0", option) as sink:
        done = run(
            program("openssl", "openssl"), "s_client", "-connect", sink.address, *arguments, "-quiet", "-ign_eof",
            say=b"EHLO x\r\nQUIT\r\n",
        )  # fmt: skip
        assert re.search(rb"CN ?= ?sink\.traffic-gen\.test", done.stderr)  # OpenSSL 3.2 left out the spaces
        assert b"221 2.0.0 bye" in done.stdout


_LETTER = b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<u@d.test>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(("option", "arguments"), [("--tls", []), ("--starttls", ["-starttls", "smtp"])])
def test_openssl_resumes_its_session_and_hands_over_a_message_in_each(
    tmp_path: Path, option: str, arguments: list[str], version: str
) -> None:
    session = str(tmp_path / "session")
    with sink_process("127.0.0.1:0", option) as sink:
        for again, words in ((False, b"New, TLSv1."), (True, b"Reused, TLSv1.")):
            done = run(
                program("openssl", "openssl"), "s_client", "-connect", sink.address, *arguments, version,
                "-nocommands", "-ign_eof", "-sess_in" if again else "-sess_out", session, say=_LETTER,
            )  # fmt: skip
            assert words in done.stdout, done.stdout + done.stderr
            assert b"221 2.0.0 bye" in done.stdout
        assert "2 messages accepted" in sink.end()


def test_smtp_source_is_served_fast_and_in_full() -> None:
    with sink_process("127.0.0.1:0", "--responses", "providers", "--domain-rate", "1000000/s") as sink:
        done = run(
            program("smtp-source", "postfix"), "-d", "-s", "5", "-m", "500", "-l", "5000", "-t", "u@d.test",
            sink.address,
        )  # fmt: skip
        assert done.returncode in (0, 1)  # the table refuses some, at which it stops
        sink.end()
    with sink_process() as sink:
        done = run(program("smtp-source", "postfix"), "-d", "-s", "5", "-m", "500", "-l", "5000", sink.address)
        assert done.returncode == 0, done.stderr
        assert "500 messages accepted" in sink.end()


def test_a_lost_reply_and_a_reset_as_a_client_sees_them() -> None:
    with sink_process("127.0.0.1:0", "--drop", "dot:after") as sink:
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE_S).sendmail("a@b.c", "u@d.test", "x")
        assert "1 message accepted" in sink.end()
    with sink_process("127.0.0.1:0", "--reset", "rcpt") as sink:
        client = socket.create_connection(("127.0.0.1", sink.port), PATIENCE_S)
        client.recv(1000)
        client.sendall(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<u@d.test>\r\n")
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: client.recv(1000), b""))
        client.close()


def test_a_reply_drips_and_is_whole() -> None:
    with (
        sink_process("127.0.0.1:0", "--drip", "mail:1ms") as sink,
        smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE_S) as client,
    ):
        assert client.mail("a@b.c") == (250, b"2.1.0 ok")
        assert client.rcpt("u@d.test") == (250, b"2.1.5 ok")


def test_a_delay_is_felt_and_pipelined_commands_wait_their_turn() -> None:
    with (
        sink_process("127.0.0.1:0", "--delay", "mail:20ms", "--delay", "rcpt:20ms") as sink,
        socket.create_connection(("127.0.0.1", sink.port), PATIENCE_S) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<u@d.test>\r\nDATA\r\n")
        assert [stream.readline()[:3] for _ in range(4)] == [b"220", b"250", b"250", b"354"]


def test_the_table_is_read_again_when_told_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    table.write_text("[default]\nbounce = 100")

    def code(port: int) -> int:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S) as client:
            client.mail("a@b.c")
            client.rcpt("u@d.test")
            return client.data(b"x\r\n")[0]

    with sink_process("127.0.0.1:0", "--responses", str(table)) as sink:
        assert code(sink.port) == 550
        table.write_text("[default]\nbounce = 101")
        sink.process.send_signal(signal.SIGHUP)
        sink.wait_for("the response table was not changed: bounce of default|expected bounce of default")
        assert code(sink.port) == 550
        table.write_text("[default]\ndefer = 100")
        sink.wait_for("read the response table .* again")  # by itself
        assert code(sink.port) == 451


def test_a_table_that_is_no_longer_there_to_be_read_changes_nothing(tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    os.mkfifo(table)

    def asked_again(words: str) -> None:
        sink.process.send_signal(signal.SIGHUP)
        sink.wait_for(f"the response table was not changed: {words}")
        with smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE_S) as client:
            client.mail("a@b.c")
            client.rcpt("u@d.test")
            assert client.data(b"x\r\n")[0] == 550

    once = threading.Thread(target=table.write_text, args=("[default]\nbounce = 100",))
    once.start()
    with sink_process("127.0.0.1:0", "--responses", str(table)) as sink:
        once.join()
        asked_again(f'"{table}" is no file, so it can be read only once; save the table to a file')
        table.unlink()
        asked_again(f'cannot read "{table}": no such file')
        table.write_bytes(b"")
        asked_again(f'"{table}" is empty')
        table.unlink()
        table.mkdir()
        asked_again(f'cannot read "{table}": is a directory')
        table.rmdir()
        table.symlink_to(table)  # nobody can read it, not even root
        asked_again(f'cannot read "{table}": too many levels')
        table.unlink()
        table.write_text("# refuses nothing")
        sink.wait_for("read the response table .* again")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--responses", "/no/such/file"], 'cannot read "/no/such/file"'),
        (["--domain-rate", "lab.test.=5/s"], 'without a dot at its end, got "lab.test." (--domain-rate)'),
        (["--domain-suffix", "lab.test."], 'without a dot at its end, got "lab.test." (--domain-suffix)'),
        (["--domain-suffix", "x y"], 'expected a domain name, got "x y" (--domain-suffix)'),
        (["--domain-rate", "fast"], "expected a limit such as 100/m"),
        (["--tls", "--starttls"], "expected one of --starttls and --tls"),
        (["--starttls", "--certificate", "/no/such/file"], "cannot use the certificate"),
        (["--reject", "rcpt:450:often"], "expected odds"),
        (["--max-size", "big"], "--max-size"),
        (["--ledger", "/no/such/folder/ledger"], "cannot write the ledger"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(options: list[str], words: str) -> None:
    with (
        pytest.raises(AssertionError, match=r"the sink ended with code [12]") as caught,
        sink_process("127.0.0.1:0", *options),
    ):
        pass
    assert words in str(caught.value)
    assert "Traceback" not in str(caught.value)
