"""The message that is followed: in by every way, found again by IMAP and by POP3, whole; and out to our sink.

Takes     a server with a mailbox (`--deliver`) and an account that reads it; our sink outside for the way out
Gives     findings delivery.*, with how long each took
Whole     the body carries its own CRC-32 (as every message of ours, proof.trace_header), taken over CRLF line ends
"""

import secrets
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Final, NamedTuple
from zlib import crc32

from trafficgen.check import login, mailbox
from trafficgen.check.arrivals import Outside
from trafficgen.check.cases import finding, graded
from trafficgen.check.conversation import ConnectionEnded, TextConnection, joined
from trafficgen.check.service import IMAP_KINDS, POP3_KINDS, SMTP_KINDS, CheckedServer, Probe, ServiceKind, from_address
from trafficgen.check.trail import LogTrail
from trafficgen.logs.records import AttemptStatus
from trafficgen.proof import trace_header
from trafficgen.verdict.findings import Finding, Grade

_LOOK_S: Final = 0.25


class Followed(NamedTuple):
    """One message on its way. `began`: monotonic seconds."""

    way: ServiceKind
    mark: str
    sender: str
    began: float


def followed(probe: Probe, outside: Outside | None) -> Iterator[Finding]:
    """Send, then look for it until patience is over."""
    server = probe.server
    if server.mailbox is None:
        words = "no mailbox to deliver to is known (--deliver)"
        cases = ("delivery.submitted", "delivery.log", "delivery.imap", "delivery.pop3", "delivery.out")
        yield from (finding(probe, case, Grade.SKIPPED, words) for case in cases)
        return
    sent: list[Followed] = []
    trail = LogTrail(server.log) if server.log is not None else None
    for service in (service for service in SMTP_KINDS if service in server.ports):
        here = probe.at(service)
        since = len(probe.transcript)
        began = time.monotonic()
        mark = secrets.token_hex(8)
        good, answer = _submit(here, mark, server.mailbox)
        seconds = time.monotonic() - began
        yield graded(here, "delivery.submitted", good, f"{answer}, after {seconds * 1e3:.0f} ms", since)
        if good:
            sent.append(Followed(service, mark, _sender(here), began))
    yield from _logged(probe, trail, sent)
    yield from _found(probe, "delivery.imap", IMAP_KINDS, sent)
    yield from _found(probe, "delivery.pop3", POP3_KINDS, sent)
    yield _out(probe, outside)


def _submit(probe: Probe, mark: str, recipient: str) -> tuple[bool, str]:
    """Whether it was taken, and the last answer. Logs in where an account is known and the service is for users."""
    server = probe.server
    try:
        submits = probe.service is not ServiceKind.SMTP
        talk, _ = probe.protected_smtp() if submits else probe.smtp()
        with talk:
            sender = _sender(probe)
            if submits and server.login is not None:
                answer = login.plain(talk, server.login)
                if answer.code != login.LOGGED_IN:
                    return False, f"AUTH PLAIN: {answer.text}"
            # Each with what alone is success (RFC 5321 4.3.2): a stray 250 to DATA is no leave to send text.
            for line, right in (
                (f"MAIL FROM:<{sender}>", (250,)),
                (f"RCPT TO:<{recipient}>", (250, 251)),
                ("DATA", (354,)),
            ):
                answer = talk.command(line)
                if answer.code not in right:
                    return False, answer.text if not answer.good else f"{line.split(' ')[0]}: {answer.text}"
            talk.send(_message(mark, sender, recipient) + b".\r\n", f"(message {mark})")
            answer = talk.reply()
            return answer.code == 250, answer.text
    except ConnectionEnded as ended:
        return False, str(ended)


def _sender(probe: Probe) -> str:
    """The account's own where one is used."""
    server = probe.server
    own = server.mailbox if probe.service is not ServiceKind.SMTP and server.login is not None else None
    return own or from_address(server)


def _message(mark: str, sender: str, recipient: str) -> bytes:
    body = joined(["This message is followed through the server.", f"Its mark is {mark}.", "-" * 60])
    head = [
        f"Date: {formatdate()}", f"From: <{sender}>", f"To: <{recipient}>", f"Subject: check {mark}",
        f"Message-ID: <{mark}@{sender.partition('@')[2]}>",
    ]  # fmt: skip
    return trace_header.render(mark, 0, crc32(body)) + joined([*head, ""]) + body


def _whole(message: bytes, mark: str) -> bool:
    """Whether its body is as it was sent."""
    canonical = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head, _, body = canonical.partition(b"\r\n\r\n")
    at = head.find(trace_header.HEADER + mark.encode())
    begin = at + len(trace_header.HEADER)
    parsed = trace_header.parse(head[begin : begin + trace_header.VALUE_OCTETS]) if at >= 0 else None
    return parsed is not None and crc32(body) == parsed[2]


# -- looking for it -----------------------------------------------------------------------------------------


