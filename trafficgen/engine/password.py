"""What a session proves itself with, from files: users with their passwords, the value of an Authorization header.

Gives     a password, the first line of its file; users with passwords and weights, rows of a CSV file
Fails     PlanError for a file that cannot be read or has no first line, and for a bad row (line and reason)
Never     is a password in what is raised, shown or logged
"""

import csv
import io
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from mboxgen.limited import read_limited
from trafficgen.errors import PlanError
from trafficgen.plan import Auth, AuthUsers

_MAX_FILE: Final = 65_536
_MAX_USERS_FILE: Final = 256 << 20
_COLUMNS: Final = ({"user", "password"}, {"user", "password", "weight"})


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who may log in."""

    user: str
    password: str = field(repr=False)
    weight: float = 1.0


class Draw:
    """Users of sessions, each by its weight."""

    def __init__(self, logins: Sequence[Login], seed: str) -> None:
        self._logins = logins
        self._weights = list(accumulate(login.weight for login in logins))
        self._random = random.Random(seed)

    def next(self) -> Login | None:
        """The next session's; None where nobody logs in."""
        return self._random.choices(self._logins, cum_weights=self._weights)[0] if self._logins else None


def read_logins(auth: Auth | AuthUsers | None) -> tuple[Login, ...]:
    """All users; none without a login. Raises PlanError."""
    if auth is None:
        return ()
    return (Login(auth.user, read_password(auth)),) if isinstance(auth, Auth) else _read_users(auth.file)


def read_password(auth: Auth, flag: str = "--auth-password-file") -> str:
    """The first line of the password file. Raises PlanError that names `flag`; the text never holds the password."""
    return first_line(auth.password_file, "password", "auth", flag)


def read_authorization(path: Path) -> str:
    """The value of the Authorization header: the first line of its file, "Bearer …" or "Basic …".

    Raises PlanError; the text never holds the value.
    """
    field, flag = "injection", "--http-authorization-file"
    value = first_line(path, "header value", field, flag).strip()
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value):
        text = f'expected printable ASCII such as "Bearer …" on the first line of "{path}"'
        raise PlanError(text, field=field, flag=flag)
    return value


def first_line(path: Path, what: str, field: str, flag: str) -> str:
    """The first line of a file; `what` it is, in words. Raises PlanError."""
    try:
        lines = read_limited(path, _MAX_FILE).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PlanError(f'cannot read the {what} file "{path}": {words}', field=field, flag=flag) from error
    if not lines or not lines[0] or "\0" in lines[0]:
        raise PlanError(f'expected a {what} on the first line of "{path}", found none', field=field, flag=flag)
    return lines[0]


def _read_users(path: Path) -> tuple[Login, ...]:
    try:
        text = read_limited(path, _MAX_USERS_FILE).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        words = (getattr(error, "strerror", None) or "not UTF-8 text, or larger than 256 MiB").lower()
        raise _wrong(f'cannot read the users in "{path}": {words}') from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if set(names) not in _COLUMNS or len(set(names)) < len(names):
            # What stands there may be a user with a password: it is not shown.
            raise _wrong(f'expected a first row "user,password" or "user,password,weight" in "{path}"')
        logins = tuple(_login(dict(zip(names, row, strict=False)), len(row) - len(names)) for row in _full(rows))
    except csv.Error as error:
        raise _wrong(f'"{path}", line {rows.line_num}: {error}') from None
    except ValueError as error:
        raise _wrong(f'"{path}", line {rows.line_num}: {error}') from None
    if not logins:
        raise _wrong(f'expected rows with users in "{path}", found none')
    if not sum(login.weight for login in logins) > 0:
        raise _wrong(f'expected a user with a weight above 0 in "{path}"')
    return logins


def _full(rows: Any) -> Any:
    return (row for row in rows if row)


def _login(row: dict[str, str], more: int) -> Login:
    if more:
        raise ValueError("expected as many columns as in the first row")
    user, password = row["user"].strip(), row["password"]
    if not user or not user.isprintable():
        raise ValueError("expected a user name without control characters")
    if not password or "\0" in password:
        raise ValueError("expected a password")
    try:
        weight = float(row.get("weight") or 1)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1e100 or math.isnan(weight):
        raise ValueError("expected a weight of 0 or more")
    return Login(user, password, weight)


def _wrong(text: str) -> PlanError:
    return PlanError(text, field="auth", flag="--auth-users")
