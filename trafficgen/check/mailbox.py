"""POP3 (RFC 1939) and IMAP (RFC 9051): greeting, offers, login in clear, wrong and right, and a mailbox that adds up.

Takes     a probe of pop3, pop3s, imap or imaps; an account for what needs one
Gives     findings pop3.*, imap.*
Never     deletes or marks a message: RETR and BODY.PEEK alone
"""

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Final

from mboxgen.counted import number_of
from trafficgen.check.cases import finding, graded
from trafficgen.check.conversation import SECRET, ConnectionEnded, TextConnection
from trafficgen.check.service import IMPLICIT_TLS, CheckLogin, Probe, anything_goes
from trafficgen.check.tls import handshaken
from trafficgen.verdict.findings import Finding, Grade

_NO_ACCOUNT: Final = "no account is known (--login-user, --password-file)"
_LITERAL: Final = re.compile(r"\{(\d+)\}$")


def open_protected(probe: Probe) -> TextConnection:
    """A session inside TLS, ready for a login; in clear where TLS is not offered. Ended."""
    if probe.service in IMPLICIT_TLS:
        talk = handshaken(probe, anything_goes())
        talk.line()
        return talk
    try:
        return handshaken(probe, anything_goes())
    except ConnectionEnded:
        talk = probe.connect()
        talk.line()
        return talk


def in_clear(probe: Probe) -> Grade:
    """What it means that a login in clear is taken. Dovecot takes one from its own address for protected."""
    return Grade.FAIL if probe.server.proxied is not None or not probe.at_home else Grade.INCONCLUSIVE


# -- POP3 ---------------------------------------------------------------------------------------------------


def ask(talk: TextConnection, line: str, shown: str | None = None) -> str:
    """A command of POP3 and the first line of its answer."""
    talk.say(line, shown)
    return talk.line()


def rest(talk: TextConnection) -> list[str]:
    """The other lines of a multi-line answer, dots undone (RFC 1939 3)."""
    lines = []
    while (line := talk.line()) != ".":
        lines.append(line.removeprefix("."))
    return lines


def pop3_login(talk: TextConnection, login: CheckLogin) -> str:
    """USER and PASS; the answer to the last one that was given."""
    answer = ask(talk, f"USER {login.user}")
    return ask(talk, f"PASS {login.password}", f"PASS {SECRET}") if answer.startswith("+OK") else answer


def pop3_in_clear(probe: Probe) -> Iterator[Finding]:
    """Greeting, CAPA, and what is said to a login before TLS."""
    with probe.secured() as talk:
        greeting = talk.line()
        yield graded(probe, "pop3.greeting", greeting.startswith("+OK"), greeting)
        since = len(probe.transcript)
        answer = ask(talk, "CAPA")
        names = rest(talk) if answer.startswith("+OK") else []
        good = {"UIDL", "TOP"} <= set(names)
        yield graded(probe, "pop3.capa", good, ", ".join(names) or answer, since, Grade.WARN)
        if probe.service in IMPLICIT_TLS:
            return
        since = len(probe.transcript)
        answer = pop3_login(talk, _nobody())
        # A login that was tried at all has crossed the wire in clear.
        refused = any(word in answer.lower() for word in ("plaintext", "disabled", "disallowed", "tls", "ssl"))
        yield graded(probe, "pop3.clear", refused, answer, since, in_clear(probe))


def pop3_mailbox(probe: Probe) -> Iterator[Finding]:
    """A wrong password, then the right one."""
    yield from _with_account(probe, "pop3", pop3_login, "-ERR", _adds_up)


def _adds_up(probe: Probe, talk: TextConnection, answer: str, since: int) -> Finding:
    """RFC 1939 5: STAT is the sum of LIST; UIDL names each; RETR gives as many octets as LIST says."""
    if not answer.startswith("+OK"):
        return finding(probe, "pop3.mailbox", Grade.FAIL, answer, since)
    count, octets = map(int, ask(talk, "STAT").split(" ")[1:3])
    ask(talk, "LIST")
    sizes = [int(line.split(" ")[1]) for line in rest(talk)]
    ask(talk, "UIDL")
    ids = rest(talk)
    good = len(sizes) == len(ids) == len(set(ids)) == count and sum(sizes) == octets
    words = f"{number_of(count, 'message')}, {octets} octets; LIST {len(sizes)}, {sum(sizes)}; UIDL {len(ids)}"
    if count:
        ask(talk, f"RETR {count}")
        got = sum(len(line.encode()) + 2 for line in rest(talk))
        good, words = good and got == sizes[-1], f"{words}; the last one has {got} of {sizes[-1]} octets"
    ask(talk, "QUIT")
    return graded(probe, "pop3.mailbox", good, words, since)


