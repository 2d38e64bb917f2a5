"""What a sink calls itself: wherever it says its name, and only what can stand there."""

import smtplib
import ssl
from email import message_from_bytes
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.peers.certificates import make_certificate
from tests.peers.independent import aiosmtpd_server
from tests.sink.sink_process import sink_process
from trafficgen.cli.program import call
from trafficgen.cli.sink import command, sink_config_of
from trafficgen.errors import ExitCode, SetupError
from trafficgen.plan import TcpTarget
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.listen.certificate import context_from, self_signed
from trafficgen.sink.store.counting import CountingStore

NAME = b"mx.lab.test"
MAIL = "From: <me@a.test>\r\nSubject: x\r\n\r\nhello\r\n"


def test_greeting_and_hello_say_the_name() -> None:
    session = ServerSession(CountingStore(), capabilities=Capabilities(name=NAME, xclient=True))
    assert session.greet().startswith(b"220 mx.lab.test ESMTP")
    assert session.feed(b"HELO x\r\n") == b"250 mx.lab.test\r\n"
    assert session.feed(b"EHLO x\r\n").startswith(b"250-mx.lab.test\r\n250-PIPELINING\r\n")
    assert session.feed(b"XCLIENT ADDR=192.0.2.1\r\n").startswith(b"220 mx.lab.test ESMTP")


def test_hello_in_lmtp_says_the_name() -> None:
    session = ServerSession(CountingStore(), capabilities=Capabilities(name=NAME, lmtp=True))
    assert session.feed(b"LHLO x\r\n").startswith(b"250-mx.lab.test\r\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [(NAME, ["mx.lab.test", "localhost"]), (b"[192.0.2.1]", ["localhost"]), (b"a." * 50 + b"test", None)],
)
def test_a_certificate_made_on_the_spot_is_of_this_name(name: bytes, expected: list[str] | None) -> None:
    certificate = x509.load_pem_x509_certificate(self_signed(name)[1].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == (expected or [name.decode(), "localhost"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "expected PEM, with a key that belongs to it (no certificate in it)"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", "expected PEM, with a key that belongs to it"),
        (None, "its key has a passphrase; write one without: openssl pkey -in KEY -out PLAIN"),
    ],
)
def test_a_certificate_that_cannot_be_used_says_why(tmp_path: Path, text: bytes | None, words: str) -> None:
    made = make_certificate(tmp_path)
    if text is None:
        key = serialization.load_pem_private_key(made.key.read_bytes(), None)
        secret = serialization.BestAvailableEncryption(b"secret")
        form = serialization.PrivateFormat.PKCS8
        made.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))
    else:
        made.certificate.write_bytes(text)
    with pytest.raises(SetupError) as refused:
        context_from(made.certificate, made.key)
    assert words in str(refused.value)


def test_a_sink_and_what_it_sends_back_say_the_name() -> None:
    with (
        aiosmtpd_server() as (port, mailbox),
        sink_process(
            "127.0.0.1:0", "--hostname", "mx.lab.test", "--starttls", "--bounce-to", f"127.0.0.1:{port}",
            "--bounce-share", "100%",
        ) as sink,
        smtplib.SMTP("127.0.0.1", sink.port, "client.test", timeout=60) as client,
    ):  # fmt: skip
        client.starttls(context=ssl._create_unverified_context())
        client.ehlo()
        assert client.ehlo_resp is not None
        assert client.ehlo_resp.splitlines()[0] == NAME
        assert client.sendmail("me@a.test", ["you@b.test"], MAIL) == {}
        while not mailbox.messages:
            client.noop()
        message = message_from_bytes(mailbox.messages[0])
    assert message["From"] == "Mail Delivery Subsystem <MAILER-DAEMON@mx.lab.test>"
    assert message["Message-ID"].endswith("@mx.lab.test>")
    assert b"Reporting-MTA: dns; mx.lab.test\r\n" in mailbox.messages[0]


@pytest.mark.parametrize("name", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost", "a_b.test"])
def test_a_domain_or_an_address_literal_is_taken(name: str) -> None:
    with command.make_context("sink", ["2525", "--hostname", name]) as context:
        config = sink_config_of(TcpTarget("127.0.0.1", 2525), context.params)
    assert config.capabilities.name == name.encode()


@pytest.mark.parametrize(
    "name",
    ["", "192.0.2.1", "a b", "a..b", "mx.lab.test.", "-a.test", "192.0.2.1]", "[192.0.2.256]", "[2001:db8::1]",
     "[IPv6:192.0.2.1]", "[IPv6:fe80::1%x]", "mx\r\n250 x", "mäx.test"],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["sink", "0", "--hostname", name]) is ExitCode.USAGE
    said = capsys.readouterr().err
    assert "or an address in brackets, such as [192.0.2.1], got" in said
    assert "(--hostname)" in said
    assert said.count("\n") == 1


def test_an_extension_that_no_session_offers_is_not_hidden_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["sink", "0", "--hide", "pipelinig"]) is ExitCode.USAGE
    said = capsys.readouterr().err
    assert "expected one of PIPELINING, SIZE, " in said
    assert 'got "pipelinig" (--hide)' in said
