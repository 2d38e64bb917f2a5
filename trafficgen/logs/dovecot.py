"""What Dovecot says in its log.

Takes     the text from the name of the service on: `imap-login: Info: Login: …` of its own log file, or
          `imap-login: Login: …` as syslog has it
Gives     a record, or None for a text that is not understood
Fails     never
Sources   doc.dovecot.org: login_log_format_elements, imap_logout_format, pop3_logout_format, deliver_log_format, the
          plugin mail_log; lines recorded from Dovecot 2.3.19 and 2.4.1 (tests/logs/lines), which says `Logged in` for
          `Login` and `Login aborted` for `Aborted login`. Operators can set these formats: fields that are not known
          are passed over, missing ones are empty
Not here  the head of the line (lines)
"""

import re
from typing import Final

from trafficgen.logs.records import Discarded, LoggedIn, LoggedOut, LoginFailed, Noted, Record, Saved

_SERVICE: Final = re.compile(
    rb"([A-Za-z0-9_-]+)(?:\(([^)]*)\))?(?:<(\d+)>)?(?:<([^>]*)>)?: "
    rb"(?:(Debug|Info|Warning|Error|Fatal|Panic): )?(.*)",
    re.DOTALL,
).fullmatch
_FIELD: Final = re.compile(rb"([a-z]+)=(<[^>]*>|[^,]*)")
_OCTETS: Final = re.compile(rb"\b(in|out)=(\d+)")
_POP3_OCTETS: Final = re.compile(rb"\b(?:retr|top)=\d+/(\d+)")
_SAVED: Final = re.compile(
    rb"(?:sieve: )?msgid=<?(.*?)>?: (?:saved mail to|stored mail into mailbox) '?(.*?)'?", re.DOTALL
)
_DISCARDED: Final = re.compile(
    rb"(?:sieve: )?msgid=<?(.*?)>?: (?:discarded|marked message to be discarded).*", re.DOTALL
)
_LOGINS: Final = {
    b"imap-login": b"imap",
    b"pop3-login": b"pop3",
    b"managesieve-login": b"sieve",
    b"submission-login": b"submission",
}
_SESSIONS: Final = {b"imap", b"pop3", b"managesieve", b"submission", b"imap-hibernate"}
_DELIVERIES: Final = {b"lmtp", b"lda", b"indexer-worker"}
_OTHERS: Final = {
    b"master", b"auth", b"auth-worker", b"anvil", b"config", b"stats", b"log", b"indexer", b"dict", b"doveadm",
    b"replicator", b"aggregator", b"ssl-params", b"ipc", b"director", b"imap-urlauth", b"dovecot", b"old-stats",
}  # fmt: skip

_WARNING: Final = Noted("warning")
_SERVER: Final = Noted("service")
_DELIVERY_SESSION: Final = Noted("LMTP session")
_MAIL_LOG: Final = Noted("mail_log")
_NO_LOGIN: Final = Noted("connection without a login")
_MAIL_LOG_LINE: Final = re.compile(
    rb"(?:Mailbox .+?: )?(?:save|copy from|delete|undelete|expunge|flag_change|append|mailbox_create)[ :]"
    rb"|Mailbox (?:created|deleted|renamed): "
).match


def parse(text: bytes) -> Record | None:
    """A line of any of its services."""
    found = _SERVICE(text)
    if found is None:
        return None
    service, user, _, session, level, rest = found.groups()
    service = service.lower()  # Dovecot 1 and 2.0 wrote IMAP(user) and POP3(user)
    if level not in (None, b"Info"):
        return _WARNING if service in _KNOWN else None
    if service in _LOGINS:
        return _login(_LOGINS[service], rest)
    if service in _SESSIONS:
        return _session(service, user or b"", session or b"", rest)
    if service in _DELIVERIES:
        return _delivery(user or b"", session or b"", rest)
    return _SERVER if service in _OTHERS else None


_KNOWN: Final = _LOGINS.keys() | _SESSIONS | _DELIVERIES | _OTHERS


def _login(protocol: bytes, text: bytes) -> Record | None:
    words, _, _ = text.partition(b": user=")
    fields = {name: value.strip(b"<>") for name, value in _FIELD.findall(text)}
    user, method, host = (fields.get(name, b"") for name in (b"user", b"method", b"rip"))
    if words in (b"Login", b"Logged in"):
        encrypted = b", TLS" in text
        return LoggedIn(protocol, user, method, host, fields.get(b"session", b""), encrypted)
    if words.startswith((b"Disconnected", b"Aborted login", b"Login aborted", b"Maximum number of connections")):
        if b"auth failed" in words or b"Maximum number" in words or b"Inactivity during authentication" in words:
            return LoginFailed(protocol, user, method, host, _reason(words))
        return _NO_LOGIN
    return _NO_LOGIN if text.startswith((b"Timeout", b"proxy", b"Internal", b"TLS")) else None


def _reason(words: bytes) -> bytes:
    """In a few words, without the numbers that differ from one line to the next."""
    inner = words[words.find(b"(") + 1 :].partition(b",")[0].rstrip(b")") if b"(" in words else words
    return re.sub(rb" ?\d+ ?", b" ", inner).strip()


def _session(service: bytes, user: bytes, session: bytes, text: bytes) -> Record | None:
    protocol = {b"managesieve": b"sieve", b"imap-hibernate": b"imap"}.get(service, service)
    if text.startswith((b"Disconnected", b"Connection closed", b"Logged out", b"Server shutting down")):
        octets = {name: int(value) for name, value in _OCTETS.findall(text)}
        received, sent = octets.get(b"in", -1), octets.get(b"out", -1)
        if protocol == b"pop3" and (pieces := _POP3_OCTETS.findall(text)):
            sent = sum(map(int, pieces))
        return LoggedOut(protocol, user, session, _how_it_ended(text), received, sent)
    return _MAIL_LOG if _MAIL_LOG_LINE(text) else (_WARNING if user else None)


def _how_it_ended(text: bytes) -> bytes:
    for words in (b"Logged out", b"Connection closed", b"Inactivity", b"Server shutting down", b"Too many invalid"):
        if words in text:
            return words
    return b"Disconnected"


def _delivery(user: bytes, session: bytes, text: bytes) -> Record | None:
    if found := re.fullmatch(_SAVED, text):
        return Saved(user, session, found[1], found[2])
    if found := re.fullmatch(_DISCARDED, text):
        return Discarded(user, session, found[1])
    if _MAIL_LOG_LINE(text):
        return _MAIL_LOG
    if text.startswith(
        (b"Connect from ", b"Disconnect from ", b"Connection closed", b"Disconnected", b"Server shutting")
    ):
        return _DELIVERY_SESSION
    return _DELIVERY_SESSION if b"msgid=" in text else None
