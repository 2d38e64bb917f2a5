"""The JSON that requests to the API carry, read strictly.

Takes     octets; which keys an object may have
Gives     objects whose every key is known; of an injection of KumoMTA's what the ledger wants to know
Fails     ValueError that says what was expected and found; for a key that is not known, which one is meant
Not here  what is done with it (api)

Only the standard library: a large body is read by this file as a program of its own (`python json_body.py`), because
the parser would hold up every SMTP session of the sink for as long as it takes, and what it makes of 64 MiB may be
gigabytes.
"""

import json
import os
import resource
import sys
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, Final, NamedTuple
from zlib import crc32

MAX_MEMORY_OCTETS: Final = 768 << 20
"""A text of 64 MiB takes some 450 MiB at worst."""

_INJECTION: Final = (
    "envelope_sender", "recipients", "content", "substitutions",
    "deferred_spool", "deferred_generation", "trace_headers", "template_dialect",
)  # fmt: skip
"""https://docs.kumomta.com/reference/http/api_inject_v1/, of 2025.12."""

_TRACE: Final = b"\r\nX-Traffic-Gen: "
"""`trafficgen.proof.trace_header`, which a program of its own cannot import."""

_RECIPIENT: Final = ("email", "name", "substitutions")
_CONTENT: Final = (
    "text_body", "html_body", "amp_html_body", "attachments", "headers", "from", "subject", "reply_to",
)  # fmt: skip


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The object in a body. A key that is there twice is refused: one of the two would be lost."""
    try:
        value = json.loads(body, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("expected JSON that is not nested so deep") from None
    except _TwiceError:
        raise
    except ValueError as error:
        raise ValueError(f"expected JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict):
        raise ValueError("expected an object")  # noqa: TRY004  (a caller answers ValueError)
    return value


def check_keys(value: dict[str, Any], known: Collection[str], where: str) -> None:
    """Refuse a key that is not known, and name the nearest one that is."""
    for key in value:
        if key not in known:
            by_lower = {name.lower(): name for name in known}
            near = get_close_matches(key[:100].lower(), by_lower, n=1)
            meant = f"did you mean {by_lower[near[0]]}" if near else f"expected {', '.join(known)}"
            raise ValueError(f'no key "{key[:100]}" in {where}: {meant}; nothing was changed')


class Injected(NamedTuple):
    """An injection: its recipients and their `trace_header.digest`; of its content the octets, the value of the trace
    header ("": none) and the CRC-32 of what is behind the header block."""

    recipients: int
    digest: int
    octets: int
    trace: str
    body_crc32: int


def read_injection(body: bytes | bytearray) -> Injected:
    """What an injection holds. Content that is described by an object has no octets yet, and no trace header."""
    message = parse(body)
    check_keys(message, _INJECTION, "an injection")
    recipients, content = message.get("recipients"), message.get("content")
    if not isinstance(recipients, list) or not isinstance(content, str | dict):
        raise ValueError("expected content (a text or an object) and recipients (a list)")  # noqa: TRY004
    if isinstance(content, dict):
        check_keys(content, _CONTENT, "content")
    for recipient in recipients:
        if not isinstance(recipient, dict) or not isinstance(recipient.get("email"), str):
            raise ValueError('expected every recipient as {"email": "user@domain"}')  # noqa: TRY004
        check_keys(recipient, _RECIPIENT, "a recipient")
    digest = sum(crc32(recipient["email"].lower().encode("utf-8", "replace")) for recipient in recipients) & 0xFFFFFFFF
    if isinstance(content, dict):
        return Injected(len(recipients), digest, 0, "", 0)
    octets = content.encode("utf-8", "replace")
    end = octets.find(b"\r\n\r\n")
    head = octets[:end] if end >= 0 else octets
    text = memoryview(octets)[end + 4 if end >= 0 else len(octets) :]  # no copy: it may be 64 MiB
    line = (b"\r\n" + head).find(_TRACE)
    trace = head[line + len(_TRACE) - 2 :].partition(b"\r\n")[0].decode("ascii", "replace") if line >= 0 else ""
    return Injected(len(recipients), digest, len(octets), trace, crc32(text))


class _TwiceError(ValueError):
    """A key is there twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise _TwiceError(f'expected the key "{key[:100]}" once')
        value[key] = item
    return value


def main() -> None:
    """A body on stdin; a line on stdout: what is in it as a JSON list, or what is wrong."""
    os.nice(10)  # mail comes first
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_OCTETS, MAX_MEMORY_OCTETS))
    try:
        line, code = json.dumps(read_injection(sys.stdin.buffer.read())), 0
    except ValueError as error:
        line, code = str(error), 1
    except MemoryError:
        line, code = "expected fewer values: they do not fit into 768 MiB", 1
    sys.stdout.buffer.write(line.encode("utf-8", "replace"))
    sys.exit(code)


if __name__ == "__main__":
    main()
