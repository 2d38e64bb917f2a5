"""The IMAP session: literals in any pieces, untagged data at any moment, IDLE, servers that say anything."""

from base64 import b64encode
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.errors import LocalProtocolError
from trafficgen.protocol.imap.client import ImapSession
from trafficgen.protocol.imap.commands import ImapCommand, ImapState
from trafficgen.protocol.imap.events import Done, Event, Goodbye, Idling, ImapFault, Said, Untagged
from trafficgen.protocol.imap.reader import MAX_LINE_OCTETS, Kept, Quoted, ResponseReader
from trafficgen.protocol.imap.strings import literal, string

GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ IDLE MOVE UIDPLUS ENABLE NAMESPACE UNSELECT] ready\r\n"


def selected(greeting: bytes = GREETING, *, pipelining: bool = True) -> ImapSession:
    """A session that has logged in and selected a mailbox of three messages."""
    session = ImapSession(pipelining=pipelining)
    session.feed(greeting, 0)
    session.send(ImapCommand.LOGIN, b"u", string(b"pass word"), now_ns=1)
    session.feed(b"a1 OK in\r\n", 2)
    session.send(ImapCommand.SELECT, b"INBOX", now_ns=3)
    session.feed(
        b"* FLAGS (\\Seen \\Answered)\r\n* 3 EXISTS\r\n* OK [UIDVALIDITY 9] x\r\n* OK [UIDNEXT 12] y\r\n"
        b"a2 OK [READ-WRITE] z\r\n",
        4,
    )
    session.out.clear()
    return session


def test_login_and_select():
    session = ImapSession(now_ns=3)
    (greeting,) = session.feed(GREETING, 8)
    assert (greeting.command, greeting.status, greeting.elapsed_ns) == (ImapCommand.GREETING, b"OK", 5)
    assert session.state is ImapState.NOT_AUTHENTICATED
    session.send(ImapCommand.LOGIN, string(b"u@example.com"), string(b'pa"ss'), now_ns=10)
    assert session.out == [b'a1 LOGIN u@example.com "pa\\"ss"\r\n']
    (done,) = session.feed(b"a1 OK [CAPABILITY IMAP4rev1 IDLE] in\r\n", 15)
    assert (done.ok, done.elapsed_ns, session.state) == (True, 5, ImapState.AUTHENTICATED)
    assert session.capabilities == {b"IMAP4REV1", b"IDLE"}
    session = selected()
    assert (session.exists, session.uid_next, session.uid_validity, session.state) == (3, 12, 9, ImapState.SELECTED)


def test_a_failed_select_leaves_nothing_selected():
    session = selected()
    session.send(ImapCommand.SELECT, b"Gone", now_ns=5)
    assert not session.feed(b"a3 NO [NONEXISTENT] no\r\n", 6)[0].ok
    assert session.state is ImapState.AUTHENTICATED


def test_a_fetch_with_a_literal_in_the_middle():
    session = selected()
    session.send(ImapCommand.UID_FETCH, b"5:*", b"(UID FLAGS BODY.PEEK[])", now_ns=5, argument="new")
    assert session.out == [b"a3 UID FETCH 5:* (UID FLAGS BODY.PEEK[])\r\n"]
    data = b'* 1 FETCH (UID 5 FLAGS (\\Seen $x) BODY[] {7}\r\nA: b\r\n\r X NIL Y "a \\"q\\"")\r\na3 OK done\r\n'
    fetch, done = session.feed(data, 9)
    assert fetch.number == 1
    body = fetch.values[0][5]
    assert isinstance(body, Kept)
    assert body.text == b"A: b\r\n\r"
    assert fetch.values == (
        (b"UID", b"5", b"FLAGS", (b"\\Seen", b"$x"), b"BODY[]", body, b"X", None, b"Y", Quoted(b'a "q"')),
    )
    assert (done.command, done.argument, done.elapsed_ns) == (ImapCommand.UID_FETCH, "new", 4)


def test_header_fields_in_brackets_are_one_word():
    session = selected()
    line = b'* 2 FETCH (BODY[HEADER.FIELDS (From "To]")]<0> "x" UID 4)\r\n'
    (fetch,) = session.feed(line, 9)
    assert fetch.values == ((b'BODY[HEADER.FIELDS (From "To]")]<0>', b"x", b"UID", b"4"),)