# -- IMAP ---------------------------------------------------------------------------------------------------


def imap(talk: TextConnection, command: str, shown: str | None = None) -> tuple[str, list[str], list[bytes]]:
    """A command and its answer: the tagged line without its tag, the untagged ones, and the literals in them."""
    tag = f"a{len(talk.transcript)}"
    talk.say(f"{tag} {command}", None if shown is None else f"{tag} {shown}")
    untagged: list[str] = []
    literals: list[bytes] = []
    while not (line := talk.line()).startswith(f"{tag} "):
        untagged.append(line)
        if (found := _LITERAL.search(line)) is not None:
            literals.append(talk.octets(int(found[1])))
        if line.startswith("* BYE"):
            raise ConnectionEnded(line)
    return line.removeprefix(f"{tag} "), untagged, literals


def imap_login(talk: TextConnection, login: CheckLogin) -> str:
    """LOGIN with both as quoted strings (RFC 9051 4.3)."""
    user, password = (text.replace("\\", "\\\\").replace('"', '\\"') for text in (login.user, login.password))
    return imap(talk, f'LOGIN "{user}" "{password}"', f'LOGIN "{user}" {SECRET}')[0]


def imap_in_clear(probe: Probe) -> Iterator[Finding]:
    """Greeting, CAPABILITY, and what is said to a login before TLS."""
    with probe.secured() as talk:
        greeting = talk.line()
        yield graded(probe, "imap.greeting", greeting.startswith("* OK"), greeting)
        since = len(probe.transcript)
        _, lines, _ = imap(talk, "CAPABILITY")
        names = " ".join(line.removeprefix("* CAPABILITY ") for line in lines)
        yield graded(probe, "imap.capability", "IMAP4rev" in names, names, since)
        if probe.service in IMPLICIT_TLS:
            return
        since = len(probe.transcript)
        answer = imap_login(talk, _nobody())
        refused = "LOGINDISABLED" in names or "PRIVACYREQUIRED" in answer
        words = f"{'LOGINDISABLED' if refused else names}; LOGIN: {answer}"
        yield graded(probe, "imap.clear", refused, words, since, in_clear(probe))


def imap_mailbox(probe: Probe) -> Iterator[Finding]:
    """A wrong password, then the right one."""
    yield from _with_account(probe, "imap", imap_login, "NO", _can_be_read)


def _can_be_read(probe: Probe, talk: TextConnection, answer: str, since: int) -> Finding:
    """LIST, EXAMINE of INBOX, FETCH of the last message."""
    answers = [answer, imap(talk, 'LIST "" "*"')[0]]
    selected, lines, _ = imap(talk, "EXAMINE INBOX")
    answers.append(selected)
    exists = next((int(line.split(" ")[1]) for line in lines if line.endswith(" EXISTS")), 0)
    if exists:
        answers.append(imap(talk, f"FETCH {exists} (UID FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER])")[0])
    imap(talk, "NOOP")
    bad = [answer for answer in answers if not answer.startswith("OK")]
    words = bad[0] if bad else f"{number_of(exists, 'message')} in INBOX"
    return graded(probe, "imap.mailbox", not bad, words, since)


# -- both ---------------------------------------------------------------------------------------------------


def _with_account(
    probe: Probe,
    protocol: str,
    log_in: Callable[[TextConnection, CheckLogin], str],
    refused: str,
    look: Callable[[Probe, TextConnection, str, int], Finding],
) -> Iterator[Finding]:
    """What is said to a wrong password, which begins with `refused`; then a look with the right one, whose answer
    `look` is given."""
    login = probe.server.login
    bad, mailbox = f"{protocol}.bad", f"{protocol}.mailbox"
    if login is None:
        yield from (finding(probe, case, Grade.SKIPPED, _NO_ACCOUNT) for case in (bad, mailbox))
        return
    with open_protected(probe) as talk:
        answer = log_in(talk, CheckLogin(login.user, secrets.token_hex(8)))
        yield graded(probe, bad, answer.startswith(refused), answer)
    since = len(probe.transcript)
    with open_protected(probe) as talk:
        yield look(probe, talk, log_in(talk, login), since)


def _nobody() -> CheckLogin:
    return CheckLogin(f"nobody-{secrets.token_hex(4)}", secrets.token_hex(8))
