"""What a server must speak beyond RFC 5321: each extension answers as its RFC says, judge or no judge."""

import base64
import re
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sink.policy.sessions import Conversation, policy_of
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.dots import DotReader, find_end, stuff
from trafficgen.protocol.smtp.policy_hooks import Suspension
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import parse

ENVELOPE = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"


def test_ehlo_lists_what_is_offered_and_not_what_is_hidden() -> None:
    lines = Conversation(None, Capabilities(auth=True, max_octets=5)).say(b"EHLO x\r\n").split(b"\r\n")
    for word in (b"PIPELINING", b"SIZE 5", b"8BITMIME", b"SMTPUTF8", b"DSN", b"CHUNKING", b"ENHANCEDSTATUSCODES"):
        assert any(line[4:] == word for line in lines)
    assert b"250-AUTH PLAIN LOGIN XOAUTH2 CRAM-MD5" in lines
    assert not any(b"STARTTLS" in line for line in lines)
    hidden = Conversation(None, Capabilities(hidden=frozenset({"PIPELINING", "CHUNKING"}))).say(b"EHLO x\r\n")
    assert b"PIPELINING" not in hidden
    assert b"CHUNKING" not in hidden


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"MAIL FROM:<a@a.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159", 250),
        (b"MAIL FROM:<>", 250),
        (b"MAIL FROM:<@relay.test:a@a.test>", 250),
        ("MAIL FROM:<jörg@a.test> SMTPUTF8".encode(), 250),
        ("MAIL FROM:<jörg@a.test>".encode(), 553),
        (b"MAIL FROM:<j\xf6rg@a.test> SMTPUTF8", 501),
        (b"MAIL FROM:<a@a.test> BODY=BINARYMIME MT-PRIORITY=-9 BY=+120;RT", 250),
        (b"MAIL FROM:<a@a.test> MT-PRIORITY=0 BY=-5;n", 250),
        (b"MAIL FROM:<a@a.test> MT-PRIORITY=10", 555),
        (b"MAIL FROM:<a@a.test> MT-PRIORITY=-0", 555),
        (b"MAIL FROM:<a@a.test> BY=0;R", 555),
        (b"MAIL FROM:<a@a.test> BY=-5;R", 555),
        (b"MAIL FROM:<a@a.test> BY=1234567890;N", 555),
        (b"MAIL FROM:<a@a.test> BY=5", 555),
        (b"MAIL FROM:<a@a.test> REQUIRETLS", 555),
        (b"MAIL FROM:<a@a.test> SIZE=many", 555),
        (b"MAIL FROM:<" + b"a" * 600 + b"@a.test>", 501),
        (b"MAIL TO:<a@a.test>", 501),
    ],
)
def test_parameters_of_mail(line: bytes, code: int) -> None:
    assert Conversation(None).codes(line + b"\r\n") == [code]


@pytest.mark.parametrize(
    ("keyword", "parameter"),
    [
        ("SIZE", b"SIZE=1"), ("8BITMIME", b"BODY=8BITMIME"), ("BINARYMIME", b"BODY=BINARYMIME"), ("DSN", b"RET=FULL"),
        ("CHUNKING", b"BODY=BINARYMIME"), ("SMTPUTF8", b"SMTPUTF8"), ("MT-PRIORITY", b"MT-PRIORITY=1"),
        ("DELIVERBY", b"BY=1;N"),
    ],
)  # fmt: skip
def test_a_parameter_is_known_as_far_as_its_extension_is_offered(keyword: str, parameter: bytes) -> None:
    line = b"MAIL FROM:<a@a.test> " + parameter + b"\r\n"
    assert Conversation(None).codes(line) == [250]
    assert Conversation(None, Capabilities(hidden=frozenset({keyword}))).codes(line) == [555]