def test_idle_waits_for_the_server_and_commands_wait_for_done():
    session = selected()
    session.idle(5)
    assert session.out == [b"a3 IDLE\r\n"]
    session.out.clear()
    assert session.feed(b"* 4 EXISTS\r\n+ idling\r\n", 6) == [Untagged(b"EXISTS", 4, ()), Idling()]
    assert session.idling
    assert session.waiting_since_ns is None
    with pytest.raises(LocalProtocolError, match="while the session idles"):
        session.send(ImapCommand.NOOP, now_ns=7)
    session.end_idle()
    session.send(ImapCommand.NOOP, now_ns=7)
    assert session.out == [b"DONE\r\n", b"a4 NOOP\r\n"]
    assert [event.command for event in session.feed(b"a3 OK idle\r\na4 OK noop\r\n", 8)] == [
        ImapCommand.IDLE,
        ImapCommand.NOOP,
    ]


def test_an_idle_that_ends_before_it_was_taken_up_says_done_in_time():
    session = selected()
    session.idle(5)
    session.end_idle()
    session.send(ImapCommand.NOOP, now_ns=5)
    assert session.out == [b"a3 IDLE\r\n"]
    session.feed(b"+ ok\r\n", 6)
    assert session.out == [b"a3 IDLE\r\n", b"DONE\r\n", b"a4 NOOP\r\n"]


def test_an_idle_that_is_refused_holds_nothing_up():
    session = selected()
    session.idle(5)
    session.end_idle()
    session.send(ImapCommand.NOOP, now_ns=5)
    session.out.clear()
    assert session.feed(b"a3 BAD no idle today\r\n", 6)[0].status == b"BAD"
    assert session.out == [b"a4 NOOP\r\n"]


def test_without_pipelining_each_command_waits_for_the_answer_before_and_is_timed_from_when_it_goes_out():
    session = ImapSession(pipelining=False)
    session.feed(b"* PREAUTH [CAPABILITY IMAP4rev1 IDLE LITERAL+] x\r\n", 0)
    session.send(ImapCommand.SELECT, b"INBOX", now_ns=1)
    session.append(b"Drafts", b"x\r\n", now_ns=1)
    session.send(ImapCommand.LIST, b'""', b"*", now_ns=1)
    assert session.out == [b"a1 SELECT INBOX\r\n"]
    session.out.clear()
    session.feed(b"a1 OK x\r\n", 10)
    assert session.out == [b"a2 APPEND Drafts {3+}\r\nx\r\n\r\n"]
    session.out.clear()
    assert [event.elapsed_ns for event in session.feed(b"a2 OK x\r\n", 15) if isinstance(event, Done)] == [5]
    assert session.out == [b'a3 LIST "" *\r\n']
    session.feed(b"a3 OK x\r\n", 16)
    session.idle(20)
    session.feed(b"+ idling\r\n", 21)
    session.end_idle()
    session.send(ImapCommand.NOOP, now_ns=22)
    session.send(ImapCommand.NOOP, now_ns=22)
    assert session.out[-1] == b"DONE\r\n"
    session.feed(b"a4 OK x\r\n", 23)
    assert session.out[-1] == b"a5 NOOP\r\n"
    assert session.waiting == 2
    session.feed(b"a5 OK x\r\n", 30)
    assert session.out[-1] == b"a6 NOOP\r\n"
    assert session.waiting_since_ns == 30


def test_a_literal_is_asked_for_where_the_server_wants_that():
    session = selected(b"* OK [CAPABILITY IMAP4rev1] x\r\n")
    session.append(b"Sent", b"A: b\r\n\r\nhi\r\n", b"\\Seen", now_ns=5)
    session.send(ImapCommand.NOOP, now_ns=5)
    assert session.out == [b"a3 APPEND Sent (\\Seen) {12}\r\n"]
    session.out.clear()
    session.feed(b"* 4 EXISTS\r\n+ go\r\n", 6)
    assert session.out == [b"A: b\r\n\r\nhi\r\n\r\n", b"a4 NOOP\r\n"]


def test_a_literal_goes_unasked_where_the_server_takes_it():
    session = selected()
    session.append(b"Sent", b"hi\r\n", now_ns=5)
    assert session.out == [b"a3 APPEND Sent {4+}\r\nhi\r\n\r\n"]
    small = selected(b"* OK [CAPABILITY IMAP4rev2] x\r\n")
    small.append(b"Sent", b"x" * 5000, now_ns=5)
    assert small.out == [b"a3 APPEND Sent {5000}\r\n"]


