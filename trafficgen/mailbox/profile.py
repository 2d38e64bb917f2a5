"""What users do: the settings of an imaptest profile, checked.

Gives     `Profile`: how many users there are, of which kinds, and which mail programs they use
Source    imaptest's profile files (dovecot.github.io/imaptest, "Profile"), of Dovecot 2.2 to 2.4
Not here  the form of the file (`reading`), names and kinds of single users (`population`)

Every setting has an effect here, also those that imaptest reads and ignores: docs/reference/mailbox.md says which.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class MailProtocol(Enum):
    """What a mail program speaks."""

    IMAP = "imap"
    POP3 = "pop3"


@dataclass(frozen=True, slots=True)
class UserSection:
    """A kind of user. Times are means in ns, 0 for never (of a session: for ever); shares are percent."""

    name: str = ""
    line: int = 0
    """Where in the file the section begins."""
    count: int = 0
    """Percent of all users."""
    username_format: str = ""
    username_start_index: int = 1
    userfile: Path | None = None
    mail_inbox_delivery_interval: int = 0
    mail_spam_delivery_interval: int = 0
    mail_session_length: int = 0
    mail_action_delay: int = 0
    mail_action_repeat_delay: int = 0
    mail_inbox_delete_percentage: int = 0
    mail_inbox_move_percentage: int = 0
    mail_inbox_reply_percentage: int = 0
    mail_inbox_move_filter_percentage: int = 0
    mail_send_interval: int = 0
    mail_write_duration: int = 0
    mail_write_size: int = 0
    """Octets of a draft; 0: as the mail of the corpus."""


@dataclass(frozen=True, slots=True)
class ClientSection:
    """A mail program."""

    name: str = ""
    line: int = 0
    count: int = 0
    """Percent of users who have it; several sections may apply to one user."""
    connection_max_count: int = 0
    """Connections of one user at a time; 0: this program never connects."""
    protocol: MailProtocol = MailProtocol.IMAP
    login_interval: int = 0
    """Ns from the goodbye of one session to the next login."""
    pop3_keep_mails: bool = False
    imap_fetch_immediate: str = ""
    imap_fetch_manual: str = ""
    imap_idle: bool = True
    imap_status_interval: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole profile."""

    users: tuple[UserSection, ...]
    clients: tuple[ClientSection, ...]
    total_user_count: int
    lmtp_port: int
    lmtp_max_parallel_count: int = 0
    """Deliveries at a time; one that is due above it is dropped, and counted. 0: no limit."""
    rampup_time: int = 0
    """Ns in which the users of each section begin, one after the other."""
    path: str = ""