def test_tls_on_the_whole_way_is_offered_in_protected_sessions_only() -> None:
    talk = Conversation(None, Capabilities(starttls=True))
    assert b"REQUIRETLS" not in talk.say(b"EHLO x\r\n")
    talk.codes(b"STARTTLS\r\n")
    talk.session.secured()
    assert b"REQUIRETLS" in talk.say(b"EHLO x\r\n")
    assert talk.codes(b"MAIL FROM:<a@a.test> REQUIRETLS\r\n") == [250]


@pytest.mark.parametrize("together", [True, False])
def test_a_binary_message_comes_in_chunks_only(together: bool) -> None:
    talk = Conversation(None)
    lines = [b"MAIL FROM:<a@a.test> BODY=BINARYMIME\r\n", b"RCPT TO:<b@b.test>\r\n", b"DATA\r\n"]
    assert talk.codes(*([b"".join(lines)] if together else lines)) == [250, 250, 503]
    assert talk.codes(b"BDAT 3 LAST\r\n\0\r\n") == [250]
    assert talk.bag.messages == [(b"\0\r\n", 1)]


@pytest.mark.parametrize("together", [True, False])
def test_an_address_beyond_ascii_needs_smtputf8_also_as_recipient(together: bool) -> None:
    talk = Conversation(None)
    lines = [b"MAIL FROM:<a@a.test>\r\n", "RCPT TO:<jörg@a.test>\r\n".encode(), b"RSET\r\n"]
    lines += [b"MAIL FROM:<a@a.test> smtputf8\r\n", "RCPT TO:<jörg@bücher.test>\r\n".encode()]
    assert talk.codes(*([b"".join(lines)] if together else lines)) == [250, 553, 250, 250, 250]


def test_parameters_of_rcpt() -> None:
    talk = Conversation(None)
    assert talk.codes(
        b"MAIL FROM:<a@a.test>\r\n"
        b"RCPT TO:<b@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@b.test\r\n"
        b"RCPT TO:<b@b.test> NOTIFY=NEVER,DELAY\r\n"
    ) == [250, 250, 555]


chunks = st.lists(st.binary(max_size=40), min_size=1, max_size=6)
sizes = st.lists(st.integers(1, 50), min_size=1, max_size=8)


def in_pieces(octets: bytes, sizes: list[int]) -> list[bytes]:
    pieces, size = [], cycle(sizes)
    while octets:
        step = next(size)
        pieces.append(octets[:step])
        octets = octets[step:]
    return pieces


@given(chunks, sizes, st.booleans())
def test_chunks_and_data_carry_the_same_message_in_any_pieces(
    parts: list[bytes], sizes: list[int], judged: bool
) -> None:
    message = b"".join(parts).replace(b"\r", b"").replace(b"\n", b"\r\n") + b"end\r\n"
    bounds = [len(part) for part in parts]
    by_chunk, rest = b"", message
    for bound in bounds:
        by_chunk += b"BDAT %d\r\n" % len(rest[:bound]) + rest[:bound]
        rest = rest[bound:]
    by_chunk += b"BDAT %d LAST\r\n" % len(rest) + rest
    policy = policy_of('[domain."other"]\nbounce = 1') if judged else None
    chunked, plain = Conversation(policy), Conversation(policy)
    codes = chunked.codes(*in_pieces(ENVELOPE + by_chunk + b"NOOP\r\n", sizes))
    assert codes == [250, 250, *[250] * len(bounds), 250, 250]
    assert plain.codes(*in_pieces(ENVELOPE + b"DATA\r\n" + stuff(message) + b".\r\nNOOP\r\n", sizes)) == [
        250, 250, 354, 250, 250,
    ]  # fmt: skip
    assert chunked.bag.messages == plain.bag.messages == [(message, 1)]


def test_a_chunk_without_a_recipient_is_swallowed() -> None:
    talk = Conversation(None)
    assert talk.codes(b"MAIL FROM:<a@a.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n") == [250, 503, 250]
    assert talk.bag.messages == []


