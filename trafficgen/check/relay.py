"""Open relay, and messages smuggled in behind another.

Takes     a probe of an SMTP service; for proof our sink outside, and for smuggling a mailbox of the server's
Gives     findings relay.*, smuggling.*
Never     sends DATA unless proof or delivery was asked for. RCPT alone cannot tell: a server may take t%F@[IP] for a
          user of its own
"""

import ipaddress
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from trafficgen.check import login
from trafficgen.check.arrivals import Outside
from trafficgen.check.cases import finding
from trafficgen.check.conversation import ConnectionEnded, SmtpReply, TextConnection, joined
from trafficgen.check.service import CheckedServer, CheckLogin, Probe, from_address
from trafficgen.plan import TcpTarget
from trafficgen.verdict.findings import Finding, Grade

_A_SESSION: Final = 8
"""Postfix ends a session at its 20th error (smtpd_hard_error_limit)."""

_SILENT_S: Final = 1.2
_GLANCE_S: Final = 0.01

_ENDS: Final = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CRLF": b"\r.\r\n",
    "CR.CR": b"\r.\r",
    "CRLF.CR": b"\r\n.\r",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "CRLF.NUL.CRLF": b"\r\n.\0\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
}
"""What is not CRLF . CRLF, and some servers take for it."""


def envelopes(server: CheckedServer) -> list[tuple[str, str]]:
    """Senders and recipients by which relays were open: F is foreign, L the server's name, IP its address."""
    foreign, name, local = server.foreign, server.name, (server.mailbox or "user@localhost").partition("@")[2]
    address = server.route.addresses[0]
    literal = f"[{address.host}]" if isinstance(address, TcpTarget) else "[127.0.0.1]"
    sender, user = from_address(server), f"relay-{secrets.token_hex(3)}"
    outside = f"{user}@{foreign}"
    if _is_address(name):
        name = local
    return [
        (sender, outside), ("", outside), (f"check@{name}", outside), (f"check@{local}", outside),
        (f"check@{literal}", outside), (sender, f"{user}%{foreign}@{literal}"), (sender, f"{user}%{foreign}@{name}"),
        (sender, f'"{outside}"'), (sender, f'"{user}%{foreign}"'), (sender, f"{outside}@{literal}"),
        (sender, f'"{outside}"@{literal}'), (sender, f"{outside}@{name}"), (sender, f"@{literal}:{outside}"),
        (sender, f"@{name}:{outside}"), (sender, f"@{name},@{local}:{outside}"), (sender, f"{foreign}!{user}"),
        (sender, f"{foreign}!{user}@{literal}"), (sender, f"{foreign}!{user}@{name}"),
        (sender, f'"{foreign}!{user}"@{name}'), (sender, f"{user}%{foreign}"),
        (sender, f"{user}@{foreign.upper()}"), (sender, f"{user}@{foreign}."),
    ]  # fmt: skip


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def relay(probe: Probe, outside: Outside | None) -> Iterator[Finding]:
    """Every envelope; what was taken is sent, where there is somebody to see it come out."""
    taken: list[tuple[str, str]] = []
    unclear: list[str] = []
    pairs = envelopes(probe.server)
    for first in range(0, len(pairs), _A_SESSION):
        talk, _ = probe.smtp()
        with talk:
            for sender, recipient in pairs[first : first + _A_SESSION]:
                answer = _rcpt(talk, sender, recipient)
                if answer.good:
                    taken.append((sender, recipient))
                elif not _refuses_relaying(answer):
                    unclear.append(answer.text)
                talk.command("RSET")
    yield _judged(probe, "relay.envelopes", taken, unclear, len(pairs), outside)


def after_bad_login(probe: Probe, outside: Outside | None) -> Iterator[Finding]:
    """A wrong password must not open what none would not."""
    talk, offered = probe.protected_smtp()
    with talk:
        if " AUTH" not in offered.text.replace("-", " ").replace("250", ""):
            return
        login.plain(talk, CheckLogin(f"nobody-{secrets.token_hex(4)}", secrets.token_hex(8)))
        pair = envelopes(probe.server)[0]
        answer = _rcpt(talk, *pair)
        taken = [pair] if answer.good else []
        unclear = [] if answer.good or _refuses_relaying(answer) else [answer.text]
        yield _judged(probe, "relay.after-bad-login", taken, unclear, 1, outside)


def _rcpt(talk: TextConnection, sender: str, recipient: str) -> SmtpReply:
    """The answer to the envelope: MAIL's where that is refused."""
    answer = talk.command(f"MAIL FROM:<{sender}>")
    return talk.command(f"RCPT TO:<{recipient}>") if answer.good else answer


