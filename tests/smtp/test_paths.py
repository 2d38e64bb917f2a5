"""Addresses and parameters of MAIL and RCPT: what RFC 5321 allows is read as it says, nothing is cut."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.test_server_session import Mailbag, codes, serve
from trafficgen.protocol.smtp.capabilities import read_mail, read_rcpt
from trafficgen.protocol.smtp.server import ServerSession

# -- the grammar, rule by rule ---------------------------------------------------------------------------


class NoMatch(Exception):  # noqa: N818  (it is an answer)
    """The text is not what the rule says."""


class Grammar:
    """A parser of RFC 5321 section 4.1.2 and 4.1.3 that reads from left to right, one method a rule."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0

    def skip(self, pattern: bytes) -> bytes:
        found = re.compile(pattern, re.IGNORECASE).match(self.text, self.at)
        if found is None:
            raise NoMatch
        self.at = found.end()
        return found[0]

    def peek(self) -> bytes:
        return self.text[self.at : self.at + 1]

    def command(self, keyword: bytes) -> tuple[bytes, bytes]:
        """Mailbox (b"" for the null path) and parameters."""
        self.skip(keyword)
        mailbox = self.path()
        parameters = self.text[self.at :]
        if parameters:
            self.skip(rb" ")
            self.parameter()
            while self.peek() == b" ":
                self.skip(rb" ")
                self.parameter()
        if self.at != len(self.text):
            raise NoMatch
        return mailbox, parameters

    def path(self) -> bytes:
        self.skip(rb"<")
        if self.peek() == b">":
            self.skip(rb">")
            return b""
        if self.peek() == b"@":
            self.at_domain()
            while self.peek() == b",":
                self.skip(rb",")
                self.at_domain()
            self.skip(rb":")
        mailbox = self.mailbox()
        self.skip(rb">")
        return mailbox

    def at_domain(self) -> None:
        self.skip(rb"@")
        self.domain()

    def mailbox(self) -> bytes:
        begin = self.at
        if self.peek() == b'"':
            self.skip(rb'"')
            while self.peek() != b'"':
                self.skip(rb"[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e]")
            self.skip(rb'"')
        else:
            self.atom()
            while self.peek() == b".":
                self.skip(rb"\.")
                self.atom()
        self.skip(rb"@")
        if self.peek() == b"[":
            self.skip(rb"\[[0-9a-z.:-]+\]")  # any address literal: what is in it decides nothing here
        else:
            self.domain()
        return self.text[begin : self.at]

    def atom(self) -> None:
        self.skip(rb"[a-z0-9!#$%&'*+/=?^_`{|}~-]+")

    def domain(self) -> None:
        self.skip(rb"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")

    def parameter(self) -> None:
        self.skip(rb"[a-z0-9][a-z0-9-]*(?:=[!-<>-~]+)?")


def by_grammar(keyword: bytes, text: bytes) -> tuple[bytes, bytes] | None:
    try:
        return Grammar(text).command(keyword)
    except NoMatch:
        return None


# -- paths as they are made, and worse -------------------------------------------------------------------

atoms = st.sampled_from([b"a", b"B.c", b"x+y", b"o'k", b"postmaster"])
quoted = st.lists(
    st.sampled_from([b"a", b">", b"<", b" ", b"@", b":", b"\\\\", b'\\"', b"\\>", b"> SIZE=9", b",", b".", b"]"]),
    max_size=5,
).map(lambda parts: b'"' + b"".join(parts) + b'"')
domains = st.sampled_from([b"d.test", b"other.example", b"[192.0.2.1]", b"[IPv6:2001:db8::1]", b"a-b.test"])
mailboxes = st.builds(lambda local, domain: local + b"@" + domain, atoms | quoted, domains)
routes = st.sampled_from([b"", b"", b"@a.test:", b"@a.test,@b.test:"])
parameters = st.lists(
    st.sampled_from(
        [b"SIZE=5", b"BODY=8BITMIME", b"SMTPUTF8", b"RET=HDRS", b"ENVID=q>q", b"AUTH=<>", b"size=99999999999999999999"]
    ),
    max_size=3,
    unique_by=lambda word: word.partition(b"=")[0].upper(),
).map(lambda words: b"".join(b" " + word for word in words))
valid = st.builds(lambda route, box, rest: b"FROM:<" + route + box + b">" + rest, routes, mailboxes, parameters)
odd = st.lists(
    st.sampled_from(
        [b"<", b">", b'"', b"\\", b"@", b":", b",", b" ", b"\t", b"\n", b"\r", b"\0", b"\x7f", b"\xc3\xa4", b"a",
         b"d.test", b"SIZE=1", b"=", b"]", b"["]
    ),
    max_size=12,
).map(lambda parts: b"FROM:" + b"".join(parts))  # fmt: skip
damaged = st.builds(
    lambda text, at, junk: text[: at % len(text)] + junk + text[at % len(text) :],
    valid,
    st.integers(5, 200),
    st.sampled_from([b">", b'"', b"<", b" ", b"\\", b"x", b"@", b"\n"]),
)


