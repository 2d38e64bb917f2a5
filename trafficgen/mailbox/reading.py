"""Read imaptest's profile files, as they are found in its documentation and in the field.

Takes     a file's text
Gives     a `Profile`, and notes on what was read in a way that imaptest's newest version would refuse
Refuses   an unknown setting or section, a value that makes no sense, shares that do not add up: PlanError that names
          file, line, and what was expected

The form: lines; blanks at both ends do not count; "#" begins a comment, behind a value only after a blank (imaptest
takes those at the beginning of a line only). `key = value`, the value is the rest of the line. `user NAME {` and
`client NAME {` begin a section, `}` ends it, also behind its last value.
"""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from mboxgen.limited import read_limited
from trafficgen.errors import PlanError, reason_of
from trafficgen.mailbox.profile import ClientSection, MailProtocol, Profile, UserSection

MAX_OCTETS: Final = 1024 * 1024
MAX_USERS: Final = 1_000_000

_S: Final = 1_000_000_000
_UNITS: Final = {
    "milliseconds": _S // 1000, "msecs": _S // 1000, "seconds": _S, "secs": _S, "minutes": 60 * _S, "mins": 60 * _S,
    "hours": 3600 * _S, "days": 86400 * _S, "weeks": 7 * 86400 * _S,
}  # fmt: skip
"""Any beginning of these is a unit, as in Dovecot's settings: s, sec, m, min, h …"""

