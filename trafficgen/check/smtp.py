"""SMTP as it must be: greeting, EHLO, order, sizes, users, and clients that talk out of turn.

Takes     a probe of smtp, submission or smtps
Gives     findings smtp.*; a session each, which goes on as long as the server does
Never     sends DATA
"""

import secrets
from collections.abc import Iterator
from typing import Final

from mboxgen.counted import number_of
from trafficgen.check.cases import finding, graded
from trafficgen.check.conversation import ConnectionEnded, TextConnection, capabilities
from trafficgen.check.service import Probe, ServiceKind, anything_goes, from_address
from trafficgen.verdict.findings import Finding, Grade

_ERRORS: Final = 25


def session_rules(probe: Probe) -> Iterator[Finding]:
    """One session: what is said to a client that asks the usual questions, and some unusual ones."""
    with probe.secured() as talk:
        yield _greeting(probe, talk)
        since = len(probe.transcript)
        reply = probe.ehlo(talk)
        offered = capabilities(reply)
        trusted = sorted({"XCLIENT", "XFORWARD"} & set(offered))
        found = reply.text if reply.code != 250 else f"offers {', '.join(offered) or 'nothing'}"
        good = reply.code == 250 and {"PIPELINING", "SIZE"} <= set(offered) and not trusted
        yield graded(probe, "smtp.ehlo", good, found, since, Grade.FAIL if reply.code != 250 else Grade.WARN)
        if probe.service is ServiceKind.SUBMISSION and "STARTTLS" in offered:  # nothing else is answered before it
            talk.command("STARTTLS")
            talk.start_tls(anything_goes(), probe.server.name)
            offered = capabilities(talk.command(f"EHLO {probe.server.ehlo_name}"))
        yield from _syntax(probe, talk)
        yield from _users(probe, talk)
        yield _size(probe, talk, offered)


def _greeting(probe: Probe, talk: TextConnection) -> Finding:
    since = len(probe.transcript) - 1
    reply = talk.reply()
    name = reply.lines[0][4:].split(" ")[0]
    if reply.code != 220:
        return finding(probe, "smtp.greeting", Grade.FAIL, reply.text, since)
    versions = any(part[:1].isdigit() and "." in part for part in reply.text.split(" ")[2:])
    return graded(probe, "smtp.greeting", "." in name and not versions, reply.text, since, Grade.WARN)


def _syntax(probe: Probe, talk: TextConnection) -> Iterator[Finding]:
    for case, line, right in (
        ("smtp.ehlo.syntax", "EHLO", (501,)),
        ("smtp.unknown-command", "XYZZY", (500, 502)),
        ("smtp.order", f"RCPT TO:<{from_address(probe.server)}>", (503,)),
    ):
        since = len(probe.transcript)
        reply = talk.command(line)
        yield graded(probe, case, reply.code in right, f"{line.split(' ')[0]}: {reply.text}", since, Grade.WARN)


def _users(probe: Probe, talk: TextConnection) -> Iterator[Finding]:
    """What strangers can learn of the users, and whether the ones that must be there are."""
    since = len(probe.transcript)
    mailbox = probe.server.mailbox
    domain = mailbox.partition("@")[2] if mailbox else ""
    nobody = f"nobody-{secrets.token_hex(6)}"
    known, unknown = talk.command(f"VRFY {mailbox or 'postmaster'}"), talk.command(f"VRFY {nobody}")
    found = f"{known.text}; a user that does not exist: {unknown.text}"
    same = known.code == unknown.code
    yield graded(probe, "smtp.vrfy", same, found, since, Grade.WARN)
    since = len(probe.transcript)
    listed = talk.command("EXPN staff")
    yield graded(probe, "smtp.expn", not 250 <= listed.code < 252, listed.text, since)
    if probe.service is not ServiceKind.SMTP:  # whoever submits must log in first
        return
    since = len(probe.transcript)
    if not (started := talk.command(f"MAIL FROM:<{from_address(probe.server)}>")).good:
        yield finding(probe, "smtp.postmaster", Grade.INCONCLUSIVE, f"MAIL: {started.text}", since)
        yield finding(probe, "smtp.unknown-user", Grade.INCONCLUSIVE, f"MAIL: {started.text}", since)
        return
    reply = talk.command("RCPT TO:<postmaster>")
    refused = Grade.INCONCLUSIVE if 400 <= reply.code < 500 else Grade.FAIL
    yield graded(probe, "smtp.postmaster", reply.takes_recipient, reply.text, since, refused)
    since = len(probe.transcript)
    if not domain:
        yield finding(probe, "smtp.unknown-user", Grade.SKIPPED, "no domain of the server is known (--mailbox)")
    else:
        reply = talk.command(f"RCPT TO:<{nobody}@{domain}>")
        outcome = Grade.WARN if reply.good else Grade.INCONCLUSIVE  # 4xx: greylisting
        yield graded(probe, "smtp.unknown-user", 500 <= reply.code < 600, reply.text, since, outcome)
    talk.command("RSET")


