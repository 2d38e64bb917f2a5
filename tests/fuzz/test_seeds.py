"""The fuzzers' seeds and hypothesis's inventions keep every promise, in every set-up."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CUT, TARGETS, Conversation, session

SEEDS = sorted(path for path in Path(__file__).with_name("seeds").rglob("*") if path.is_file())

words = st.sampled_from(
    [
        b"EHLO x\r\n", b"LHLO x\r\n", b"HELO x\r\n", b"STARTTLS\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"AUTH LOGIN\r\n",
        b"YQ==\r\n", b"MAIL FROM:<a@a.test>\r\n", b"MAIL FROM:<> SIZE=9 RET=HDRS\r\n", b"RCPT TO:<b@b.test>\r\n",
        b"RCPT TO:<c@c.test> NOTIFY=NEVER\r\n", b"DATA\r\n", b"BDAT 5\r\n", b"BDAT 3 LAST\r\n", b"Subject: x\r\n\r\n",
        b".\r\n", b"\r\n.\r\n", b"\r\n..\r\n", b"\n.\r\n", b"\r\n.\n", b".", b"\r", b"\n", b"RSET\r\n", b"QUIT\r\n",
        b"NOOP\r\n", b"XCLIENT ADDR=192.0.2.7\r\n", b"x" * 3000, CUT, b"\0",
    ]
)  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_seed_keeps_the_promises(seed: Path) -> None:
    octets = seed.read_bytes()
    target = TARGETS[seed.parent.name]
    if target is session:
        for setting in range(32):
            target(bytes([setting]) + octets[1:])
    else:
        target(octets)


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("chunks", 2), ("dots", 1), ("faults", 3), ("lmtp", 1), ("login", 1), ("one-group", 2), ("pieces", 1),
        ("smuggling", 1), ("tls", 1), ("too-long", 0), ("wrong-order", 0),
    ],
)  # fmt: skip
def test_a_seed_reaches_what_it_is_for(name: str, messages: int) -> None:
    setting, *said = (Path(__file__).parent / "seeds/session" / name).read_bytes()
    talk = Conversation(setting)
    for piece in bytes(said).split(CUT):
        talk.feed(piece)
    assert talk.ledger.received == messages


@given(st.integers(0, 31), st.lists(words, max_size=30))
def test_any_words_in_any_order_keep_the_promises(setting: int, said: list[bytes]) -> None:
    session(bytes([setting]) + b"".join(said))


@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"250 ok\r\n", b"250-", CUT, b"\n", b"5"])), max_size=30
    )
)
def test_any_octets_are_replies_or_none_wherever_they_are_cut(said: list[bytes]) -> None:
    TARGETS["replies"](b"".join(said))


MAILBOX_WORDS = st.sampled_from(
    [
        b"* ", b"+ ", b"a1 ", b"a2 ", b"a4 ", b"OK ", b"NO ", b"BYE ", b"[", b"] ", b"1 FETCH (", b")", b'"', b"\\",
        b"{3}\r\n", b"{0}\r\n", b"\r\n", b"2 EXPUNGE", b"3 EXISTS", b"+OK ", b"-ERR ", b".\r\n", b"\r\n.\r\n", b"..",
        CUT, b"\0",
    ]
)  # fmt: skip


@pytest.mark.parametrize("target", ["imap", "pop3"])
@given(said=st.lists(st.one_of(MAILBOX_WORDS, st.binary(max_size=5)), max_size=40))
def test_mailbox_servers_may_say_anything_cut_anywhere(target: str, said: list[bytes]) -> None:
    TARGETS[target](b"".join(said))
