"""The password of a session's user, from its file.

Gives     the first line; nothing that is raised or logged holds it
Fails     PlanError for a file that cannot be read or has no first line
"""

from typing import Final

from mboxgen.limited import read_limited
from trafficgen.errors import PlanError
from trafficgen.plan import Auth

_MAX_FILE: Final = 65_536


def read_password(auth: Auth, flag: str = "--auth-password-file") -> str:
    """The first line of the password file. Raises PlanError that names `flag`; the text never holds the password."""
    try:
        lines = read_limited(auth.password_file, _MAX_FILE).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "not UTF-8 text"
        text = f'cannot read the password file "{auth.password_file}": {words}'
        raise PlanError(text, field="auth", flag=flag) from error
    if not lines or not lines[0]:
        text = f'expected a password on the first line of "{auth.password_file}", found none'
        raise PlanError(text, field="auth", flag=flag)
    return lines[0]