@given(valid)
def test_what_the_grammar_allows_is_read_as_it_says(text: bytes) -> None:
    expected = by_grammar(b"FROM:", text)
    assert expected is not None
    assert found(read_mail, b"MAIL " + text) == expected


@given(valid | odd | damaged)
def test_whatever_is_taken_is_all_that_was_said(text: bytes) -> None:
    taken = found(read_mail, b"MAIL " + text)
    if (expected := by_grammar(b"FROM:", text)) is not None:
        known = rb"( (SIZE=\d{1,20}|BODY=(7BIT|8BITMIME)|SMTPUTF8|RET=(FULL|HDRS)|ENVID=\S{1,100}|AUTH=\S+))*"
        names = [word.partition(b"=")[0] for word in expected[1].upper().split()]
        passes = re.fullmatch(known, expected[1], re.IGNORECASE) and len(set(names)) == len(names)
        assert taken == (expected if passes else None)
    elif taken is not None:
        address, rest = taken
        assert re.fullmatch(rb"FROM: *<(@[^:]+:)?", text.removesuffix(address + b">" + rest), re.DOTALL)
        assert rest == b"" or rest.startswith(b" ")
        assert not re.search(rb"[\x00-\x1f\x7f]", address)
        unquoted = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", address)
        assert not re.search(rb'[<>" \\]', unquoted)
        assert b'"' not in address.rpartition(b"@")[2]


@given(valid | odd | damaged)
def test_a_path_is_read_alike_in_one_piece_and_in_two(text: bytes) -> None:
    lines = [b"MAIL " + text + b"\r\n", b"RCPT TO:" + text.removeprefix(b"FROM:") + b"\r\n"]
    whole, split = ServerSession(Mailbag()), ServerSession(Mailbag())
    for line in lines:
        assert whole.feed(line) == split.feed(line[:3]) + split.feed(line[3:])
        assert (whole.sender, whole.recipients) == (split.sender, split.recipients)


def found(read: Callable[[bytes], tuple[bytes, int, bytes] | bytes], line: bytes) -> tuple[bytes, bytes] | None:
    result = read(line)
    return None if isinstance(result, bytes) else (result[0], result[-1])


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"<b@d.test>", b"b@d.test"),
        (b'<"c>d"@d.test>', b'"c>d"@d.test'),
        (
            b'<"x@other.example> ORCPT=rfc822;y@z.example"@d.test>',
            b'"x@other.example> ORCPT=rfc822;y@z.example"@d.test',
        ),
        (b'<@a.test:"x:y"@d.test>', b'"x:y"@d.test'),
        (b'<"\\""@d.test>', b'"\\""@d.test'),
        (b"<Postmaster>", b"Postmaster"),
        (b"<b@d.test>NOTIFY=NEVER", None),
        (b"<b@d.test>>", None),
        (b"<b@d.test>\tNOTIFY=NEVER", None),
        (b"<b@d.test> NOTIFY=NEVER NOTIFY=DELAY", None),
        (b"junk<b@d.test>", None),
        (b'<"b@d.test>', None),
        (b"<b c@d.test>", None),
        (b"<b\nc@d.test>", None),
        (b"<@d.test>", None),
        (b"<@a.test:>", None),
        (b"<b@" + b"d" * 256 + b">", None),
        (b"<" + b"b" * 600 + b"@d.test>", None),
    ],
)
def test_recipients(path: bytes, address: bytes | None) -> None:
    result = read_rcpt(b"RCPT TO:" + path)
    assert (None if isinstance(result, bytes) else result[0]) == address
    if isinstance(result, bytes):
        assert result.startswith(b"501 ")


def test_a_parameter_that_is_not_known_is_said() -> None:
    replies, _, _ = serve(b"MAIL FROM:<a@a.test> SIZE=5 X=1\r\nMAIL FROM:<a@a.test>SIZE=5\r\nMAIL FROM:<a@a.test> \r\n")
    assert codes(replies) == [555, 501, 250]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"DATAX", 500), (b"DATA x", 501), (b"RSETX", 500), (b"RSET x", 501), (b"RSET ", 250), (b"QUITX", 500),
        (b"QUIT x", 501), (b"MAILXFROM:<a@a.test>", 500), (b"NOOPX", 500), (b"NOOP x", 250), (b"EHLOx", 500),
        (b"BDAT 5x", 501), (b"BDAT\t5", 500), (b"STARTTLSX", 500),
    ],
)  # fmt: skip
def test_a_command_ends_where_its_name_ends(line: bytes, code: int) -> None:
    assert codes(serve(line + b"\r\n")[0]) == [code]
