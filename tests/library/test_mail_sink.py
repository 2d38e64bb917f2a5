"""A sink for tests of other programs: what came, what goes wrong on purpose, what it says when nothing comes."""

import asyncio
import smtplib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from email.message import EmailMessage

import aiosmtplib
import pytest

from tests.conftest import program
from trafficgen.errors import PlanError, SetupError
from trafficgen.testing import MailNotReceivedError, MailSink

MAIL = "From: a@example.com\r\nSubject: hello\r\n\r\ntext\r\n"


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with MailSink() as sink:
        yield sink


def send(sink: MailSink, message: str | bytes = MAIL, *, to: str = "b@example.com") -> None:
    with smtplib.SMTP(sink.host, sink.port, timeout=60) as client:
        client.sendmail("a@example.com", [to], message)


def test_a_message_is_there_as_it_came_and_as_a_reader_sees_it(sink: MailSink) -> None:
    message = EmailMessage()
    message["Subject"] = "Ihre Bestellung – größer"
    message["From"], message["To"] = "shop@example.com", "ann@example.com"
    message.set_content(".a line with a dot\nzweite Zeile äöü\n")
    message.add_alternative("<p>ganz schön</p>", subtype="html")
    message.add_attachment(b"\x00\xff", maintype="application", subtype="octet-stream", filename="x.bin")
    with smtplib.SMTP(sink.host, sink.port, timeout=60) as client:
        client.send_message(message, to_addrs=["ann@example.com", "bcc@example.com"])
    (mail,) = sink.wait_for(1)
    assert mail.sender == "shop@example.com"
    assert mail.recipients == ("ann@example.com", "bcc@example.com")
    assert mail.subject == "Ihre Bestellung – größer"
    assert mail.body == ".a line with a dot\nzweite Zeile äöü\n"
    assert mail.html == "<p>ganz schön</p>\n"
    assert [part.get_filename() for part in mail.email.iter_attachments()] == ["x.bin"]
    assert mail.raw.startswith(b"Subject: Ihre Bestellung =?utf-8?")
    assert b"\r\n\r\n" in mail.raw


@pytest.mark.parametrize(
    ("message", "subject", "body"),
    [
        (b"", "", ""),
        (b"no header at all", "", "no header at all"),
        (b"Content-Type: text/plain; charset=nobody-knows\r\n\r\n\xe4\r\n", "", "\ufffd\n"),
        (b"Subject: =?iso-8859-1?q?caf=E9?=\r\nContent-Type: text/html\r\n\r\n<b>\r\n", "café", "<b>\n"),
        (
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: image/png\r\n\r\nx\r\n--x--\r\n",
            "",
            "",
        ),
    ],
)
def test_mail_that_no_program_should_send_is_still_read(
    sink: MailSink, message: bytes, subject: str, body: str
) -> None:
    with socket.create_connection((sink.host, sink.port), 30) as client:
        client.sendall(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\nBDAT %d LAST\r\n" % len(message) + message)
        (mail,) = sink.wait_for(1)
    assert (mail.sender, mail.raw, mail.subject, mail.body) == ("", message, subject, body)


def test_a_large_message_in_many_pieces_is_whole(sink: MailSink) -> None:
    body = "".join(f"..line {number}\r\n" for number in range(200_000))
    send(sink, MAIL + body)
    assert sink.wait_for(1)[0].raw == (MAIL + body).encode()


def test_it_waits_in_any_thread_until_all_is_there(sink: MailSink) -> None:
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(len(sink.wait_for(3, 60))))
    waiting.start()
    for _ in range(3):
        send(sink)
    waiting.join()
    assert found == [3]
    sink.clear()
    assert sink.messages == ()


def test_what_came_instead_is_said(sink: MailSink) -> None:
    with pytest.raises(
        MailNotReceivedError, match=rf"expected 1 .* got 0\n  nobody connected to 127.0.0.1:{sink.port}"
    ):
        sink.wait_for(1, 0)
    sink.reject("rcpt", 550)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(sink, to="bad@example.com")
    sink.faults = ()
    send(sink)
    with pytest.raises(MailNotReceivedError) as raised:
        sink.wait_for(2, 0)
    text = str(raised.value)
    assert "expected 2 messages within 0 s, got 1" in text
    assert "message 1: <a@example.com> to <b@example.com>: 'hello'" in text
    assert "RCPT bad@example.com (answered 550 5.7.0 refused on purpose: this is a test)" in text
    assert isinstance(raised.value, AssertionError)


