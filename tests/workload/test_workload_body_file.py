"""One body for every message, from a file."""

import email
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trafficgen.errors import PlanError
from trafficgen.plan import BodyFile, Header
from trafficgen.protocol.smtp.dots import stuff
from trafficgen.workload.bodies import canonical, is_whole_message


@pytest.mark.parametrize(
    ("octets", "body"),
    [
        (b"one\ntwo\n", b"one\r\ntwo\r\n"),
        (b"one\r\ntwo", b"one\r\ntwo\r\n"),
        (b"one\rtwo\n\rthree", b"one\r\ntwo\r\n\r\nthree\r\n"),
        (b".\n..\n.a\n", b".\r\n..\r\n.a\r\n"),
        (b"\n", b"\r\n"),
        (b"x", b"x\r\n"),
    ],
)
def test_line_ends_become_crlf_and_dots_survive(messages_of, delivered, tmp_path, octets, body):
    (tmp_path / "body").write_bytes(octets)
    for message in messages_of(content=BodyFile(tmp_path / "body")).block(0, 5):
        assert delivered(message).partition(b"\r\n\r\n")[2] == body


@given(st.binary())
def test_canonical_has_no_bare_cr_or_lf_and_is_stable(octets):
    made = canonical(octets)
    assert made.replace(b"\r\n", b"").count(b"\r") == made.replace(b"\r\n", b"").count(b"\n") == 0
    assert made.endswith(b"\r\n")
    assert canonical(made) == made


@settings(max_examples=50)
@given(st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"a"])))
def test_stuffing_never_leaves_a_line_that_ends_the_message(lines):
    made = stuff(b"".join(line + b"\r\n" for line in lines))
    assert b"." not in made.split(b"\r\n")
    assert [line[1:] if line.startswith(b".") else line for line in made.split(b"\r\n")[:-1]] == lines


@pytest.mark.parametrize(
    ("name", "octets", "kind", "text"),
    [
        ("a.txt", b"plain\n", "text/plain; charset=us-ascii", "plain\n"),
        ("a.html", b"<p>hi</p>\n", "text/html; charset=us-ascii", "<p>hi</p>\n"),
        ("a.txt", "Grüße\n".encode(), "text/plain; charset=utf-8", "Grüße\n"),
        ("a.txt", "Grüße\n".encode("latin-1"), "text/plain; charset=iso-8859-1", "Grüße\n"),
    ],
)
def test_type_and_charset_are_told(messages_of, delivered, tmp_path, name, octets, kind, text):
    (tmp_path / name).write_bytes(octets)
    message = messages_of(content=BodyFile(tmp_path / name)).block(0, 1)[0]
    parsed = email.message_from_bytes(delivered(message), policy=email.policy.default)
    assert not parsed.defects
    assert str(parsed["Content-Type"]).replace('"', "") == kind
    assert parsed.get_content().replace("\r\n", "\n") == text
    assert message.eight_bit is not octets.isascii()
    assert (parsed["Content-Transfer-Encoding"] == "8bit") is message.eight_bit


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "is empty"),
        (b"a\0b", "NUL"),
        (b"x" * 999, "line of 999 octets, SMTP carries at most 998"),
    ],
)
def test_what_mail_cannot_carry_is_refused(messages_of, tmp_path, octets, words):
    (tmp_path / "body").write_bytes(octets)
    with pytest.raises(PlanError, match=rf"{words}.*\(content\)$"):
        messages_of(content=BodyFile(tmp_path / "body"))


def test_missing_file_and_folder_are_refused(messages_of, tmp_path):
    with pytest.raises(PlanError, match=r"no such file or directory \(content\)$"):
        messages_of(content=BodyFile(tmp_path / "none"))
    with pytest.raises(PlanError, match=r"is a directory \(content\)$"):
        messages_of(content=BodyFile(tmp_path))


def test_longest_line_allowed_is_998(messages_of, delivered, tmp_path):
    (tmp_path / "body").write_bytes(b"x" * 998)
    assert delivered(messages_of(content=BodyFile(tmp_path / "body")).block(0, 1)[0]).endswith(b"x" * 998 + b"\r\n")


WHOLE = b"From: a@b.test\nX-Long: one\n\ttwo\nSubject: =?utf-8?q?hi?=\n\n.dot\nbody\n"


def test_a_file_that_begins_with_a_header_block_is_the_whole_message(messages_of, delivered, tmp_path):
    (tmp_path / "message.eml").write_bytes(WHOLE)
    header = Header("X-Tenant", (("a", 1.0),))
    for message in messages_of(content=BodyFile(tmp_path / "message.eml"), headers=(header,)).block(0, 3):
        lines = delivered(message).split(b"\r\n")
        assert lines[1] == b"X-Tenant: a"
        assert b"\n".join(lines[2:]) == WHOLE


@pytest.mark.parametrize(
    ("octets", "whole"),
    [
        (WHOLE, True),
        (WHOLE.replace(b"\n", b"\r\n"), True),
        (b"Received: by a\n\n", True),
        (b"subject : old style\n\nbody", True),
        (b"Note: this is a text\n\nwith a colon in its first line\n", False),
        (b"Subject: one line only\n", False),
        (b"\nSubject: after an empty line\n\nbody", False),
        (b" Subject: begins as a continuation\n\nbody", False),
        (b"From: a\nno field\n\nbody", False),
        (b"From a@b.test Fri Nov 21 22:55:00 2025\nSubject: x\n\nbody", False),
        (b"Dear all,\n\nSubject: x\n\n", False),
        (b"x" * 900, False),
    ],
)
def test_what_a_body_file_is_taken_for(octets, whole):
    assert is_whole_message(canonical(octets)) is whole


@given(st.binary(max_size=200))
def test_any_octets_are_a_body_or_a_message(octets):
    if is_whole_message(canonical(octets)):
        assert b"\r\n\r\n" in canonical(octets)
