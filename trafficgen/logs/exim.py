"""What Exim says in its main log.

Takes     the text behind the time stamp: `1xWmGA-0001Im-1F <= s@out.test …`
Gives     a record, or None for a text that is not understood
Fails     never
Sources   the Exim specification, chapter "Log files"; lines recorded from Exim 4.96 (tests/logs/lines)
Not here  the time stamp (lines)

A message id is three base-62 numbers, of 6-6-2 digits, since Exim 4.97 of 6-11-4. Exim says how long a delivery took
(DT=, with log_selector +deliver_time) and the whole time in the queue (QT=), but not where the time went.
"""

import re
from typing import Final

from trafficgen.logs.records import (
    Attempt,
    AttemptStatus,
    Finished,
    LoginFailed,
    MessageReceived,
    Noted,
    Record,
    Rejected,
)

_ID: Final = re.compile(rb"([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) (.*)", re.DOTALL).fullmatch
_PID: Final = re.compile(rb"\[\d+\] ").match
_MESSAGE_ID: Final = re.compile(rb" id=(\S+)").search
_HOST: Final = re.compile(rb" H=[^\[]*\[([^\]]*)\]").search
_REPLY: Final = re.compile(rb' C="(.*?)"(?= |$)', re.DOTALL).search
_REJECT: Final = re.compile(
    rb" rejected (?:(?:EHLO or HELO|[A-Z]+)(?: command)?|after DATA|during SMTP connect)"
).search
_CODE: Final = re.compile(rb"\b([45]\d\d)[ -](?:([245]\.\d+\.\d+) )?").search
_STATUSES: Final = {
    b"=>": AttemptStatus.SENT,
    b"->": AttemptStatus.SENT,
    b">>": AttemptStatus.SENT,
    b"**": AttemptStatus.BOUNCED,
    b"==": AttemptStatus.DEFERRED,
}

_NOTE: Final = Noted("about a message")
_SERVICE: Final = Noted("service")
_CONNECTION: Final = Noted("connection")
_GENERAL: Final = (
    b"Start queue run", b"End queue run", b"exim ", b"Warning: ", b"pid ", b"daemon ", b"cwd=", b"log ", b"TLS error",
    b"SIGHUP received", b"Failed to ", b"Cannot open ",
)  # fmt: skip


def parse(text: bytes) -> Record | None:
    """A line of the main log."""
    if pid := _PID(text):  # log_selector +pid
        text = text[pid.end() :]
    found = _ID(text)
    if found is None:
        return _general(text)
    queue_id, rest = found.groups()
    mark, _, words = rest.partition(b" ")
    if mark == b"<=":
        message_id, host = _MESSAGE_ID(words), _HOST(words)
        return MessageReceived(queue_id, message_id[1] if message_id else b"", b"", host[1] if host else b"")
    if mark in _STATUSES:
        return _attempt(queue_id, _STATUSES[mark], words)
    if rest == b"Completed" or rest.startswith(b"Completed "):
        return Finished(queue_id)
    if _REJECT(b" " + rest):
        return Rejected(_stage(rest), b"")
    return _NOTE


def _attempt(queue_id: bytes, status: AttemptStatus, words: bytes) -> Attempt:
    recipient, _, rest = words.partition(b" ")
    reply = _REPLY(b" " + rest)
    text = reply[1] if reply else rest
    code = _CODE(text)
    return Attempt(queue_id, recipient.rstrip(b":").strip(b"<>"), status, None, None, (code and code[2]) or b"", text)


def _general(text: bytes) -> Record | None:
    if _REJECT(b" " + text):
        return Rejected(_stage(text), b"")
    if b" authenticator failed for " in text:
        host, user = _HOST(b" H=" + text.partition(b" for ")[2]), re.search(rb"set_id=([^)\s]+)", text)
        method = text.partition(b" ")[0]
        return LoginFailed(
            b"smtp", user[1] if user else b"", method, host[1] if host else b"", b"authentication failed"
        )
    if text.startswith(
        (b"H=", b"SMTP ", b"no host name found ", b"no IP address found ", b"TLS ", b"unexpected disconnection")
    ):
        return _CONNECTION
    return _SERVICE if text.startswith(_GENERAL) else None


def _stage(text: bytes) -> bytes:
    return (b" " + text).partition(b" rejected ")[2].partition(b" <")[0].partition(b":")[0][:40]
