"""The careful parser: any chunking, any octets, bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.protocol.smtp import replies as reading
from trafficgen.protocol.smtp.replies import MAX_LINE_OCTETS, MAX_LINES, Reply, ReplyReader

chunkings = st.lists(st.integers(1, 64), min_size=1, max_size=20)

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
replies = st.tuples(st.integers(200, 599), st.lists(texts, min_size=1, max_size=4))


def pieces(octets: bytes, sizes: list[int]) -> list[bytes]:
    found, turn = [], 0
    while octets:
        size = sizes[turn % len(sizes)]
        found.append(octets[:size])
        octets, turn = octets[size:], turn + 1
    return found


def wire(code: int, lines: list[str]) -> bytes:
    *before, last = lines
    return b"".join(b"%d-%s\r\n" % (code, line.encode()) for line in before) + b"%d %s\r\n" % (code, last.encode())


def read(*chunks: bytes) -> tuple[list[Reply], str | None]:
    reader = ReplyReader()
    found = [reply for chunk in chunks for reply in reader.feed(chunk)]
    return found, reader.fault


def test_a_reply_of_one_line() -> None:
    assert read(b"250 2.1.5 recipient ok\r\n") == ([Reply(250, "2.1.5", (b"recipient ok",))], None)


def test_lines_of_one_reply_are_one_reply() -> None:
    assert read(b"250-mail.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n") == (
        [Reply(250, "", (b"mail.test", b"PIPELINING", b"8BITMIME"))],
        None,
    )


def test_a_reply_may_be_a_code_alone() -> None:
    assert read(b"354\r\n") == ([Reply(354, "", (b"",))], None)


def test_a_bare_line_feed_ends_a_reply_too() -> None:
    assert read(b"220 hi\n250 ok\n") == ([Reply(220, "", (b"hi",)), Reply(250, "", (b"ok",))], None)


def test_an_enhanced_code_of_another_class_is_text() -> None:
    assert read(b"250 5.1.1 looks wrong\r\n")[0] == [Reply(250, "", (b"5.1.1 looks wrong",))]


def test_octets_outside_ascii_are_escaped_for_people() -> None:
    assert read(b"550 caf\xe9\r\n")[0][0].text == "caf\\xe9"


@pytest.mark.parametrize("line", [b"hello", b"25", b"25x ok", b"150 1xx is no SMTP", b"600 ok", b"250ok", b"", b"2 50"])
def test_what_is_no_reply_is_a_fault(line: bytes) -> None:
    found, fault = read(line + b"\r\n")
    assert found == []
    assert fault == f'expected a reply, got "{line.decode()}"'


def test_nothing_is_read_after_a_fault() -> None:
    assert read(b"250 ok\r\nnonsense\r\n250 ok\r\n", b"250 ok\r\n")[0] == [Reply(250, "", (b"ok",))]


def test_an_endless_line_is_a_fault_before_it_fills_memory() -> None:
    reader = ReplyReader()
    for _ in range(100):
        assert reader.feed(b"250 " + b"x" * 1000) == []
    assert reader.fault == "reply line over 2048 octets"
    assert reader.feed(b"\r\n250 ok\r\n") == []


def test_a_line_of_the_limit_is_read_in_one_piece_and_in_two() -> None:
    longest = b"250 " + b"x" * (MAX_LINE_OCTETS - 4)
    expected = ([Reply(250, "", (longest[4:],))], None)
    assert read(longest + b"\r\n") == expected
    assert read(longest + b"\r", b"\n") == expected
    assert read(longest, b"\r\n") == expected


def test_a_line_over_the_limit_is_the_same_fault_in_one_piece_and_in_two() -> None:
    too_long = b"250 " + b"x" * (MAX_LINE_OCTETS - 3)
    expected = ([], "reply line over 2048 octets")
    assert read(too_long + b"\r\n") == expected
    assert read(too_long, b"\r\n") == expected
    assert read(too_long + b"\r", b"\n") == expected


def test_an_endless_reply_is_a_fault() -> None:
    found, fault = read(b"250-again\r\n" * 1000)
    assert found == []
    assert fault == f"reply of over {MAX_LINES} lines"


@given(st.lists(replies, max_size=8), chunkings)
def test_any_chunking_gives_the_same_replies(said: list[tuple[int, list[str]]], sizes: list[int]) -> None:
    octets = b"".join(wire(code, lines) for code, lines in said)
    assert read(*pieces(octets, sizes)) == read(octets)
    assert [reply.code for reply in read(octets)[0]] == [code for code, _ in said]


@given(st.binary(max_size=6000), chunkings)
def test_any_octets_are_survived_within_bounds(octets: bytes, sizes: list[int]) -> None:
    reader = ReplyReader()
    found = []
    for piece in pieces(octets, sizes):
        found += reader.feed(piece)
        assert reader.fault or len(reader._rest) <= MAX_LINE_OCTETS + 1
        assert len(reader._lines) <= MAX_LINES
    assert all(200 <= reply.code <= 599 for reply in found)
    assert (found, reader.fault) == read(octets)


@pytest.mark.parametrize("second", [b"250 yes\r\n", b"250-yes\r\n", b"551 elsewhere\r\n"])
def test_lines_with_different_codes_are_no_reply(second: bytes) -> None:
    found, fault = read(b"550-no\r\n" + second)
    assert found == []
    assert fault == f"reply whose lines have different codes, 550 and {second[:3].decode()}"


def test_the_code_of_a_reply_is_known_before_its_end() -> None:
    reader = ReplyReader()
    for piece, begun in ((b"4", b"4"), (b"21-go", b"421"), (b"ing\r\n", b"421"), (b"421 gone\r\n2", b"2")):
        reader.feed(piece)
        assert reader.begun == begun


@pytest.mark.parametrize(("octets", "remembered"), [(reading.MAX_REMEMBERED, 1), (reading.MAX_REMEMBERED + 1, 0)])
def test_replies_of_the_limit_are_remembered_and_longer_ones_read_anew(octets: int, remembered: int) -> None:
    reading._whole.cache_clear()
    said = b"250-x\r\n" * 40 + b"250 "
    said += b"x" * (octets - len(said) - 2) + b"\r\n"
    assert read(said)[0] == read(said)[0] == reading.ReplyReader()._parse(said)
    assert reading._whole.cache_info()[:2] == (remembered, remembered)
