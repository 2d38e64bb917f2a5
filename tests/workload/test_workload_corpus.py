"""Messages of an mbox: as they are, behind our mark."""

import mailbox
from collections import Counter

import pytest

from trafficgen.errors import PlanError
from trafficgen.plan import Corpus, Header
from trafficgen.proof import trace_header

BODIES = {
    "plain": b"hello\n",
    "dots": b".\n..two\n.leading\nnot.leading\n",
    "empty": b"",
    "eight": "Grüße\n".encode(),
    "long": b"x" * 500 + b"\n",
    "unterminated": b"no line end",
    "dot-last": b"x\n.",
}


def write(path, messages, *, crlf=False):
    """An mbox of (name, body) pairs."""
    text = b"".join(
        b"From a@b.test Fri Nov 21 22:55:00 2025\nSubject: %b\n\n%b%b\n"
        % (name.encode(), body, b"" if body.endswith(b"\n") or not body else b"\n")
        for name, body in messages
    )
    path.write_bytes(text.replace(b"\n", b"\r\n") if crlf else text)
    return path


@pytest.fixture
def mbox(tmp_path):
    return write(tmp_path / "a.mbox", BODIES.items())


def subjects(messages):
    return [m.head.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode() for m in messages]


@pytest.mark.parametrize("crlf", [False, True])
def test_every_message_arrives_as_it_is_behind_the_mark(messages_of, delivered, tmp_path, crlf):
    path = write(tmp_path / "a.mbox", BODIES.items(), crlf=crlf)
    found = messages_of(content=Corpus(path)).block(0, len(BODIES))
    for message, (name, body) in zip(found, BODIES.items(), strict=True):
        stored = delivered(message)
        ours, _, theirs = stored.partition(b"\r\n")
        assert ours.startswith(trace_header.HEADER)
        lines = (body if body.endswith(b"\n") or not body else body + b"\n").replace(b"\n", b"\r\n")
        assert theirs == b"Subject: %b\r\n\r\n%b" % (name.encode(), lines)


def test_crlf_message_without_leading_dots_is_not_copied(messages_of, tmp_path):
    path = write(tmp_path / "a.mbox", [("plain", b"hello\n" * 1000)], crlf=True)
    message = messages_of(content=Corpus(path)).block(0, 1)[0]
    assert isinstance(message.body, memoryview)
    assert message.tail == b".\r\n"


def test_corpus_wraps_round_in_its_order(messages_of, mbox):
    names = list(BODIES)
    found = messages_of(content=Corpus(mbox)).block(5, 25)
    assert subjects(found) == [names[n % len(names)] for n in range(5, 25)]
    assert [m.number for m in found] == list(range(5, 25))


def test_shuffled_corpus_sends_each_once_a_round_in_another_order(messages_of, mbox):
    found = subjects(messages_of(content=Corpus(mbox, shuffle=True)).block(0, 70))
    rounds = [found[n : n + 7] for n in range(0, 70, 7)]
    assert all(Counter(one) == Counter(list(BODIES)) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 5
    assert found != subjects(messages_of(seed=2, content=Corpus(mbox, shuffle=True)).block(0, 70))


@pytest.mark.parametrize("shuffle", [False, True])
def test_any_split_gives_equal_messages(messages_of, mbox, shuffle):
    whole = messages_of(content=Corpus(mbox, shuffle)).block(4090, 4110)
    other = messages_of(content=Corpus(mbox, shuffle))
    assert [m for n in reversed(range(4090, 4110)) for m in other.block(n, n + 1)][::-1] == whole


def test_users_headers_go_in_front(messages_of, delivered, mbox):
    headers = (Header("X-Tenant", (("a", 1.0), ("b", 1.0))), Header("X-Run", (("nightly", 1.0),)))
    found = messages_of(content=Corpus(mbox), headers=headers).block(0, 40)
    assert {delivered(m).split(b"\r\n")[1] for m in found} == {b"X-Tenant: a", b"X-Tenant: b"}
    assert all(delivered(m).split(b"\r\n")[2] == b"X-Run: nightly" for m in found)


def test_message_without_header_or_body_still_has_an_empty_line(messages_of, delivered, tmp_path):
    path = tmp_path / "odd.mbox"
    path.write_bytes(b"From a@b.test Fri Nov 21 22:55:00 2025\nSubject: only a header\n\n")
    for message in messages_of(content=Corpus(path)).block(0, 3):
        assert delivered(message).endswith(b"Subject: only a header\r\n\r\n")


def test_python_reads_back_what_was_sent(messages_of, delivered, tmp_path):
    box = mailbox.mbox(tmp_path / "py.mbox")
    for number in range(50):
        box.add(f"Subject: {number}\n\nbody {number}\n.\n")
    box.close()
    found = messages_of(content=Corpus(tmp_path / "py.mbox")).block(0, 50)
    assert [delivered(m).endswith(b"body %d\r\n.\r\n" % n) for n, m in enumerate(found)] == [True] * 50


@pytest.mark.parametrize(
    ("octets", "words"),
    [(None, "No such file"), (b"", "empty"), (b"Subject: x\n\nnot an mbox\n", "mbox")],
)
def test_what_is_no_mbox_is_refused_by_name(messages_of, tmp_path, octets, words):
    path = tmp_path / "x"
    if octets is not None:
        path.write_bytes(octets)
    with pytest.raises(PlanError, match=rf"(?i){words}.*\(content\)$") as refused:
        messages_of(content=Corpus(path))
    assert str(path) in str(refused.value)


def test_a_bare_cr_or_lf_is_sent_as_crlf(messages_of, delivered, tmp_path):
    # RFC 5321 section 2.3.8: a client must not send CR or LF but together.
    path = tmp_path / "a.mbox"
    line = b"From a@b.test Fri Nov 21 22:55:00 2025\r\n"
    path.write_bytes(line + b"Subject: x\r\n\r\na\rb\nc\r\r\nd\r\n\r\n" + line + b"Subject: y\r\n\r\nz\r\r\n")
    first, second = map(delivered, messages_of(content=Corpus(path)).block(0, 2))
    assert first.endswith(b"Subject: x\r\n\r\na\r\nb\r\nc\r\n\r\nd\r\n")
    assert second.endswith(b"Subject: y\r\n\r\nz\r\n\r\n")


def test_folder_without_mail_is_refused(messages_of, tmp_path):
    with pytest.raises(PlanError, match=r"folder of \.eml files.*\(content\)$"):
        messages_of(content=Corpus(tmp_path))


def test_mark_cannot_be_set_by_hand(messages_of, mbox):
    with pytest.raises(PlanError, match="cannot be set"):
        messages_of(content=Corpus(mbox), headers=(Header("X-Traffic-Gen", (("1", 1.0),)),))
