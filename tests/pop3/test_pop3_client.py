"""The POP3 session: answers of several lines, any chunking, servers that say anything."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.errors import LocalProtocolError
from trafficgen.protocol.pop3.client import (
    MAX_LINE_OCTETS,
    Challenge,
    Event,
    Pop3Fault,
    Pop3Reply,
    Pop3Session,
)
from trafficgen.protocol.pop3.commands import Pop3Command, Pop3State

Asked = list[tuple[Pop3Command, str]]


class Kept:
    """A content that keeps all it gets."""

    def __init__(self) -> None:
        self.octets = b""

    def feed(self, octets: bytes) -> None:
        self.octets += octets

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept) and other.octets == self.octets

    __hash__ = None  # type: ignore[assignment]


def greeted(*asked: tuple[Pop3Command, str]) -> Pop3Session:
    """A session that has logged in and asked."""
    session = Pop3Session()
    session.feed(b"+OK hello\r\n", 1)
    session.send(Pop3Command.USER, "u", now_ns=1)
    session.send(Pop3Command.PASS, "p", now_ns=1)
    session.feed(b"+OK\r\n+OK logged in\r\n", 2)
    session.out.clear()
    for command, argument in asked:
        content = Kept() if command in (Pop3Command.RETR, Pop3Command.TOP) else None
        session.send(command, argument, now_ns=2, content=content)
    return session


def test_a_session_from_greeting_to_goodbye():
    session = Pop3Session(now_ns=5)
    assert session.feed(b"+OK POP3 ready <1@h>\r\n", 9) == [
        Pop3Reply(Pop3Command.GREETING, True, b"", b"POP3 ready <1@h>", (), 4)
    ]
    session.send(Pop3Command.USER, "u@example.com", now_ns=10)
    session.send(Pop3Command.PASS, "se cret", now_ns=10)
    session.send(Pop3Command.UIDL, now_ns=10)
    assert b"".join(session.out) == b"USER u@example.com\r\nPASS se cret\r\nUIDL\r\n"
    events = session.feed(b"+OK\r\n+OK in\r\n+OK\r\n1 aa\r\n2 bb\r\n.\r\n", 12)
    assert events[-1] == Pop3Reply(Pop3Command.UIDL, True, b"", b"", (b"1 aa", b"2 bb"), 2)
    assert session.state is Pop3State.TRANSACTION
    body = Kept()
    session.send(Pop3Command.RETR, "1", now_ns=20, content=body)
    session.send(Pop3Command.DELE, "1", now_ns=20)
    session.send(Pop3Command.QUIT, now_ns=20)
    assert [event.ok for event in session.feed(b"+OK 9\r\nA: b\r\n\r\n..x\r\n.\r\n+OK\r\n+OK bye\r\n", 21)] == [
        True
    ] * 3
    assert body.octets == b"A: b\r\n\r\n.x\r\n"
    assert session.state.name == "UPDATE"


def test_an_empty_listing_and_an_empty_message():
    session = greeted((Pop3Command.UIDL, ""), (Pop3Command.RETR, "1"))
    events = session.feed(b"+OK\r\n.\r\n+OK\r\n.\r\n", 3)
    assert [(event.lines, event.content) for event in events] == [((), None), ((), Kept())]


def test_an_error_in_place_of_lines_is_one_line():
    session = greeted((Pop3Command.RETR, "7"), (Pop3Command.LIST, "2"))
    first, second = session.feed(b"-ERR [SYS/TEMP] not now\r\n+OK 2 200\r\n", 3)
    assert (first.ok, first.code, first.text) == (False, b"SYS/TEMP", b"not now")
    assert (second.ok, second.text, second.lines) == (True, b"2 200", ())


def test_in_use_is_told_apart():
    session = Pop3Session()
    session.feed(b"+OK\r\n", 0)
    session.send(Pop3Command.PASS, "p", now_ns=0)
    (reply,) = session.feed(b"-ERR [in-use] Do you have another POP session running?\r\n", 0)
    assert reply.code == b"IN-USE"
    assert session.state is Pop3State.AUTHORIZATION


def test_a_challenge_is_part_of_auth_only():
    session = Pop3Session()
    session.feed(b"+OK\r\n", 0)
    session.send(Pop3Command.AUTH, "PLAIN", now_ns=0)
    assert session.feed(b"+ \r\n", 0) == [Challenge(b"")]
    session.answer(b"AHUAcA==")
    assert session.out[-1] == b"AHUAcA==\r\n"
    assert session.feed(b"+OK\r\n", 0)[0].ok
    session.send(Pop3Command.STAT, now_ns=0)
    assert isinstance(session.feed(b"+ what\r\n", 0)[0], Pop3Fault)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (b"HTTP/1.0 400\r\n", "expected +OK or -ERR to STAT"),
        (b"+OK" + b"x" * MAX_LINE_OCTETS + b"\r\n", "answer line over"),
        (b"x" * 1_000_000, "answer line over"),
        (b"+OK 1 2\r\n+OK more\r\n", "nobody asked for"),
    ],
)
def test_what_is_no_pop3_ends_the_session_with_a_sentence(words: bytes, text: str):
    session = greeted((Pop3Command.STAT, ""))
    fault = session.feed(words, 3)[-1]
    assert isinstance(fault, Pop3Fault)
    assert text in fault.text
    assert session.state is Pop3State.CLOSED
    assert session.feed(b"+OK\r\n", 4) == []


def test_a_command_out_of_its_state_is_our_bug():
    session = greeted()
    with pytest.raises(LocalProtocolError, match="USER is not for a session in TRANSACTION"):
        session.send(Pop3Command.USER, "x", now_ns=0)
    with pytest.raises(LocalProtocolError, match="odd"):
        session.send(Pop3Command.DELE, "1\r\nDELE 2", now_ns=0)


def test_what_came_behind_stls_in_the_clear_is_not_believed():
    session = Pop3Session()
    session.feed(b"+OK\r\n", 0)
    session.send(Pop3Command.STLS, now_ns=0)
    assert isinstance(session.feed(b"+OK go\r\n+OK forged\r\n", 0)[-1], Pop3Fault)


ANSWERS = st.lists(
    st.sampled_from(
        [
            (Pop3Command.STAT, "", b"+OK 2 320\r\n"),
            (Pop3Command.UIDL, "", b"+OK\r\n1 a\r\n2 b\r\n.\r\n"),
            (Pop3Command.LIST, "", b"+OK\r\n.\r\n"),
            (Pop3Command.RETR, "1", b"+OK 5\r\nA: b\r\n\r\n..\r\n...\r\n\r\n.\r\n"),
            (Pop3Command.RETR, "2", b"+OK\r\n.\r\n"),
            (Pop3Command.RETR, "3", b"+OK\r\n\r\n.\r.\n.\n.x\r\n\r\n.\r\n"),
            (Pop3Command.DELE, "1", b"-ERR no\r\n"),
            (Pop3Command.CAPA, "", b"+OK\r\nUIDL\r\n.\r\n"),
        ]
    ),
    max_size=8,
)


def fed(asked: Asked, octets: bytes, cuts: list[int]) -> list[Event]:
    session = greeted(*asked)
    events: list[Event] = []
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    for begin, end in pairwise(places):
        events += session.feed(octets[begin:end], 7)
    return events


@given(ANSWERS, st.lists(st.integers(0, 10_000), max_size=30))
def test_any_chunking_gives_the_same_events(answers, cuts):
    asked = [(command, argument) for command, argument, _ in answers]
    octets = b"".join(answer for *_, answer in answers)
    whole = fed(asked, octets, [])
    assert [event.command for event in whole] == [command for command, _ in asked]
    assert fed(asked, octets, cuts) == whole
    assert fed(asked, octets, list(range(len(octets)))) == whole


WORDS = st.lists(
    st.sampled_from([b"+OK", b"-ERR", b"+", b" ", b"[", b"]", b"\r", b"\n", b"\r\n", b".", b"\r\n.\r\n", b"x", b"\0"])
    | st.binary(max_size=4),
    max_size=60,
)


@given(WORDS, st.lists(st.integers(0, 10_000), max_size=10))
def test_random_servers_neither_crash_it_nor_depend_on_chunks(words, cuts):
    octets = b"".join(words)
    asked = [(Pop3Command.UIDL, ""), (Pop3Command.RETR, "1"), (Pop3Command.DELE, "1"), (Pop3Command.QUIT, "")]
    assert fed(asked, octets, cuts) == fed(asked, octets, [])
