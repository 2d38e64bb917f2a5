"""What a reader or a sender must know of a message before it touches its octets.

Gives     Flag, as the index stores it
Not here  finding them out (mbox), provoking them (faults)
"""

from __future__ import annotations

import enum


class Flag(enum.IntFlag):
    """The flags of a message; they speak of its CRLF form unless they name the file."""

    LF_ONLY = 1  # its lines end in LF in the file
    LEADING_DOT = 2  # a line begins with ".": SMTP has to stuff it (RFC 5321 section 4.5.2)
    EIGHT_BIT = 4  # octets above 127 in the body: wants BODY=8BITMIME
    SMTPUTF8 = 8  # octets above 127 in the header: wants SMTPUTF8
    LONG_LINE = 16  # a line above 998 octets (RFC 5322 section 2.1.1)
    NUL = 32
    BARE_LF = 64  # an LF without CR
    FROM_LINE = 128  # a line of the body begins with "From "
    UNTERMINATED = 256  # the last line has no end in the file; in CRLF form it has
    BARE_CR = 512  # a CR without LF: whoever sends it has to make it CRLF (RFC 5321 section 2.3.8)
    ODD_HEADER = 1024  # a line of the header is neither a field nor goes on with one: servers may mend it
    CHECKSUMS_KNOWN = 1 << 31  # the checksums are filled in
