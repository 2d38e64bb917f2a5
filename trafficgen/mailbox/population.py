"""Who the users are: names, kinds, mail programs, and which worker has them.

Takes     a profile and a seed
Gives     `User`s and the mailboxes they share; the same for every number of workers
Fails     PlanError for a name that is no address, a userfile that is missing or too short
Not here  what users do, and when (`agenda`, `director`)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, fsum
from pathlib import Path
from typing import Final

from mboxgen.counted import number_of
from mboxgen.limited import read_limited
from trafficgen.clock import NS_PER_S
from trafficgen.errors import PlanError, reason_of
from trafficgen.mailbox.chance import Chance
from trafficgen.mailbox.profile import ClientSection, Profile, UserSection

MAX_USERFILE_OCTETS: Final = 256 * 1024 * 1024
_PURPOSE: Final = 1
_MAX_ROUNDS: Final = 10_000

_VARIABLE: Final = re.compile(
    r"%(?:(?P<percent>%)|(?:(?P<offset>\d+)\.)?(?P<zero>0)?(?P<width>\d+)?n"
    r"|\{\s*username_idx\s*(?:\|\s*lfill\(\s*(?P<fill>\d+)\s*,\s*'(?P<with>.)'\s*\)\s*)?\})"
)
_ADDRESS: Final = re.compile(r"[^\s@<>\"\\\x00-\x1f\x7f]{1,64}(?:@[A-Za-z0-9.-]{1,255})?")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who does what a section says. `clients` are the mail programs he has."""

    index: int
    """From 0, over all sections."""
    place: int
    """Within his section, which has `of` users."""
    of: int
    section: UserSection
    clients: tuple[ClientSection, ...]
    mailbox: int
    """Users of one name share it."""
    name: str
    password: str | None
    """His own; None: that of everybody."""


@dataclass(frozen=True, slots=True)
class Population:
    """All users of a profile."""

    users: tuple[User, ...]
    mailboxes: int
    notes: tuple[str, ...]

    def of_worker(self, worker: int, workers: int) -> list[User]:
        """Those that a worker has, of so many on all machines: users of one mailbox stay together."""
        return [user for user in self.users if user.mailbox % workers == worker]

    @property
    def connecting(self) -> int:
        """Users who have a mail program that connects."""
        return sum(any(client.connection_max_count for client in user.clients) for user in self.users)


def deliveries_at_once(users: Sequence[User], cap: int) -> int:
    """How many deliveries to these users to have room for: the cap; 0 when nobody gets any; and where there is no cap,
    as many as come due in a second."""
    means = [
        mean
        for user in users
        for mean in (user.section.mail_inbox_delivery_interval, user.section.mail_spam_delivery_interval)
        if mean
    ]
    return cap if cap and means else ceil(fsum(NS_PER_S / mean for mean in means))


def expand(username_format: str, index: int) -> str:
    """The name of user `index`: "%n", "%03n" (zeros in front), "%7n" (cut after seven characters) as Dovecot up to 2.3
    has it, "%{username_idx}" and "%{username_idx | lfill(3, '0')}" as 2.4 has it."""

    def put(match: re.Match[str]) -> str:
        if match["percent"]:
            return "%"
        text = str(index)
        if match["fill"]:
            return text.rjust(int(match["fill"]), match["with"])
        text = text[int(match["offset"] or 0) :]
        if match["width"] is None:
            return text
        width = int(match["width"])
        return text.rjust(width, "0") if match["zero"] else text[:width]

    return _VARIABLE.sub(put, username_format)


def populate(profile: Profile, seed: int) -> Population:
    """All users. PlanError for names that cannot be addresses."""
    users: list[User] = []
    mailboxes: dict[str, int] = {}
    notes: list[str] = []
    for section in profile.users:
        count = profile.total_user_count * section.count // 100
        shared = 0
        for place, (name, password) in enumerate(_names(section, count, profile.path)):
            index = len(users)
            shared += name in mailboxes
            mailbox = mailboxes.setdefault(name, len(mailboxes))
            clients = _clients(profile, Chance(seed, index, _PURPOSE))
            users.append(User(index, place, count, section, clients, mailbox, name, password))
        if shared:
            notes.append(
                f'{profile.path}, line {section.line}: {number_of(shared, "user")} of section "{section.name}" by a '
                "name that is there before share a mailbox with somebody (imaptest forgets the first of the two)"
            )
    return Population(tuple(users), len(mailboxes), tuple(notes))


def _names(section: UserSection, count: int, path: str) -> list[tuple[str, str | None]]:
    if section.userfile is not None:
        return _read_userfile(section.userfile, count)
    first = section.username_start_index
    names = [expand(section.username_format, first + place) for place in range(count)]
    for name in names:
        if not _ADDRESS.fullmatch(name):
            raise _refused(f'{path}, line {section.line}: expected username_format to make addresses, got "{name}"')
    return [(name, None) for name in names]


def _read_userfile(path: Path, count: int) -> list[tuple[str, str | None]]:
    try:
        lines = read_limited(path, MAX_USERFILE_OCTETS).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise _refused(f'cannot read the userfile "{path}": {reason_of(error)}') from error
    found: list[tuple[str, str | None]] = []
    for number, line in enumerate(lines, start=1):
        name, colon, password = line.partition(":")
        if not name.strip():
            continue
        if not _ADDRESS.fullmatch(name.strip()):
            raise _refused(f'{path}, line {number}: expected user[:password], got "{name[:80]}"')
        found.append((name.strip(), password if colon else None))
        if len(found) == count:
            break
    if len(found) < count:
        raise _refused(f'expected {number_of(count, "user")} in "{path}", got {len(found)}')
    return found


def _clients(profile: Profile, chance: Chance) -> tuple[ClientSection, ...]:
    """Each section by itself, again until there is one, as imaptest does it: 95% and 5% make 5% who have both."""
    for _ in range(_MAX_ROUNDS):
        if mine := tuple(client for client in profile.clients if chance.hits(client.count)):
            return mine
    return profile.clients[:1]


def _refused(text: str) -> PlanError:
    return PlanError(text, field="profile", flag="--profile")
