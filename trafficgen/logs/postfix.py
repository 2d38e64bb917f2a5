"""What Postfix's programs say in the log.

Takes     the name of a program of Postfix and the text behind `tag[pid]: `
Gives     a record, or None for a text that is not understood
Fails     never
Sources   postconf(5), smtpd(8), cleanup(8), qmgr(8), bounce(8); lines recorded from Postfix 3.7.11 (tests/logs/lines)
Not here  the head of the line (lines)
"""

import re
from collections.abc import Callable
from typing import Final

from trafficgen.logs.records import (
    Attempt,
    AttemptStatus,
    Delays,
    Expired,
    Finished,
    Identified,
    LoginFailed,
    Marked,
    Noted,
    Queued,
    Record,
    Rejected,
    Requeued,
)

Parser = Callable[[bytes], Record | None]

_ATTEMPT: Final = re.compile(
    rb"([0-9A-Za-z]+): to=<(.*?)>, (?:orig_to=<.*?>, )?relay=.*?, (?:conn_use=\d+, )?delay=(\d+(?:\.\d+)?), "
    rb"delays=(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?), "
    rb"dsn=(\d\.\d+\.\d+), status=([a-z]+) ?(.*)",
    re.DOTALL,
).fullmatch
_REJECT: Final = re.compile(
    rb"(?:NOQUEUE|[0-9A-Za-z]+): (?:milter-)?reject: ([A-Z-]+(?: command)?) from \S+ ?(?:(\d{3})[ ;-])?", re.DOTALL
).match
_SASL: Final = re.compile(
    rb"warning: [^\[]*\[([^\]]*)\]: SASL (\S+) authentication failed: (.*?)(?:, sasl_username=(.*))?", re.DOTALL
).fullmatch
_QUEUE_ID: Final = re.compile(rb"([0-9A-Za-z]{6,}): ").match
_MARK: Final = b": info: header X-Traffic-Gen: "

_STATUSES: Final = {
    b"sent": AttemptStatus.SENT,
    b"deliverable": None,  # answers of verify(8) about addresses, not deliveries
    b"undeliverable": None,
    b"deferred": AttemptStatus.DEFERRED,
    b"bounced": AttemptStatus.BOUNCED,
    b"expired": AttemptStatus.BOUNCED,
}

_CONNECTION: Final = Noted("connection")
_LOST: Final = Noted("connection lost")
_WARNING: Final = Noted("warning")
_CLIENT: Final = Noted("client of a message")
_NOTICE: Final = Noted("bounce written")
_STATISTICS: Final = Noted("anvil statistics")
_HEADER: Final = Noted("header or body shown")
_PROBE: Final = Noted("address probe")
_SERVICE: Final = Noted("service")
_TLS: Final = Noted("TLS")
_POSTSCREEN: Final = Noted("postscreen")
_MILTER: Final = Noted("milter")

_SMTPD: Final = (
    (b"connect from ", _CONNECTION),
    (b"disconnect from ", _CONNECTION),
    (b"lost connection after ", _LOST),
    (b"timeout after ", _LOST),
    (b"too many errors after ", _LOST),
    (b"improper command pipelining after ", _LOST),
    (b"SSL_accept error from ", _TLS),
    (b"setting up TLS connection ", _TLS),
    (b"Anonymous TLS connection established ", _TLS),
    (b"Untrusted TLS connection established ", _TLS),
    (b"Trusted TLS connection established ", _TLS),
    (b"Verified TLS connection established ", _TLS),
    (b"proxy-accept: ", _CONNECTION),
    (b"CONNECT from ", _POSTSCREEN),
    (b"DISCONNECT ", _POSTSCREEN),
    (b"PASS ", _POSTSCREEN),
    (b"PREGREET ", _POSTSCREEN),
    (b"HANGUP ", _POSTSCREEN),
    (b"DNSBL ", _POSTSCREEN),
    (b"COMMAND ", _POSTSCREEN),
    (b"NON-SMTP COMMAND ", _POSTSCREEN),
    (b"BARE NEWLINE ", _POSTSCREEN),
    (b"DENYLISTED ", _POSTSCREEN),
    (b"ALLOWLISTED ", _POSTSCREEN),
    (b"BLACKLISTED ", _POSTSCREEN),
    (b"WHITELISTED ", _POSTSCREEN),
    (b"ALLOWLIST VETO ", _POSTSCREEN),
    (b"WHITELIST VETO ", _POSTSCREEN),
)
_ANYWHERE: Final = (
    (b"warning: ", _WARNING),
    (b"fatal: ", _WARNING),
    (b"error: ", _WARNING),
    (b"panic: ", _WARNING),
    (b"statistics: ", _STATISTICS),
    (b"table ", _SERVICE),
    (b"daemon started ", _SERVICE),
    (b"terminating on signal ", _SERVICE),
    (b"reload ", _SERVICE),
    (b"refreshing the Postfix mail system", _SERVICE),
    (b"starting the Postfix mail system", _SERVICE),
    (b"stopping the Postfix mail system", _SERVICE),
    (b"the Postfix mail system is ", _SERVICE),
    (b"waiting for the Postfix mail system ", _SERVICE),
    (b"stopped -- ", _SERVICE),
    (b"connect to ", _CONNECTION),
    (b"using backwards-compatible default setting ", _SERVICE),
)