def _refuses_relaying(answer: SmtpReply) -> bool:
    """Whether it is the refusal that is wished. Another one, such as an unknown domain, proves nothing."""
    text = answer.text.lower()
    words = (
        "5.7.1",
        "5.7.0",
        "relay",
        "authenticat",
        "not permitted",
        "denied",
        "5.1.1",
        "5.1.2",
        "5.1.3",
        "5.5.2",
        "5.5.4",
    )
    return 500 <= answer.code < 600 and any(word in text for word in words)  # fmt: skip


def _judged(
    probe: Probe,
    case: str,
    taken: list[tuple[str, str]],
    unclear: list[str],
    tried: int,
    outside: Outside | None,
) -> Finding:
    if not taken:
        if unclear:
            words = f"{len(unclear)} of {tried} refused for another reason: {unclear[0]}"
            return finding(probe, case, Grade.INCONCLUSIVE, words)
        return finding(probe, case, Grade.PASS, f"all {tried} refused")
    shown = "; ".join(f"<{sender}> to <{recipient}>" for sender, recipient in taken[:3])
    if outside is None:
        words = f"{len(taken)} of {tried} accepted at RCPT ({shown}); whether mail comes out is not known (--prove)"
        return finding(probe, case, Grade.INCONCLUSIVE, words)
    marks = {mark: pair for pair in taken if (mark := _sent(probe, pair)) is not None}
    came = [marks[mark] for mark in outside.waits_for(marks, probe.server.patience_s)]
    if came:
        sender, recipient = came[0]
        words = f"{len(came)} of {tried} came out at {outside.address}: <{sender}> to <{recipient}>"
        return finding(probe, case, Grade.FAIL, words)
    words = f"{len(taken)} of {tried} accepted at RCPT ({shown}); none came out within {probe.server.patience_s:g} s"
    return finding(probe, case, Grade.INCONCLUSIVE, words)


def _sent(probe: Probe, pair: tuple[str, str]) -> str | None:
    """The mark of a message that was taken with this envelope; None when it was not."""
    mark = f"relay-{secrets.token_hex(8)}"
    try:
        talk, _ = probe.smtp()
        with talk:
            if not _rcpt(talk, *pair).good or talk.command("DATA").code != 354:
                return None
            talk.send(joined([f"Subject: {mark}", "", "Is this server an open relay?"]) + b".\r\n", "(message)")
            return mark if talk.reply().good else None
    except ConnectionEnded:
        return None


# -- smuggling --------------------------------------------------------------------------------------------


def smuggling(probe: Probe) -> Iterator[Finding]:
    """After each sequence NOOP: two replies tell that the message had ended there (RFC 5321 4.1.1.4)."""
    case, mailbox = "smuggling.end-of-data", probe.server.mailbox
    if mailbox is None:
        yield finding(probe, case, Grade.SKIPPED, "needs a mailbox of the server's to write to (--deliver)")
        return
    ended, unclear = [], []
    with ExitStack() as open_sessions:
        waiting: dict[str, TextConnection] = {}
        for name, sequence in _ENDS.items():
            try:
                waiting[name] = open_sessions.enter_context(_with_sequence(probe, mailbox, name, sequence))
            except ConnectionEnded as over:
                unclear.append(f"{name}: {over}")
        deadline = time.monotonic() + _SILENT_S
        for name, talk in waiting.items():
            try:
                if _ended(talk, deadline):
                    ended.append(name)
            except ConnectionEnded as over:
                unclear.append(f"{name}: {over}")
    if ended:
        yield finding(probe, case, Grade.FAIL, f"{', '.join(ended)} end a message too")
    elif len(unclear) == len(_ENDS):
        yield finding(probe, case, Grade.INCONCLUSIVE, unclear[0])
    else:
        words = f"none of {len(_ENDS) - len(unclear)} others ends one"
        yield finding(probe, case, Grade.PASS, "; ".join([words, *unclear]))


def _with_sequence(probe: Probe, mailbox: str, name: str, sequence: bytes) -> TextConnection:
    """A session in the middle of a message, with this sequence and NOOP sent."""
    with ExitStack() as undo:
        talk = undo.enter_context(probe.smtp()[0])
        answer = _rcpt(talk, from_address(probe.server), mailbox)
        if not answer.good or (answer := talk.command("DATA")).code != 354:
            raise ConnectionEnded(answer.text)
        head = joined([f"Subject: end of data: {name}", "", "text"])[:-2]
        talk.send(head + sequence + b"NOOP\r\n", f"(message, {name}, NOOP)")
        undo.pop_all()
    return talk


def _ended(talk: TextConnection, deadline: float) -> bool:
    """Whether the message ended at its sequence: then both it and NOOP are answered."""
    if talk.silent_for(max(deadline - time.monotonic(), _GLANCE_S)):
        talk.send(b"\r\n.\r\n", "(the right end)")
        talk.reply()
        return False
    # 550 5.5.2 bare <LF> received: refused, which is as good.
    return talk.reply().good and not talk.silent_for(_SILENT_S)