def test_data_does_not_mix_with_chunks_and_rset_drops_them() -> None:
    talk = Conversation(None)
    assert talk.codes(ENVELOPE + b"BDAT 3\r\nabcDATA\r\nRCPT TO:<c@c.test>\r\nRSET\r\nNOOP\r\n") == [
        250, 250, 250, 503, 503, 250, 250,
    ]  # fmt: skip
    assert talk.send(b"u@d.test")[-1] == 250
    assert talk.bag.messages == [(b"Subject: x\r\n\r\nhello\r\n", 1)]


def test_a_chunk_of_unknown_size_ends_the_session() -> None:
    talk = Conversation(None)
    assert talk.codes(ENVELOPE + b"BDAT lots\r\nQUIT\r\n") == [250, 250, 501]
    assert talk.session.closed


def test_what_is_pipelined_before_tls_is_thrown_away() -> None:
    talk = Conversation(None, Capabilities(starttls=True))
    assert talk.codes(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<injected@a.test>\r\n") == [250, 220]
    assert talk.session.suspension is Suspension.START_TLS
    talk.session.secured()
    assert talk.codes(b"RCPT TO:<b@b.test>\r\n") == [503]
    assert b"STARTTLS" not in talk.say(b"EHLO x\r\n")
    assert talk.codes(b"STARTTLS\r\n") == [503]


def test_what_is_pipelined_behind_quit_is_thrown_away() -> None:
    talk = Conversation(None)
    assert talk.codes(b"QUIT\r\nMAIL FROM:<a@a.test>\r\n", b"NOOP\r\n") == [221]


PLAIN = base64.b64encode(b"\0user\0secret")


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([b"AUTH PLAIN " + PLAIN], [235]),
        ([b"AUTH PLAIN", PLAIN], [334, 235]),
        ([b"AUTH LOGIN", b"dXNlcg==", b"c2VjcmV0"], [334, 334, 235]),
        ([b"AUTH LOGIN dXNlcg==", b"c2VjcmV0"], [334, 235]),
        ([b"AUTH XOAUTH2 " + base64.b64encode(b"user=u\1auth=Bearer t\1\1")], [235]),
        ([b"AUTH PLAIN", b"*", b"NOOP"], [334, 501, 250]),
        ([b"AUTH PLAIN ?"], [501]),
        ([b"AUTH PLAIN dXNlcg=="], [501]),
        ([b"AUTH SCRAM-SHA-256"], [504]),
        ([b"AUTH DIGEST-MD5"], [504]),
        ([b"AUTH"], [504]),
        ([b"AUTH PLAIN " + PLAIN, b"AUTH PLAIN " + PLAIN], [235, 503]),
    ],
)
def test_auth(lines: list[bytes], codes: list[int]) -> None:
    for pieces in ([b"".join(line + b"\r\n" for line in lines)], [line + b"\r\n" for line in lines]):
        assert Conversation(None, Capabilities(auth=True)).codes(*pieces) == codes


def test_mail_waits_for_auth_or_tls_where_they_are_required() -> None:
    talk = Conversation(None, Capabilities(auth=True, require_auth=True))
    assert talk.codes(b"MAIL FROM:<a@a.test>\r\nAUTH PLAIN " + PLAIN + b"\r\nMAIL FROM:<a@a.test>\r\n") == [
        530,
        235,
        250,
    ]
    talk = Conversation(None, Capabilities(starttls=True, require_tls=True))
    assert talk.codes(b"MAIL FROM:<a@a.test>\r\n") == [530]


def test_lmtp_waits_and_then_does_what_was_decided_before_the_wait() -> None:
    delay = parse(FaultKind.DELAY, "dot:1ms")
    at_once, later = (
        Conversation(policy_of("[default]\ndefer = 50\n", faults=faults), Capabilities(lmtp=True))
        for faults in ((), (delay,))
    )
    for talk in (at_once, later):
        talk.say(b"LHLO me\r\n")
    decided = [at_once.send(b"a@b.test", b"c@d.test")[-2:] for _ in range(50)]
    assert [later.send(b"a@b.test", b"c@d.test")[-2:] for _ in range(50)] == decided
    assert {tuple(codes) for codes in decided} == {(250, 250), (250, 451), (451, 250), (451, 451)}
    assert later.bag.messages == at_once.bag.messages
    assert len(later.waited_ns) == 50


