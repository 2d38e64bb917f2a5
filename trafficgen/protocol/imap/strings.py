"""Strings as a client writes them: atoms, quoted strings and literals (RFC 9051 section 4, `astring` in section 9).

Gives     a word for `ImapSession.send` from any octets
"""

import re
from typing import Final

_ATOM: Final = re.compile(rb"[A-Za-z0-9_.@/:;,!#$&'*+=?^`|~<>-]+")
"""What needs no quotes, as it stands; a little narrower than the grammar."""


def string(text: bytes) -> bytes:
    """`text` as an atom, a quoted string or a literal, whichever the grammar allows first (RFC 9051, astring)."""
    if _ATOM.fullmatch(text) and text.upper() != b"NIL":
        return text
    if text.isascii() and not any(c in text for c in b"\r\n\0"):
        return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return literal(text)


def literal(octets: bytes) -> bytes:
    """`octets` as a literal, a word for `ImapSession.send`."""
    return b"{%d}\r\n%s" % (len(octets), octets)
