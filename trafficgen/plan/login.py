"""Who logs in to a session, and how."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from trafficgen.plan.refusals import check_types


class Mechanism(Enum):
    """Of SASL; the values are their registered names."""

    PLAIN = "PLAIN"
    """RFC 4616"""
    LOGIN = "LOGIN"
    """draft-murchison-sasl-login-00"""
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    """RFC 7677"""
    CRAM_MD5 = "CRAM-MD5"
    """RFC 2195"""
    XOAUTH2 = "XOAUTH2"
    """Google's and Microsoft's; the password is an OAuth 2.0 access token."""


@dataclass(frozen=True, slots=True)
class Auth:
    """One user for all sessions. The password is read from its file when a run begins and is shown nowhere.

    `mechanism` None: the first that the server offers, in the order of `Mechanism`, without XOAUTH2.
    """

    user: str
    password_file: Path
    mechanism: Mechanism | None = None

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, slots=True)
class AuthUsers:
    """A user for each session, drawn by weight from a CSV file with the columns user, password and, if any, weight."""

    file: Path
    mechanism: Mechanism | None = None

    def __post_init__(self) -> None:
        check_types(self)