def _size(probe: Probe, talk: TextConnection, offered: dict[str, str]) -> Finding:
    since = len(probe.transcript)
    limit = offered.get("SIZE", "")
    if not limit.isdigit() or not int(limit):
        return finding(probe, "smtp.size", Grade.WARN, f"EHLO says SIZE {limit}" if "SIZE" in offered else "no SIZE")
    reply = talk.command(f"MAIL FROM:<{from_address(probe.server)}> SIZE={int(limit) + 1}")
    if reply.code == 530:
        return finding(probe, "smtp.size", Grade.INCONCLUSIVE, reply.text, since)
    return graded(probe, "smtp.size", reply.code in (552, 523), f"SIZE={int(limit) + 1}: {reply.text}", since)


def errors(probe: Probe) -> Iterator[Finding]:
    """A session of nothing but errors."""
    with probe.greeted() as talk:
        for number in range(_ERRORS):
            try:
                talk.say("XYZZY")
                reply = talk.reply(goodbye=True)
            except ConnectionEnded as ended:
                yield finding(probe, "smtp.errors", Grade.PASS, f"{ended} after {number_of(number, 'error')}")
                return
            if reply.code == 421:
                yield finding(probe, "smtp.errors", Grade.PASS, f"{reply.text}, after {number_of(number + 1, 'error')}")
                return
    yield finding(probe, "smtp.errors", Grade.WARN, f"{_ERRORS} errors, and the session goes on")


def early_talker(probe: Probe) -> Iterator[Finding]:
    """Speaks before it is greeted, where somebody who waits is served."""
    with probe.greeted() as patient:
        patient.say("QUIT")
    with probe.secured() as talk:
        talk.send(f"EHLO {probe.server.ehlo_name}\r\nQUIT\r\n".encode(), "EHLO and QUIT before the greeting")
        served = _goes_through(talk, 3)
    yield graded(probe, "smtp.early-talker", not served, "served" if served else "refused", bad=Grade.WARN)


def pipelining_after_helo(probe: Probe) -> Iterator[Finding]:
    """Sends a group of commands that nobody offered to take."""
    with probe.greeted() as talk:
        helo = talk.command(f"HELO {probe.server.ehlo_name}")
        if helo.code != 250:
            raise ConnectionEnded(f"HELO was answered {helo.text}")
        group = f"MAIL FROM:<{from_address(probe.server)}>\r\nRSET\r\nQUIT\r\n"
        talk.send(group.encode(), "MAIL, RSET and QUIT in one write")
        served = _goes_through(talk, 3)
    words = "served" if served else "refused"
    yield graded(probe, "smtp.pipelining-after-helo", not served, words, bad=Grade.WARN)


def _goes_through(talk: TextConnection, replies: int) -> bool:
    """Whether so many replies come, none of which refuses."""
    try:
        return all(talk.reply(goodbye=True).good for _ in range(replies))
    except ConnectionEnded:
        return False
