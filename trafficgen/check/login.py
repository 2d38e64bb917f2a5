"""Logging in by SMTP (RFC 4954): not in clear, not without the right password, and who may send without.

Takes     a probe of submission or smtps (or smtp, which may offer AUTH too); an account for what needs one
Gives     findings auth.*
Never     tries more than three wrong passwords in a run: servers lock accounts. An unknown name is one of our own
"""

import base64
import secrets
from collections.abc import Iterator
from typing import Final

from trafficgen.check.cases import finding, graded
from trafficgen.check.conversation import SECRET, SmtpReply, TextConnection, capabilities
from trafficgen.check.service import IMPLICIT_TLS, CheckLogin, Probe, ServiceKind, from_address
from trafficgen.verdict.findings import Finding, Grade

LOGGED_IN: Final = 235
"""No other code says so (RFC 4954 6)."""


def in_clear(probe: Probe) -> Iterator[Finding]:
    """Before TLS."""
    if probe.service in IMPLICIT_TLS:
        return
    talk, offered = probe.smtp()
    with talk:
        mechanisms = capabilities(offered).get("AUTH")
        reply = plain(talk, CheckLogin(f"nobody-{secrets.token_hex(4)}", secrets.token_hex(8)))
        words = f"AUTH {mechanisms}" if mechanisms is not None else "no AUTH offered"
        # 535: it was tried (RFC 4954 6). Any other 5xx is a refusal; a stray 250 is none, and no success.
        refused = 500 <= reply.code < 600 and reply.code != 535
        unclear = mechanisms is None and not refused and reply.code not in (LOGGED_IN, 334, 535)
        bad = Grade.INCONCLUSIVE if unclear else Grade.FAIL
        found = f"{words}; AUTH PLAIN was answered {reply.text}"
        yield graded(probe, "auth.clear", refused and mechanisms is None, found, bad=bad)


def accounts(probe: Probe) -> Iterator[Finding]:
    """Inside TLS: the right password, a wrong one, an unknown user, a change of mind."""
    talk, offered = probe.protected_smtp()
    with talk:
        mechanisms = capabilities(offered).get("AUTH")
        if probe.service is ServiceKind.SMTP and mechanisms is None:
            return  # nobody logs in there
        yield graded(probe, "auth.offered", bool(mechanisms), f"AUTH {mechanisms}" if mechanisms else "no AUTH offered")
        if not mechanisms:
            return
        since = len(probe.transcript)
        begun = talk.command("AUTH PLAIN")
        if begun.code == 334:
            cancelled = talk.command("*")
            yield graded(probe, "auth.cancelled", cancelled.code == 501, cancelled.text, since, Grade.WARN)
        else:
            words = f"AUTH PLAIN was answered {begun.text}"
            yield finding(probe, "auth.cancelled", Grade.INCONCLUSIVE, words, since)
        login = probe.server.login
        if login is None:
            words = "no account is known (--login-user, --password-file)"
            for case in ("auth.good", "auth.bad", "auth.unknown-user"):
                yield finding(probe, case, Grade.SKIPPED, words)
            return
        since = len(probe.transcript)
        good = plain(talk, login)
        outcome = Grade.INCONCLUSIVE if good.code == 454 else Grade.FAIL
        yield graded(probe, "auth.good", good.code == LOGGED_IN, good.text, since, outcome)
    since = len(probe.transcript)
    talk, _ = probe.protected_smtp()
    with talk:
        bad = plain(talk, CheckLogin(login.user, secrets.token_hex(8)))
        outcome = Grade.FAIL if bad.good else Grade.INCONCLUSIVE if bad.code == 454 else Grade.WARN
        yield graded(probe, "auth.bad", bad.code == 535, bad.text, since, outcome)
        since = len(probe.transcript)
        stranger = f"nobody-{secrets.token_hex(4)}{login.user[login.user.find('@') :] if '@' in login.user else ''}"
        unknown = plain(talk, CheckLogin(stranger, secrets.token_hex(8)))
        same = bad.lines == unknown.lines
        words = f"{unknown.text}; a wrong password: {bad.text}"
        yield graded(probe, "auth.unknown-user", same, words, since, Grade.WARN)


def required(probe: Probe) -> Iterator[Finding]:
    """Whether somebody who has not logged in may send."""
    talk, _ = probe.protected_smtp()
    with talk:
        since = len(probe.transcript)
        reply = talk.command(f"MAIL FROM:<{from_address(probe.server)}>")
        if reply.good:
            reply = talk.command(f"RCPT TO:<{from_address(probe.server)}>")
        yield graded(probe, "auth.required", reply.code >= 500, reply.text, since)


def plain(talk: TextConnection, login: CheckLogin) -> SmtpReply:
    """AUTH PLAIN (RFC 4616). The transcript shows no secret."""
    text = base64.b64encode(f"\0{login.user}\0{login.password}".encode()).decode()
    return talk.command(f"AUTH PLAIN {text}", f"AUTH PLAIN {SECRET}")
