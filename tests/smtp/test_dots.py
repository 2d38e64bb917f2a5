"""The end of data: found in any chunking, undone exactly, and never smuggled in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.protocol.smtp.dots import END_OF_DATA, DotReader, find_end, stuff, unstuff

tricky = st.lists(
    st.sampled_from([b".", b"..", b"\r", b"\n", b"\r\n", b"a", b"\r\n.", b"\n.\n", b"\r.\r"]), max_size=30
)
chunkings = st.lists(st.integers(1, 9), min_size=1, max_size=20)


def read(octets: bytes, sizes: list[int]) -> tuple[bytes, bytes | None]:
    """The message and what follows it, read in pieces of these sizes."""
    reader, message, turn = DotReader(), b"", 0
    while octets:
        size = sizes[turn % len(sizes)]
        pieces, rest = reader.feed(octets[:size])
        octets, turn = octets[size:], turn + 1
        message += b"".join(pieces)
        if rest is not None:
            return message[2:], rest + octets
    return message[2:], None


def canonical(parts: list[bytes]) -> bytes:
    """Octets that end in CRLF and hold no bare CR or LF: what a sender of ours builds."""
    text = b"".join(parts).replace(b"\r", b"").replace(b"\n", b"\r\n")
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


@given(tricky, chunkings)
def test_any_message_comes_back_as_it_was_in_any_chunking(parts: list[bytes], sizes: list[int]) -> None:
    message = canonical(parts)
    assert unstuff(stuff(message)) == message
    assert read(stuff(message) + b".\r\n", sizes) == (message, b"")


@given(tricky, tricky, chunkings)
def test_what_follows_the_end_is_not_touched(parts: list[bytes], after: list[bytes], sizes: list[int]) -> None:
    message, rest = canonical(parts), b"".join(after)
    assert read(stuff(message) + b".\r\n" + rest, sizes) == (message, rest)


@given(tricky, chunkings)
def test_any_octets_give_the_same_message_in_any_chunking(parts: list[bytes], sizes: list[int]) -> None:
    octets = b"".join(parts)
    whole = DotReader()
    pieces, rest = whole.feed(octets) if octets else ([b"\r\n"], None)
    if rest is None:  # only what is certain is given out, so the two may hold back differently; end it to compare
        octets += END_OF_DATA
        pieces, rest = DotReader().feed(octets)
    assert read(octets, sizes) == (b"".join(pieces)[2:], rest)


@given(tricky, chunkings)
def test_only_a_dot_between_two_crlf_ends_a_message(parts: list[bytes], sizes: list[int]) -> None:
    octets = b"".join(parts)
    _, rest = read(octets, sizes)
    assert (rest is not None) == (END_OF_DATA in b"\r\n" + octets)


@pytest.mark.parametrize(
    "smuggled", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\r\n", b"\r\n\0.\r\n"]
)
def test_a_bare_line_end_around_a_dot_ends_nothing(smuggled: bytes) -> None:
    attack = b"first" + smuggled + b"MAIL FROM:<evil@a.test>\r\n"
    for size in range(1, len(attack) + 1):
        message, rest = read(attack + END_OF_DATA, [size])
        assert rest == b""
        assert b"MAIL FROM:<evil@a.test>" in message


def test_a_bare_line_feed_before_the_first_dot_hides_no_dot_behind_it() -> None:
    assert stuff(b"\n.a\r\n.b\r\n") == b"\n.a\r\n..b\r\n"
    assert unstuff(b"\n.a\r\n..b\r\n") == b"\n.a\r\n.b\r\n"


def test_data_may_begin_with_its_end() -> None:
    for size in (1, 2, 3):
        assert read(b".\r\nQUIT\r\n", [size]) == (b"", b"QUIT\r\n")


def test_at_most_four_octets_are_held_back() -> None:
    reader = DotReader()
    for piece in (b"abc\r", b"\n", b".", b"\r", b"x", b"\r\n.", b"."):
        reader.feed(piece)
        assert len(reader._held) <= 4


@pytest.mark.parametrize(("behind", "found"), [(0, True), (2_043, True), (2_044, False)])
def test_the_end_of_a_large_piece_is_looked_for_near_its_end(behind: int, found: bool) -> None:
    assert find_end(b"a\n.\nb") == (-1, 0)
    message = b"a\r\n.stuffed\r\n" + b"x" * 20_000
    assert find_end(message + END_OF_DATA + b"y" * behind) == ((len(message), 0) if found else (-1, 0))


@pytest.mark.parametrize(
    ("message", "smuggled"),
    [
        (b"text", 0),
        (b"a\r\n.stuffed\r\nb\n.text", 0),
        (b"a\n.\nb", 1),
        (b"a\n.\r\nb\r\n.\nc\r\n.\rd", 3),
        (b"a\r.\rb\r.\nc\r.text", 2),
        (b"a\n.\nb\r.\rc\r.\r\nd", 3),
    ],
)
def test_dots_alone_between_wrong_line_ends_are_counted(message: bytes, smuggled: int) -> None:
    octets = message + END_OF_DATA
    assert find_end(octets + b"QUIT\r\n") == (len(message), smuggled)
    reader = DotReader()
    reader.feed(octets)
    assert reader.smuggled == smuggled
