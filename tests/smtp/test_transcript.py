"""A transcript shows what was said, and no secret, wherever it stands."""

import base64
import re

import pytest

from trafficgen.protocol.proxy import header_v1, header_v2
from trafficgen.protocol.transcript import MAX_LINES, Transcript

PASSWORD = "sesame-õpen"
IN_BASE64 = base64.b64encode(PASSWORD.encode()).decode()


class Shown:
    """A transcript and its lines, without their times."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.transcript = Transcript(0, self.lines.append)

    def said(self, *lines: str) -> None:
        self.transcript.sent(["".join(f"{line}\r\n" for line in lines).encode()], 1_500_000_000)

    def raw(self, octets: bytes) -> None:
        self.transcript.sent([octets], 1_500_000_000)

    def heard(self, *lines: str) -> None:
        self.transcript.heard("".join(f"{line}\r\n" for line in lines).encode(), 2_000_000_000)

    @property
    def text(self) -> list[str]:
        return [re.sub(r"^ *[\d.]+ ", "", line) for line in self.lines]


def test_lines_have_the_seconds_since_the_session_began_and_the_mark_of_who_spoke() -> None:
    shown = Shown()
    shown.heard("220 mail.test")
    shown.said("EHLO x")
    shown.heard("250-mail.test", "250 SIZE", "550 5.1.1 no")
    assert shown.lines == [
        " 2.000000 <-  220 mail.test",
        " 1.500000  -> EHLO x",
        " 2.000000 <-  250-mail.test",
        " 2.000000 <-  250 SIZE",
        " 2.000000 <** 550 5.1.1 no",
    ]


def test_replies_that_come_in_pieces_are_whole_lines() -> None:
    transcript = Transcript(0, (lines := list[str]()).append)
    for piece in (b"220 ma", b"il.test\r", b"\n250 x"):
        transcript.heard(piece, 0)
    assert lines == [" 0.000000 <-  220 mail.test"]
    transcript.end(0)
    assert lines[1:] == [" 0.000000 <-  250 x"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("first", "answers"),
    [
        (f"AUTH PLAIN {encoded(f'{chr(0)}joe{chr(0)}{PASSWORD}')}", []),
        ("AUTH PLAIN", [encoded(f"\0joe\0{PASSWORD}")]),
        ("auth login", [encoded("joe"), IN_BASE64]),
        (f"AUTH LOGIN {encoded('joe')}", [IN_BASE64]),
        ("AUTH CRAM-MD5", [encoded("joe 0123456789abcdef")]),
        (f"AUTH SCRAM-SHA-256 {encoded('n,,n=joe,r=abc')}", [encoded("c=biws,r=abc,p=cHJvb2Y="), ""]),
        (f"AUTH XOAUTH2 {encoded(f'user=joe{chr(1)}auth=Bearer {PASSWORD}{chr(1)}{chr(1)}')}", [""]),
    ],
    ids=["plain at once", "plain", "login", "login with name", "cram", "scram", "xoauth2"],
)
@pytest.mark.parametrize("refused", [False, True])
def test_what_logs_in_is_shown_nowhere_even_if_the_server_repeats_it(
    first: str, answers: list[str], *, refused: bool
) -> None:
    shown = Shown()
    shown.said(first)
    for answer in answers:
        shown.heard(f"334 {encoded('go on')}")
        shown.said(answer)
    sent = first + "".join(answers)
    secrets = [secret for secret in (*first.split()[2:], *answers) if secret]
    if IN_BASE64 in sent or "PLAIN" in first or "XOAUTH2" in first:
        secrets += [PASSWORD, IN_BASE64]
    shown.heard(*(f"535-{secret} is wrong" for secret in secrets), "535 no" if refused else "235 yes")
    shown.said("MAIL FROM:<a@lab.test>")
    text = "\n".join(shown.text)
    assert [secret for secret in secrets if secret in text] == []
    assert text.count("***") >= len(secrets) + 1
    assert text.endswith(" -> MAIL FROM:<a@lab.test>")  # what follows is shown again


@pytest.mark.parametrize("code", ["334 ", "235 2.7.0 "])
def test_the_servers_signature_is_masked_as_passwords_can_be_tried_against_it(code: str) -> None:
    shown = Shown()
    signature = encoded("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    shown.said(f"AUTH SCRAM-SHA-256 {encoded('n,,n=joe,r=abc')}")
    shown.heard(f"334 {encoded('r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096')}")
    shown.said(encoded("c=biws,r=abcdef,p=cHJvb2Y="))
    shown.heard(code + signature)
    assert shown.text[-1] == f"<-  {code}***"


@pytest.mark.parametrize(
    ("header", "shown_as"),
    [
        (header_v1("192.0.2.7", 40_000, "127.0.0.1", 25), " -> PROXY TCP4 192.0.2.7 127.0.0.1 40000 25"),
        (header_v2("192.0.2.7", 40_000, "127.0.0.1", 25), " -> PROXY header of version 2 for 192.0.2.7, 28 octets"),
        (header_v2("2001:db8::7", 40_000, "::1", 25), " -> PROXY header of version 2 for 2001:db8::7, 52 octets"),
    ],
)
def test_a_proxy_header_is_one_line(header: bytes, shown_as: str) -> None:
    shown = Shown()
    shown.transcript.proxied(header, 0)
    shown.said("EHLO me")
    assert shown.text == [shown_as, " -> EHLO me"]


def test_an_authorization_header_of_a_request_is_masked() -> None:
    shown = Shown()
    shown.said("POST /api/inject/v1 HTTP/1.1", f"Authorization: Bearer {PASSWORD}", "Content-Length: 8", "")
    shown.raw(b'{"a": 1}')
    shown.heard("HTTP/1.1 401 Unauthorized", "", f'{{"error": "{PASSWORD}"}}')
    assert shown.text == [
        " -> POST /api/inject/v1 HTTP/1.1",
        " -> Authorization: ***",
        " -> Content-Length: 8",
        " ->",
        ' -> {"a": 1}',
        "<** HTTP/1.1 401 Unauthorized",
        "<-",
        '<-  {"error": "***"}',
    ]


def test_of_a_message_the_first_lines_are_shown_and_what_follows_it_all() -> None:
    shown = Shown()
    shown.said("DATA")
    shown.heard("354 go")
    shown.said(*(f"line {n}" for n in range(10_000)), ".", "MAIL FROM:<>", "DATA")
    shown.heard("250 ok", "250 ok", "451 later")
    shown.said("MAIL FROM:<b@lab.test>")
    assert shown.text[2:4] == [" -> line 0", " -> line 1"]
    after = shown.text[shown.text.index(" -> line 29") + 1 :]
    assert after[0] == f"=== {sum(len(f'line {n}') + 2 for n in range(30, 10_000)):,} octets more of the message"
    assert after[1:4] == [" -> .", " -> MAIL FROM:<>", " -> DATA"]
    assert after[-1] == " -> MAIL FROM:<b@lab.test>"


def test_a_line_of_a_message_is_no_command() -> None:
    shown = Shown()
    shown.said("DATA")
    shown.heard("354 go")
    shown.said("AUTH PLAIN abcd", ".")
    assert " -> AUTH PLAIN abcd" in shown.text


def test_octets_of_a_chunk_are_no_commands() -> None:
    shown = Shown()
    body = b"AUTH PLAIN abcd\r\n.\r\nno line end"
    shown.raw(b"BDAT %d LAST\r\n" % len(body) + body + b"QUIT\r\n")
    assert shown.text == [
        f" -> BDAT {len(body)} LAST", " -> AUTH PLAIN abcd", " -> .", " -> no line end", " -> QUIT",
    ]  # fmt: skip


def test_what_a_server_sends_cannot_act_on_a_terminal() -> None:
    shown = Shown()
    shown.heard("250 \x1b[2Jgone")
    assert shown.text == ["<-  250 \\x1b[2Jgone"]


def test_a_session_has_so_many_lines_and_no_more() -> None:
    shown = Shown()
    for _ in range(MAX_LINES + 500):
        shown.said("NOOP")
    assert len(shown.lines) == MAX_LINES + 1
    assert shown.text[-1] == f"=== no more than {MAX_LINES} lines of a session are shown"
