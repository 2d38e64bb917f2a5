"""What KumoMTA's kumod writes: one JSON object a line.

Takes     such a line
Gives     when, in nanoseconds since 1970, and a record; None for a line that is not understood
Fails     never
Source    docs.kumomta.com, "Log Record"
Not here  unpacking its zstd segments (files)

The join needs `headers = { 'X-Traffic-Gen', 'Message-ID' }` in configure_local_logs. `timestamp` and `created` are
whole seconds; newer versions have `event_time` and `created_time` with fractions.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from trafficgen.clock import NS_PER_S
from trafficgen.logs.records import Attempt, AttemptStatus, Expired, Finished, MessageReceived, Noted, Record, Rejected


class _Response(msgspec.Struct):
    code: int = 0
    content: str = ""
    enhanced_code: dict[str, Any] | None = None


class _Peer(msgspec.Struct):
    addr: str = ""


class _LogRecord(msgspec.Struct):
    """The fields that are looked at."""

    type: str
    id: str = ""
    recipient: str | list[str] = ""
    timestamp: float | str = 0
    created: float | str = 0
    event_time: float | str | None = None
    created_time: float | str | None = None
    response: _Response | None = None
    peer_address: _Peer | None = None
    headers: dict[str, Any] = {}


_DECODE: Final = msgspec.json.Decoder(_LogRecord).decode
_STATUSES: Final = {
    "Delivery": AttemptStatus.SENT,
    "TransientFailure": AttemptStatus.DEFERRED,
    "Bounce": AttemptStatus.BOUNCED,
}
_ENDS: Final = ("Expiration", "AdminBounce")
_OTHERS: Final = ("OOB", "Feedback", "Delay", "DeferredInjectionRebind", "AdminRebind", "XferOut", "XferIn", "Deferral")


def parse(line: bytes) -> tuple[int, tuple[Record, ...]] | None:
    """One line, which may say more than one thing: a delivered message has also left the queue."""
    try:
        entry = _DECODE(line)
        at_ns = _ns(entry.event_time if entry.event_time is not None else entry.timestamp)
    except (msgspec.DecodeError, ValueError, OverflowError):
        return None
    queue_id = entry.id.encode()
    if entry.type == "Reception":
        peer = entry.peer_address.addr.encode() if entry.peer_address else b""
        header = {name.lower(): _text(value) for name, value in entry.headers.items()}
        message_id = header.get("message-id", b"").strip().strip(b"<>")
        return at_ns, (MessageReceived(queue_id, message_id, header.get("x-traffic-gen", b"").strip(), peer),)
    if entry.type in _STATUSES:
        return at_ns, _attempts(entry, queue_id, at_ns)
    if entry.type in _ENDS:
        return at_ns, (Expired(queue_id), Finished(queue_id))
    if entry.type == "Rejection":
        return at_ns, (Rejected(b"", b"%d" % entry.response.code if entry.response else b""),)
    return (at_ns, (Noted(entry.type),)) if entry.type in _OTHERS else None


def _attempts(entry: _LogRecord, queue_id: bytes, at_ns: int) -> tuple[Record, ...]:
    recipients = entry.recipient if isinstance(entry.recipient, list) else [entry.recipient]
    created = entry.created_time if entry.created_time is not None else entry.created
    status, response = _STATUSES[entry.type], entry.response or _Response()
    parts = response.enhanced_code or {}
    code = ".".join(str(parts.get(name, 0)) for name in ("class", "subject", "detail")).encode() if parts else b""
    delay_s = (at_ns - _ns(created)) / NS_PER_S if created else None
    reply = f"{response.code} {response.content}".encode()
    records: list[Record] = [
        Attempt(queue_id, recipient.encode(), status, delay_s, None, code, reply) for recipient in recipients
    ]
    return (*records, Finished(queue_id)) if status is not AttemptStatus.DEFERRED else tuple(records)


def _ns(stamp: float | str) -> int:
    if isinstance(stamp, str):
        return int(datetime.fromisoformat(stamp).timestamp() * 1e6) * 1000
    return int(stamp * 1e6) * 1000


def _text(value: object) -> bytes:
    """A header's value; one that occurs more than once is a list."""
    return str(value[0] if isinstance(value, list) and value else value).encode()