def test_faults_happen_as_often_as_they_were_told_to(sink: MailSink) -> None:
    sink.reject("rcpt", 450, times=2)
    codes = []
    with smtplib.SMTP(sink.host, sink.port, timeout=60) as client:
        client.ehlo()
        for _ in range(3):
            client.mail("a@example.com")
            codes.append(client.rcpt("b@example.com")[0])
            client.rset()
    assert codes == [450, 450, 250]
    sink.drop("dot", "after", times=1)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(sink)
    assert len(sink.wait_for(1)) == 1  # it was received, and its sender was never told
    sink.delay("mail", "1ms")
    sink.inject("reject dot:554")
    assert sink.faults == ("delay mail:1ms", "reject dot:554")
    with pytest.raises(smtplib.SMTPDataError, match="554"):
        send(sink)
    with pytest.raises(
        MailNotReceivedError, match=r"(?s)MAIL a@example.com .delayed by 1 ms.*faults at work: delay mail:1ms"
    ):
        sink.wait_for(2, 0)
    sink.faults = ["garbage helo"]
    sink.faults = ()
    send(sink)
    sink.wait_for(2)
    with pytest.raises(PlanError, match="expected one of delay, "):
        sink.faults = ["rejct dot"]


def test_tls_and_login_as_a_client_meets_them() -> None:
    with MailSink(security="starttls", auth=True, password="secret") as sink:
        with smtplib.SMTP("localhost", sink.port, timeout=60) as client:
            strict = sink.client_context()
            strict.verify_flags |= ssl.VERIFY_X509_STRICT  # which is Python 3.13's default
            client.starttls(context=strict)
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("ann", "wrong")
            client.login("ann", "secret")
            client.sendmail("a@example.com", "b@example.com", MAIL)
        with smtplib.SMTP("localhost", sink.port, timeout=60) as client, pytest.raises(ssl.SSLCertVerificationError):
            client.starttls(context=ssl.create_default_context())
        assert len(sink.wait_for(1)) == 1
    with MailSink(security="tls") as sink:
        with smtplib.SMTP_SSL(sink.host, sink.port, timeout=60, context=sink.client_context()) as client:
            client.sendmail("a@example.com", "b@example.com", MAIL)
        sink.wait_for(1)
        idle = socket.create_connection((sink.host, sink.port), 30)  # its handshake is under way when the sink ends
    idle.close()


def test_options_are_those_of_a_real_sink() -> None:
    with MailSink(hide=["chunking"], max_octets=100) as sink:
        with smtplib.SMTP(sink.host, sink.port, timeout=60) as client:
            client.ehlo()
            assert (client.has_extn("chunking"), client.esmtp_features["size"]) == (False, "100")
            with pytest.raises(smtplib.SMTPException, match="552"):
                client.sendmail("a@example.com", "b@example.com", MAIL + "x" * 100)
        with pytest.raises(SetupError, match="cannot listen on"), MailSink(host=sink.host, port=sink.port):
            pass
    with MailSink(lmtp=True) as sink:
        with smtplib.LMTP(sink.host, sink.port) as client:
            client.sendmail("a@example.com", ["b@example.com"], MAIL)
        assert sink.wait_for(1)[0].recipients == ("b@example.com",)
    with pytest.raises(ValueError, match='"starttls" or "tls", got "starttls_if_offered"'):
        MailSink(security="starttls_if_offered")
    with pytest.raises(ValueError, match=r'expected one of PIPELINING, SIZE, .*, got "CHUNKIN"'):
        MailSink(hide=["CHUNKIN"])
    with pytest.raises(RuntimeError, match="only inside its with block"):
        sink.reject()


def test_in_an_event_loop_waiting_leaves_the_loop_to_its_clients() -> None:
    async def work(sink: MailSink) -> int:
        sending = asyncio.create_task(
            aiosmtplib.send(
                MAIL, sender="a@example.com", recipients=["b@example.com"], hostname=sink.host, port=sink.port
            )
        )
        count = len(await sink.wait_for_async(1, 60))
        await sending
        with pytest.raises(MailNotReceivedError) as raised:
            await sink.wait_for_async(2, 0)
        assert "event loop" not in str(raised.value)
        with pytest.raises(MailNotReceivedError, match="which it blocks: await wait_for_async instead"):
            sink.wait_for(2, 0)
        return count

    with MailSink() as sink:
        assert asyncio.run(work(sink)) == 1


def test_a_client_that_is_still_there_ends_with_the_sink() -> None:
    with MailSink() as sink:
        client = socket.create_connection((sink.host, sink.port), 30)
        assert client.recv(3) == b"220"
    with client:
        while client.recv(1000):
            pass


def test_swaks_hands_mail_over() -> None:
    with MailSink(auth=True) as sink:
        line = [program("swaks", "swaks"), "--server", f"{sink.host}:{sink.port}", "--from", "a@example.com"]
        line += ["--to", "b@example.com", "--header", "Subject: from swaks", "--body", "text", "--auth", "PLAIN"]
        line += ["--auth-user", "ann", "--auth-password", "any", "--helo", "here.test"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        (mail,) = sink.wait_for(1)
    assert (mail.subject, mail.body.strip(), mail.recipients) == ("from swaks", "text", ("b@example.com",))
