"""What a session proves itself with, from its file: a user's password, the value of an Authorization header.

Gives     the first line; nothing that is raised or logged holds it
Fails     PlanError for a file that cannot be read or has no first line
"""

import re
from pathlib import Path
from typing import Final

from mboxgen.limited import read_limited
from trafficgen.errors import PlanError
from trafficgen.plan import Auth

_MAX_FILE: Final = 65_536


def read_password(auth: Auth, flag: str = "--auth-password-file") -> str:
    """The first line of the password file. Raises PlanError that names `flag`; the text never holds the password."""
    return _first_line(auth.password_file, "password", "auth", flag)


def read_authorization(path: Path) -> str:
    """The value of the Authorization header: the first line of its file, "Bearer …" or "Basic …".

    Raises PlanError; the text never holds the value.
    """
    field, flag = "injection", "--http-authorization-file"
    value = _first_line(path, "header value", field, flag).strip()
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value):
        text = f'expected printable ASCII such as "Bearer …" on the first line of "{path}"'
        raise PlanError(text, field=field, flag=flag)
    return value


def _first_line(path: Path, what: str, field: str, flag: str) -> str:
    try:
        lines = read_limited(path, _MAX_FILE).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PlanError(f'cannot read the {what} file "{path}": {words}', field=field, flag=flag) from error
    if not lines or not lines[0]:
        raise PlanError(f'expected a {what} on the first line of "{path}", found none', field=field, flag=flag)
    return lines[0]