def test_a_literal_that_is_refused_is_not_sent():
    session = selected(b"* OK [CAPABILITY IMAP4rev1] x\r\n")
    session.append(b"Sent", b"hi\r\n", now_ns=5)
    session.out.clear()
    (done,) = session.feed(b"a3 NO [TRYCREATE] none\r\n", 6)
    assert done.code == (b"TRYCREATE", b"")
    assert session.out == []


def test_authenticate_with_and_without_an_initial_response():
    session = ImapSession()
    session.feed(GREETING, 0)
    session.authenticate("PLAIN", b"\0u\0p", lambda _: b"", now_ns=1)
    assert session.out == [b"a1 AUTHENTICATE PLAIN " + b64encode(b"\0u\0p") + b"\r\n"]
    late = ImapSession()
    late.feed(b"* OK [CAPABILITY IMAP4rev1] x\r\n", 0)
    late.authenticate("PLAIN", b"\0u\0p", lambda _: b"", now_ns=1)
    assert late.out == [b"a1 AUTHENTICATE PLAIN\r\n"]
    late.out.clear()
    late.feed(b"+ \r\n", 2)
    assert late.out == [b64encode(b"\0u\0p") + b"\r\n"]
    late.feed(b"a1 OK in\r\n", 3)
    assert late.state is ImapState.AUTHENTICATED


def test_bye_at_any_moment_ends_the_session():
    session = selected()
    session.send(ImapCommand.NOOP, now_ns=5)
    assert session.feed(b"* BYE [UNAVAILABLE] shutting down\r\na3 OK late\r\n", 6) == [
        Goodbye((b"UNAVAILABLE", b""), b"shutting down")
    ]
    assert session.state is ImapState.CLOSED


def test_logout_has_its_bye_and_its_answer():
    session = selected()
    session.send(ImapCommand.LOGOUT, now_ns=5)
    said, done = session.feed(b"* BYE so long\r\na3 OK gone\r\n", 7)
    assert isinstance(said, Said)
    assert (done.command, done.ok, session.state) == (ImapCommand.LOGOUT, True, ImapState.CLOSED)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (b"* 9 EXPUNGE\r\n", "EXPUNGE of message 9 of 3"),
        (b"a9 OK what\r\n", "expected an answer to a command"),
        (b"+ more\r\n", "a continuation that nobody asked for"),
        (b"* 1 FETCH (UID 5\r\n", "a list that does not end"),
        (b"* 1 FETCH UID 5)\r\n", "a list that does not begin"),
        (b"* 1 FETCH " + b"(" * 200 + b"\r\n", "lists more than 100 deep"),
        (b"* 1 FETCH (X {3}\r\nabcdefg)\r\n", None),
        (b"* 1 FETCH (X {3}\r\nabc(defg)\r\n", "a list that does not end"),
        (b"x" * 1_000_000, f"response line over {MAX_LINE_OCTETS} octets"),
        (b"* 1 FETCH (UID 4 BODY[ x)\r\n", "no word of IMAP"),
        (b"\r\n", "expected a response"),
    ],
)
def test_what_is_no_imap_ends_the_session_with_a_sentence(words: bytes, text: str | None):
    session = selected()
    last = session.feed(words, 5)[-1]
    if text is None:
        assert isinstance(last, Untagged)
        return
    assert isinstance(last, ImapFault)
    assert text in last.text
    assert session.state is ImapState.CLOSED
    assert session.feed(b"* 1 EXISTS\r\n", 6) == []