def _noted(text: bytes) -> Record | None:
    for start, kind in _ANYWHERE:
        if text.startswith(start):
            return kind
    # A warning may name its message: "ID: warning: header …", "ID: host … refused to talk to me", "ID: lost …"
    if found := _QUEUE_ID(text):
        rest = text[found.end() :]
        if rest.startswith((b"warning: ", b"host ", b"lost connection with ", b"conversation with ", b"enabling PIX ")):
            return _WARNING
        if rest.startswith(
            (b"info: ", b"prepend: ", b"replace: ", b"discard: ", b"hold: ", b"redirect: ", b"filter: ")
        ):
            return _HEADER
        if rest.startswith((b"Server certificate ", b"Cannot start TLS: ", b"TLS ")):
            return _TLS
        if rest.startswith(b"milter-"):
            return _MILTER
    return None


def smtpd(text: bytes) -> Record | None:
    """smtpd(8) and postscreen(8), which receive."""
    for start, kind in _SMTPD:
        if text.startswith(start):
            return kind
    if b": client=" in text:
        return _CLIENT if _QUEUE_ID(text) else None
    if b"reject: " in text and (found := _REJECT(text)):
        return Rejected(found[1], found[2] or b"")
    if b": SASL " in text and (found := _SASL(text)):
        return LoginFailed(b"smtp", found[4] or b"", found[2], found[1], b"authentication failed")
    if text.startswith(b"NOQUEUE: "):
        return _HEADER
    return _noted(text)


def cleanup(text: bytes) -> Record | None:
    """cleanup(8), which writes the queue file: the Message-ID, and headers that header_checks shows."""
    queue_id, _, rest = text.partition(b": ")
    if queue_id.isalnum():
        if rest.startswith(b"message-id="):
            value = rest[11:]
            return Identified(queue_id, value[1:-1] if value[:1] == b"<" and value[-1:] == b">" else value)
        at = text.find(_MARK)
        if at == len(queue_id):
            value = text[at + len(_MARK) :]
            return Marked(queue_id, value[:38])
        if rest.startswith(b"resent-message-id="):
            return _HEADER
        if b"reject: " in rest and (found := _REJECT(text)):
            return Rejected(found[1], found[2] or b"")
    return _noted(text)


def qmgr(text: bytes) -> Record | None:
    """qmgr(8), which owns the queue."""
    queue_id, _, rest = text.partition(b": ")
    if queue_id.isalnum():
        if rest == b"removed":
            return Finished(queue_id)
        if rest.startswith(b"from=<"):
            if rest.endswith((b" (queue active)", b" (queue incoming)", b" (queue deferred)")):
                return Queued(queue_id)
            if b">, status=expired, " in rest or b">, status=force-expired, " in rest:
                return Expired(queue_id)
        if rest.startswith((b"skipped, still being delivered", b"to=<")):
            return delivery(text)
    return _noted(text)


def delivery(text: bytes) -> Record | None:
    """smtp(8), lmtp(8), local(8), virtual(8), pipe(8), error(8), discard(8): one line a recipient and attempt."""
    if found := _ATTEMPT(text):
        queue_id, recipient, delay, before, queued, connecting, sending, code, status, reply = found.groups()
        if status not in _STATUSES:
            return None
        if (became := _STATUSES[status]) is None:
            return _PROBE
        delays = Delays(float(before), float(queued), float(connecting), float(sending))
        return Attempt(queue_id, recipient, became, float(delay), delays, code, reply)
    for start, kind in _SMTPD:
        if kind is _TLS and text.startswith(start):
            return kind
    if text.endswith(b": skipped, still being delivered"):
        return _SERVICE
    return _noted(text)


def bounce(text: bytes) -> Record | None:
    """bounce(8), which writes to senders and postmasters."""
    return _NOTICE if b" notification: " in text and _QUEUE_ID(text) else _noted(text)


def pickup(text: bytes) -> Record | None:
    """pickup(8): mail of local users, and what was put into the queue again."""
    return _CLIENT if b": uid=" in text and _QUEUE_ID(text) else _noted(text)


def postsuper(text: bytes) -> Record | None:
    """postsuper(1), by which people handle queued mail."""
    queue_id, _, rest = text.partition(b": ")
    if queue_id.isalnum():
        if rest == b"requeued":
            return Requeued(queue_id)
        if rest == b"removed":
            return Finished(queue_id)
        if rest.startswith((b"placed on hold", b"released from hold", b"expired")):
            return _SERVICE
    return _SERVICE if text.startswith((b"Requeued: ", b"Deleted: ", b"Placed on hold: ")) else _noted(text)


PARSERS: Final[dict[bytes, Parser]] = {
    b"smtpd": smtpd,
    b"postscreen": smtpd,
    b"cleanup": cleanup,
    b"qmgr": qmgr,
    b"oqmgr": qmgr,
    **dict.fromkeys((b"smtp", b"lmtp", b"local", b"virtual", b"pipe", b"error", b"retry", b"discard"), delivery),
    b"bounce": bounce,
    b"defer": bounce,
    b"trace": bounce,
    b"pickup": pickup,
    b"postsuper": postsuper,
    **dict.fromkeys(
        (
            b"anvil", b"master", b"postfix-script", b"postlog", b"postlogd", b"postqueue", b"sendmail", b"tlsmgr",
            b"tlsproxy", b"trivial-rewrite", b"proxymap", b"scache", b"verify", b"flush", b"showq", b"dnsblog",
            b"postalias", b"postmap", b"postdrop", b"postmulti", b"spawn", b"qmqpd",
        ),
        _noted,
    ),
}  # fmt: skip
"""By the program's name, the last part of the tag."""
