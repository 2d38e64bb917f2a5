"""PROXY headers: written and read back, in any pieces, beside the protocol's own examples."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.protocol.proxy import SIGNATURE, Malformed, header_v1, header_v2, read_header

PORTS = st.integers(0, 65535)
PAIRS = st.one_of(*(st.tuples(*[one.map(str)] * 2) for one in (st.ip_addresses(v=4), st.ip_addresses(v=6))))


@given(PAIRS, PORTS, PORTS, st.sampled_from([header_v1, header_v2]), st.binary(max_size=20))
def test_a_header_is_read_as_it_was_written_and_not_before_it_is_whole(pair, port, to, write, behind) -> None:
    header = write(pair[0], port, pair[1], to)
    assert read_header(header + behind) == (str(ipaddress.ip_address(pair[0])), len(header))
    for end in range(len(header)):
        assert read_header(header[:end]) is None


def test_headers_have_the_octets_that_the_protocol_shows() -> None:
    line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"  # section 2.1, the worst case of IPv4
    assert header_v1("255.255.255.255", 65535, "255.255.255.255", 65535) == line
    binary = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 127, 0, 0, 1, 0x9C, 0x40, 0, 25])
    assert header_v2("192.0.2.7", 40000, "127.0.0.1", 25) == binary


def test_a_header_may_leave_the_client_untold() -> None:
    assert read_header(b"PROXY UNKNOWN\r\nEHLO") == ("", 15)
    assert read_header(SIGNATURE + b"\x20\x00\x00\x00") == ("", 16)
    assert read_header(SIGNATURE + b"\x21\x11\x00\x0f" + bytes(15)) == ("0.0.0.0", 31)


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO me\r\n", b"PROXI", b"\r\n\r\nQ", b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP6 192.0.2.7 192.0.2.8 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 1 65536\r\n", b"PROXY " + b"x" * 120, SIGNATURE + b"\x31\x11\x00\x0c",
        SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
    ],
)  # fmt: skip
def test_what_begins_no_header_is_refused(octets: bytes) -> None:
    with pytest.raises(Malformed):
        read_header(octets)


@given(st.binary(max_size=140))
def test_any_octets_are_a_header_or_are_refused(octets: bytes) -> None:
    try:
        found = read_header(octets)
    except Malformed:
        return
    assert found is None or found[1] <= len(octets)