def test_commands_that_may_not_be_said_are_our_bug():
    session = ImapSession()
    session.feed(b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\r\n", 0)
    with pytest.raises(LocalProtocolError, match="LOGINDISABLED"):
        session.send(ImapCommand.LOGIN, b"u", b"p", now_ns=0)
    with pytest.raises(LocalProtocolError, match="SELECT is not for a session in NOT_AUTHENTICATED"):
        session.send(ImapCommand.SELECT, b"INBOX", now_ns=0)
    with pytest.raises(LocalProtocolError, match="needs MOVE"):
        selected(b"* OK [CAPABILITY IMAP4rev1] x\r\n").send(ImapCommand.UID_MOVE, b"1", b"Spam", now_ns=0)


def test_what_came_behind_starttls_in_the_clear_is_not_believed():
    session = ImapSession()
    session.feed(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\n", 0)
    session.send(ImapCommand.STARTTLS, now_ns=0)
    assert isinstance(session.feed(b"a1 OK go\r\n* CAPABILITY IMAP4rev1\r\n", 0)[-1], ImapFault)


def test_strings_are_atoms_quoted_or_literals():
    assert string(b"INBOX") == b"INBOX"
    assert string(b"") == b'""'
    assert string(b"NIL") == b'"NIL"'
    assert string(b'a "b" \\') == b'"a \\"b\\" \\\\"'
    assert string(b"a\r\nb") == literal(b"a\r\nb") == b"{4}\r\na\r\nb"


def test_a_large_literal_is_passed_on_as_views_of_what_came():
    seen: list[memoryview] = []

    class Taker:
        def feed(self, octets: memoryview) -> None:
            seen.append(octets)

    reader = ResponseReader(lambda line: Taker())
    chunk = b"x" * 50_000
    reader.feed(b"* 1 FETCH (BODY[] {100000}\r\n")
    reader.feed(chunk)
    assert reader.literal_left == 50_000
    assert seen[0].obj is chunk
    assert len(reader.feed(chunk + b")\r\n")) == 1


DATA = st.lists(
    st.sampled_from(
        [
            b"* 5 EXISTS\r\n",
            b"* 1 RECENT\r\n",
            b"* OK [UIDNEXT 77] next\r\n",
            b"* 1 FETCH (UID 5 RFC822.SIZE 11 BODY[] {11}\r\nA: b\r\n\r\nx\r\n)\r\n",
            b"* 1 FETCH (BODY[HEADER.FIELDS (From)] {0}\r\n UID 9)\r\n",
            b'* LIST (\\HasNoChildren) "." {3}\r\na)b\r\n',
            b'* LIST () NIL "in \\"quotes\\""\r\n',
            b"* 1 FETCH (X ~{4+}\r\n\r\n}\r Y {2}\r\n\r\n)\r\n",
            b"* CAPABILITY IMAP4rev1 IDLE\r\n",
            b"* STATUS Spam (MESSAGES 3 UIDNEXT 4)\r\n",
            b'* ESEARCH (TAG "a3") UID ALL 4:5\r\n',
            b"* 5 EXISTS\r\n* 5 EXPUNGE\r\n",
        ]
    ),
    max_size=12,
)


def fed(octets: bytes, cuts: list[int], *, pipelining: bool = True) -> list[Event]:
    session = selected(pipelining=pipelining)
    session.send(ImapCommand.UID_FETCH, b"1:*", b"(BODY[])", now_ns=5)
    session.idle(5)
    events: list[Event] = []
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    for begin, end in pairwise(places):
        events += session.feed(octets[begin:end], 7)
    return events


@given(DATA, st.lists(st.integers(0, 10_000), max_size=30))
def test_any_chunking_gives_the_same_events(data, cuts):
    octets = b"".join(data) + b"a3 OK fetched\r\n+ idling\r\n"
    whole = fed(octets, [])
    assert isinstance(whole[-1], Idling)
    assert isinstance(whole[-2], Done)
    assert fed(octets, cuts) == whole
    assert fed(octets, list(range(len(octets)))) == whole


WORDS = st.lists(
    st.sampled_from(
        [
            b"* ", b"+ ", b"a3 ", b"a4 ", b"OK ", b"NO ", b"BYE ", b"[", b"]", b"CAPABILITY ", b"1 ", b"FETCH ", b"(",
            b")", b'"', b"\\", b"{3}\r\n", b"{99999999999999999999}\r\n", b"{0}\r\n", b"\r\n", b"\n", b"\r", b"EXPUNGE",
            b"EXISTS", b"UIDNEXT 5", b"STATUS ", b"NIL",
        ]
    )
    | st.binary(max_size=4),
    max_size=60,
)  # fmt: skip


@given(WORDS, st.lists(st.integers(0, 10_000), max_size=10), st.booleans())
def test_random_servers_neither_crash_it_nor_depend_on_chunks(words, cuts, pipelining):
    octets = b"".join(words)
    assert fed(octets, cuts, pipelining=pipelining) == fed(octets, [], pipelining=pipelining)


def test_an_answer_to_a_command_that_has_not_left_yet_is_nobodys():
    for answers in (b"a4 OK early\r\na3 OK fetched\r\n", b"a4 BAD early\r\n"):
        assert isinstance(fed(answers, [], pipelining=False)[-1], ImapFault)


@given(WORDS)
def test_a_random_greeting_is_a_greeting_or_a_fault(words):
    events = ImapSession().feed(b"".join(words), 0)
    assert all(isinstance(event, Done | ImapFault | Untagged | Said | Goodbye) for event in events)
