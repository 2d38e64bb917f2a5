"""Users whom the server does not know: never let in, or refused as recipients.

Takes     each login and each delivery that a server has refused for good, or has accepted, with its user's mailbox
Gives     how many users were refused every time, and the first of them by name with what the server said
Limits    a line of text for each user who was refused
Not here  refusals as such (recorder), what is said of them (`runs.mailbox`)
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

_NAMED: Final = 3


class RefusedUsers(NamedTuple):
    """Users who were refused every time. `names` and `words` (what the server said) are those of the first ones."""

    users: int
    names: tuple[str, ...]
    words: str

    def __str__(self) -> str:
        more = f" and {self.users - len(self.names):,} more" if self.users > len(self.names) else ""
        return f"{', '.join(self.names)}{more} ({self.words})"

    @classmethod
    def of_all(cls, parts: Iterable["RefusedUsers"]) -> "RefusedUsers":
        """Those of several processes, whose users are not the same."""
        found = [part for part in parts if part.users]
        names = tuple(name for part in found for name in part.names)[:_NAMED]
        return cls(sum(part.users for part in found), names, found[0].words if found else "")


class Refusals:
    """Of one kind: logins, or deliveries."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._refused: dict[int, tuple[str, str]] = {}

    def accepted(self, mailbox: int) -> None:
        """The server knows him."""
        self._known.add(mailbox)
        self._refused.pop(mailbox, None)

    def refused(self, mailbox: int, name: str, words: str) -> None:
        """The server has refused him for good."""
        if mailbox not in self._known:
            self._refused.setdefault(mailbox, (name, words))

    @property
    def users(self) -> RefusedUsers:
        """Who was refused, and never accepted."""
        first = list(self._refused.values())[:_NAMED]
        return RefusedUsers(len(self._refused), tuple(name for name, _ in first), first[0][1] if first else "")
