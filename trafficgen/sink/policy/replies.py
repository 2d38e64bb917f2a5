"""A refusal's text on the wire.

Takes     a code and a text as response tables have them: several lines, sometimes with the code in them already
Gives     the octets of a reply, every line with its code
"""

import re
from typing import Final

_CODE_AGAIN: Final = re.compile(r"\A\s*[2-5][0-9]{2}(?:[ -]|$)")
MAX_TEXT: Final = 500
"""With the code and the line end about the 512 octets of RFC 5321 section 4.5.3.1.5."""


def render(code: int, text: str) -> bytes:
    """`code` before every line of `text`; a code that a line begins with is taken off (KumoMTA's table has some)."""
    lines = []
    for line in text.strip().splitlines() or [""]:
        plain = _CODE_AGAIN.sub("", line, count=1).strip()
        printable = "".join(c if c.isprintable() else " " for c in plain)
        lines.append(printable.encode("utf-8")[:MAX_TEXT])
    return b"".join(
        b"%d%b%b\r\n" % (code, b" " if number == len(lines) else b"-", line)
        for number, line in enumerate(lines, start=1)
    )