_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)[ \t]*([a-zA-Z]*)")
_SIZE: Final = re.compile(r"(\d+)[ \t]*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_SHIFTS: Final = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_SECTION: Final = re.compile(r"(user|client)(?:[ \t]+(.*?))?[ \t]*\{")
_COMMENT: Final = re.compile(r"[ \t]#.*")
_FOR_EVER: Final = 1_000_000 * 86400 * _S // 1000


class _BadValueError(Exception):
    """What was expected in place of a value."""


def _whole(text: str) -> int:
    if text == "unlimited":
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise _BadValueError("a whole number")
    return int(text)


def _percent(text: str) -> int:
    number = text.removesuffix("%").rstrip()
    if not number.isascii() or not number.isdigit() or int(number[:9]) > 100:
        raise _BadValueError("a share from 0 to 100, such as 50%")
    return int(number)


def _time(text: str) -> int:
    if text in ("unlimited", "infinite"):
        return 0
    match = _TIME.fullmatch(text)
    unit = match[2].lower() if match else ""
    found = [ns for word, ns in _UNITS.items() if word.startswith(unit)] if unit else [_S]
    if match is None or not found:
        raise _BadValueError("a time such as 30s, 5 min or 0")
    # "m" is a minute and "ms" is none of its beginnings but one of "msecs".
    ns = 60 * _S if unit in ("m", "mi", "min") else found[0]
    return min(round(float(match[1]) * ns), _FOR_EVER)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or len(match[1]) > 12:
        raise _BadValueError("a size such as 10k or 2 MB")
    return int(match[1]) << _SHIFTS[match[2].lower()]


def _switch(text: str) -> bool:
    if text.lower() not in ("yes", "y", "1", "no"):
        raise _BadValueError("yes or no")
    return text.lower() != "no"


def _protocol(text: str) -> MailProtocol:
    try:
        return MailProtocol(text.lower())
    except ValueError:
        raise _BadValueError("imap or pop3") from None


def _port(text: str) -> int:
    number = _whole(text)
    if not 0 < number < 65536:
        raise _BadValueError("a port from 1 to 65535")
    return number


def _users(text: str) -> int:
    number = _whole(text)
    if not 0 < number <= MAX_USERS:
        raise _BadValueError(f"a number of users from 1 to {MAX_USERS}")
    return number


def _text(text: str) -> str:
    if not text:
        raise _BadValueError("a value")
    return text


_GLOBAL: Final[dict[str, Callable[[str], Any]]] = {
    "lmtp_port": _port, "lmtp_max_parallel_count": _whole, "total_user_count": _users, "rampup_time": _time,
}  # fmt: skip

_USER: Final[dict[str, Callable[[str], Any]]] = {
    "count": _percent, "username_format": _text, "username_start_index": _whole, "userfile": Path,
    "mail_inbox_delivery_interval": _time, "mail_spam_delivery_interval": _time, "mail_session_length": _time,
    "mail_action_delay": _time, "mail_action_repeat_delay": _time, "mail_inbox_delete_percentage": _percent,
    "mail_inbox_move_percentage": _percent, "mail_inbox_reply_percentage": _percent,
    "mail_inbox_move_filter_percentage": _percent, "mail_send_interval": _time, "mail_write_duration": _time,
    "mail_write_size": _size,
}  # fmt: skip

_CLIENT: Final[dict[str, Callable[[str], Any]]] = {
    "count": _percent, "connection_max_count": _whole, "protocol": _protocol, "login_interval": _time,
    "pop3_keep_mails": _switch, "imap_fetch_immediate": _text, "imap_fetch_manual": _text, "imap_idle": _switch,
    "imap_status_interval": _time,
}  # fmt: skip

_PASSED_OVER: Final = {"name": "the section's name is what stands before its brace", "user_count": "count says it"}
"""Settings that imaptest reads and replaces at once."""


class Read(NamedTuple):
    """A profile, and what its owner may want to know."""

    profile: Profile
    notes: tuple[str, ...]


def read_profile(path: Path) -> Read:
    """Read a file. PlanError when it cannot be read, or says what makes no sense."""
    try:
        text = read_limited(path, MAX_OCTETS).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f'cannot read "{path}": it is not UTF-8 text') from error
    except (OSError, ValueError) as error:
        raise _refused(f'cannot read "{path}": {reason_of(error)}') from error
    return parse_profile(text, str(path))


def parse_profile(text: str, name: str = "profile") -> Read:
    """`read_profile` for a text."""
    return _Parser(name).parse(text)


class _Parser:
    def __init__(self, name: str) -> None:
        self._name = name
        self._line = 0
        self._notes: list[str] = []
        self._globals: dict[str, Any] = {}
        self._users: list[UserSection] = []
        self._clients: list[ClientSection] = []
        self._section: tuple[str, dict[str, Any]] | None = None

    def parse(self, text: str) -> Read:
        for number, raw in enumerate(text.splitlines(), start=1):
            self._line = number
            line = raw.strip(" \t")
            if line and not line.startswith("#"):
                self._take(line)
        if self._section is not None:
            raise self._wrong('"}" at the end of the last section', "the end of the file")
        return Read(self._whole_profile(), tuple(self._notes))

    def _take(self, line: str) -> None:
        key, equals, value = (part.strip(" \t") for part in line.partition("="))
        if not equals:
            self._take_brace(_COMMENT.sub("", line).rstrip(" \t"))
            return
        without = _COMMENT.sub("", f" {value}").strip(" \t")
        if without != value:
            self._note("a comment behind a value is none for imaptest")
            value = without
        closes = value.endswith("}") and value.count("}") > value.count("{")
        if closes:
            self._note("a brace behind a value does not end a section for imaptest")
            value = value[:-1].rstrip(" \t")
        self._set(key, value)
        if closes:
            self._close()

    def _take_brace(self, line: str) -> None:
        if line == "}":
            self._close()
            return
        match = _SECTION.fullmatch(line)
        if match is None:
            raise self._wrong('"key = value", "user NAME {", "client NAME {" or "}"', line)
        if self._section is not None:
            raise self._wrong('"}" before the next section', line)
        self._section = match[1], {"name": match[2] or match[1], "line": self._line}

    def _set(self, key: str, value: str) -> None:
        kind, settings = self._section or ("profile", self._globals)
        known = {"user": _USER, "client": _CLIENT, "profile": _GLOBAL}[kind]
        if key in _PASSED_OVER and kind == "user":
            self._note(f"{key} has no effect: {_PASSED_OVER[key]}")
            return
        reader = known.get(key)
        if reader is None:
            here = {"user": "of a user section", "client": "of a client section", "profile": "outside of sections"}[
                kind
            ]
            raise self._wrong(f"a setting {here} ({', '.join(known)})", key)
        try:
            settings[key] = reader(value)
        except _BadValueError as error:
            raise self._wrong(f"{error} for {key}", value) from None
        if reader is _time and value.isdigit() and int(value):
            self._note(f"{key} = {value} is taken for seconds; imaptest wants a unit since 2.3")

    def _close(self) -> None:
        if self._section is None:
            raise self._wrong("a section before its end", "}")
        kind, settings = self._section
        self._section = None
        if kind == "user":
            section = UserSection(**settings)
            if not section.username_format and section.userfile is None:
                raise self._wrong("username_format or userfile in the section", "}")
            self._users.append(section)
            return
        client = ClientSection(**settings)
        needed = ("imap_fetch_immediate", "imap_fetch_manual")
        if client.protocol is MailProtocol.IMAP and client.connection_max_count:
            for key in needed:
                if not getattr(client, key):
                    raise self._wrong(f"{key} in a section that speaks IMAP", "}")
        if client.protocol is MailProtocol.POP3 and client.connection_max_count > 1:
            # RFC 1939 section 4: a session has an exclusive lock; RFC 2449 section 8.1.2: a second one is told IN-USE.
            self._note(f"connection_max_count of {client.name}: one at a time, as a POP3 session locks the mailbox")
        self._clients.append(client)

    def _whole_profile(self) -> Profile:
        for key in ("lmtp_port", "total_user_count"):
            if key not in self._globals:
                raise self._wrong(key, "none")
        if (total := sum(section.count for section in self._users)) != 100:
            raise self._wrong("the count of all user sections to be 100% together", f"{total}%")
        if (total := sum(section.count for section in self._clients)) < 100:
            raise self._wrong("the count of all client sections to be 100% or more together", f"{total}%")
        return Profile(tuple(self._users), tuple(self._clients), path=self._name, **self._globals)

    def _note(self, text: str) -> None:
        self._notes.append(f"{self._name}, line {self._line}: {text}")

    def _wrong(self, expected: str, found: str) -> PlanError:
        return _refused(f'{self._name}, line {self._line}: expected {expected}, got "{found[:80]}"')


def _refused(text: str) -> PlanError:
    return PlanError(text, field="profile", flag="--profile")


def _known(section: type[UserSection] | type[ClientSection] | type[Profile], also: set[str]) -> set[str]:
    return {field.name for field in fields(section)} - also


# Every setting of the types above has a reader, and the other way round: an error at import otherwise.
for _kind, _readers, _also in (
    (UserSection, _USER, {"name", "line"}),
    (ClientSection, _CLIENT, {"name", "line"}),
    (Profile, _GLOBAL, {"users", "clients", "path"}),
):
    if _known(_kind, _also) != set(_readers):
        raise TypeError(
            f"settings of {_kind.__name__} and their readers differ: {_known(_kind, _also) ^ set(_readers)}"
        )
