"""Faults that real mail has, put into a corpus on request only.

Gives     FAULTS: name → Fault (what it puts into a message); parse_fault for "leading-dot:0.03"
Refuses   an unknown name, a rate outside 0 to 1
Not here  which message gets one (blocks)

A rate is the share of messages. What real mail has: a leading dot in 2 to 6 % (21 % of newsletters), a line `From ` in
0.3 to 0.7 %, a line above 998 octets in 0.1 to 0.9 % (SpamAssassin corpus and linux-mips list;
docs/reference/corpora.md).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from mboxgen.flags import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping


class FaultError(ValueError):
    """A fault that is not known or a rate that is none."""


@dataclass(frozen=True, slots=True)
class MailFault:
    """One kind of fault: octets it puts before the text, and the flags its message then has."""

    name: str
    words: str
    body: bytes = b""
    flags: Flag = Flag(0)  # noqa: RUF009  (an enum member never changes)


_ALL = (
    MailFault("leading-dot", 'lines that begin with "."', b".\r\n..\r\n.hidden\r\n", Flag.LEADING_DOT),
    MailFault("from-line", 'a line that begins with "From "', b"From here on it is text\r\n", Flag.FROM_LINE),
    MailFault("long-line", "a line of 1,200 octets", b"long " * 240 + b"\r\n", Flag.LONG_LINE),
    MailFault("bare-lf", "a line that ends in LF without CR", b"this line ends in LF only\n", Flag.BARE_LF),
    MailFault("nul", "a NUL octet in the text", b"a NUL \0 here\r\n", Flag.NUL),
    MailFault("eight-bit", "octets above 127, none declared", b"undeclared \xe4\xf6\xfc\r\n", Flag.EIGHT_BIT),
    MailFault("missing-date", "no Date field"),
    MailFault("broken-mime", "a multipart whose boundary never comes"),
)
FAULTS: Mapping[str, MailFault] = MappingProxyType({fault.name: fault for fault in _ALL})


def parse_fault(text: str) -> tuple[str, float]:
    """Give name and rate of a text such as "leading-dot:0.03"; a name alone means every message."""
    name, colon, rate = text.strip().partition(":")
    if name not in FAULTS:
        near = difflib.get_close_matches(name, FAULTS, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"faults are {', '.join(FAULTS)}"
        raise FaultError(f'expected FAULT:RATE such as "leading-dot:0.03", got "{text}"; {hint}')
    try:
        share = float(rate) if colon else 1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise FaultError(f'a rate must be from 0 to 1, got "{text}"; try "{name}:0.03"')
    return name, share