def _logged(probe: Probe, trail: LogTrail | None, sent: list[Followed]) -> Iterator[Finding]:
    """What the log says of each."""
    if trail is None or not sent:
        yield finding(probe, "delivery.log", Grade.SKIPPED, "no log is known (--log)" if sent else "nothing was sent")
        return
    for one in sent:
        here = probe.at(one.way)
        ids, attempts = trail.waits_for(_message_id(one), probe.server.patience_s)
        words = ", ".join(
            f"{attempt.queue_id.decode()} {attempt.status.name.lower()}"
            + (f" after {attempt.delay_s:g} s" if attempt.delay_s is not None else "")
            + f" {attempt.reply.decode('utf-8', 'replace')}"
            for attempt in attempts
        )
        if attempts:
            good = any(attempt.status is AttemptStatus.SENT for attempt in attempts)
            yield graded(here, "delivery.log", good, words, len(probe.transcript))
        elif ids:
            queue_ids = ", ".join(sorted(one.decode() for one in ids))
            words = f"{queue_ids}: no attempt within {probe.server.patience_s:g} s"
            yield finding(here, "delivery.log", Grade.FAIL, words, len(probe.transcript))
        else:  # it may be another log, or one that is not whole
            words = f'its Message-ID is not in "{trail.path}" after {probe.server.patience_s:g} s'
            yield finding(here, "delivery.log", Grade.INCONCLUSIVE, words, len(probe.transcript))
    trail.close()


def _message_id(one: Followed) -> bytes:
    return f"{one.mark}@{one.sender.partition('@')[2]}".encode()


def _found(probe: Probe, case: str, kinds: tuple[ServiceKind, ...], sent: list[Followed]) -> Iterator[Finding]:
    server = probe.server
    service = next((kind for kind in kinds if kind in server.ports), None)
    if service is None or server.login is None or not sent:
        words = "nothing was sent" if not sent else "no account is known" if service else "no such service"
        yield finding(probe, case, Grade.SKIPPED, words)
        return
    here = probe.at(service)
    for one in sent:
        since = len(probe.transcript)
        deadline = time.monotonic() + server.patience_s
        message = None
        while message is None and time.monotonic() < deadline:
            try:
                with mailbox.open_protected(here) as talk:
                    by_imap = kinds is IMAP_KINDS
                    message = (
                        _by_imap(talk, server, one.mark, deadline) if by_imap else _by_pop3(talk, server, one.mark)
                    )
            except ConnectionEnded as ended:
                yield finding(here, case, Grade.INCONCLUSIVE, f"sent by {one.way.value}: {ended}", since)
                break
        else:
            yield _graded(here, case, one, message, since)


def _graded(probe: Probe, case: str, one: Followed, message: bytes | None, since: int) -> Finding:
    if message is None:
        words = f"sent by {one.way.value}, not there within {probe.server.patience_s:g} s"
        return finding(probe, case, Grade.FAIL, words, since)
    whole = _whole(message, one.mark)
    words = (
        f"sent by {one.way.value}, seen after {time.monotonic() - one.began:.1f} s, {'whole' if whole else 'damaged'}"
    )
    return graded(probe, case, whole, words, since)


def _by_imap(talk: TextConnection, server: CheckedServer, mark: str, deadline: float) -> bytes | None:
    assert server.login is not None
    if not (answer := mailbox.imap_login(talk, server.login)).startswith("OK"):
        raise ConnectionEnded(answer)
    while time.monotonic() < deadline:
        mailbox.imap(talk, "EXAMINE INBOX")
        _, lines, _ = mailbox.imap(talk, f"UID SEARCH HEADER Subject {mark}")
        uids = [word for line in lines if line.startswith("* SEARCH") for word in line.split(" ")[2:] if word]
        if uids:
            literals = mailbox.imap(talk, f"UID FETCH {uids[-1]} BODY.PEEK[]")[2]
            return literals[0] if literals else None
        time.sleep(_LOOK_S)
    return None


def _by_pop3(talk: TextConnection, server: CheckedServer, mark: str) -> bytes | None:
    """One session sees what was there when it began: the newest messages first."""
    assert server.login is not None
    if not (answer := mailbox.pop3_login(talk, server.login)).startswith("+OK"):
        raise ConnectionEnded(answer)
    count = int(mailbox.ask(talk, "STAT").split(" ")[1])
    for number in range(count, max(count - 50, 0), -1):
        if mailbox.ask(talk, f"TOP {number} 0").startswith("+OK") and f"check {mark}" in "\n".join(mailbox.rest(talk)):
            mailbox.ask(talk, f"RETR {number}")
            message = joined(mailbox.rest(talk))
            mailbox.ask(talk, "QUIT")
            return message
    mailbox.ask(talk, "QUIT")
    time.sleep(_LOOK_S)
    return None


def _out(probe: Probe, outside: Outside | None) -> Finding:
    """A user's message to outside, through the service that users have."""
    server = probe.server
    service = next((kind for kind in (ServiceKind.SUBMISSION, ServiceKind.SMTPS) if kind in server.ports), None)
    if outside is None or service is None or server.login is None:
        words = "needs our sink outside (--prove), submission or smtps, and an account"
        return finding(probe, "delivery.out", Grade.SKIPPED, words)
    here, since, began = probe.at(service), len(probe.transcript), time.monotonic()
    mark = secrets.token_hex(8)
    taken, answer = _submit(here, mark, f"out@{server.foreign}")
    if not taken:
        return finding(here, "delivery.out", Grade.FAIL, answer, since)
    message = outside.waits_for([mark], server.patience_s).get(mark)
    if message is None:
        words = f"nothing came out within {server.patience_s:g} s"
        return finding(here, "delivery.out", Grade.FAIL, words, since)
    words = f"came out after {time.monotonic() - began:.1f} s"
    return graded(here, "delivery.out", _whole(message, mark), words, since)