def test_lmtp_answers_once_for_each_recipient() -> None:
    policy = policy_of('[domain."full.test"]\nbounce = 100')
    talk = Conversation(policy, Capabilities(lmtp=True))
    assert talk.codes(b"EHLO x\r\nLHLO x\r\n") == [500, 250]
    assert talk.send(b"a@b.test", b"a@full.test", b"c@b.test")[-3:] == [250, 550, 250]
    assert talk.bag.messages == [(b"Subject: x\r\n\r\nhello\r\n", 2)]
    assert Conversation(None, Capabilities(lmtp=True)).send(b"a@b.test", b"c@b.test")[-2:] == [250, 250]


tricky = st.lists(
    st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a", b"\n.\n", b"\r.\r\n", b".\n", b"\r\n."]), max_size=30
)


@given(tricky, sizes)
def test_smuggling_is_counted_the_same_in_any_pieces(parts: list[bytes], sizes: list[int]) -> None:
    octets = b"x" + b"".join(parts)
    while b"\r\n.\r\n" in octets:  # the real end comes last
        octets = octets.replace(b"\r\n.\r\n", b"\r\n..\r\n")
    octets += b"end\r\n"
    reader = DotReader()
    for piece in in_pieces(octets + b".\r\n", sizes):
        reader.feed(piece)
    alone = re.findall(rb"(?<=[\r\n])\.[\r\n]", octets)
    assert reader.smuggled == len(alone)
    assert find_end(octets + b".\r\n") == (len(octets) - 2, len(alone))


@pytest.mark.parametrize("sequence", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r"])
def test_every_way_to_smuggle_is_seen(sequence: bytes) -> None:
    assert find_end(b"a" + sequence + b"b\r\n.\r\n")[1] == 1


def test_honest_dots_are_not_counted() -> None:
    octets = stuff(b"one.\r\n.two\r\n.\r\n..\r\na. b.c\r\n")
    assert find_end(octets + b".\r\n") == (len(octets) - 2, 0)


said = st.lists(
    st.sampled_from(
        [
            b"EHLO x\r\n", ENVELOPE, b"DATA\r\n", b"x\r\n.\r\n", b"BDAT 5\r\n", b"BDAT 3 LAST\r\n", b"abc", b"abcde",
            b"AUTH PLAIN\r\n", b"AUTH LOGIN dXNlcg==\r\n", b"c2VjcmV0\r\n", b"*\r\n", b"STARTTLS\r\n", b"RSET\r\n",
            b"XCLIENT ADDR=192.0.2.77\r\n", b"XFORWARD ADDR=192.0.2.77\r\n",
            b"QUIT\r\n", b"\x00\xff\r\n", b".\r\n", b"NOOP\r\n", b"LHLO x\r\n",
            b"MAIL FROM:<a@a.test> SIZE=999999\r\n",
        ]
    ),
    max_size=25,
)  # fmt: skip


@given(said, sizes, st.sampled_from(["", "[default]\nbounce = 30\ndefer = 30\nstage = 'rcpt'\ndelay = '1s'"]))
def test_anything_in_any_pieces_is_answered_the_same(said: list[bytes], sizes: list[int], table: str) -> None:
    capabilities = Capabilities(auth=True, starttls=True, xclient=True, xforward=True)

    def talk(pieces: list[bytes]) -> tuple[bytes, list[tuple[bytes, int]], bool]:
        conversation = Conversation(policy_of(table) if table else None, capabilities)
        replies = conversation.say(*pieces)
        return replies, conversation.bag.messages, conversation.session.closed

    octets = b"".join(said).partition(b"STARTTLS")[0]  # behind it, pieces decide what is thrown away
    assert talk(in_pieces(octets, sizes)) == talk([octets] if octets else [])
