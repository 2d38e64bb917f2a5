"""What a protocol calls the steps of its sessions and the kinds of its commands.

Takes     names and words from whoever knows the protocol: measuring and reporting know none
Gives     the table that a recorder records by, and that results keep so that a report can be made from their file alone
Fails     ValueError for a name that a threshold, a metric's label or a column could not hold, and for one used twice
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BEFORE_PHASES: Final = ("service", "response", "service_rejected", "response_rejected", "lateness")
BEHIND_PHASES: Final = ("envelope", "end_of_data")
MESSAGE_STRETCHES: Final = (*BEFORE_PHASES, *BEHIND_PHASES)
"""Every stretch of a message's time that has a histogram:

service            real start to the reply that accepted the message
response           the same from the intended start; open loop only
service_rejected   real start to the reply that rejected it
response_rejected  the same from the intended start; open loop only
lateness           intended start to real start; open loop only
envelope           start to the reply that lets the message's data go
end_of_data        last octet handed to the transport to the reply
"""

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What a phase or a command may be called in files, thresholds and labels."""


@dataclass(frozen=True, slots=True)
class PhaseTable:
    """The words of one protocol, or of several that one run speaks.

    `phases`: names of the steps of a session, in the order of events, with their words for reports. `timed`: those of
    them that are timed while a session opens; each has a histogram. `commands`: kinds of command besides handing over
    a message ("fetch", "retr", "post"), in the order of reports.
    """

    phases: Mapping[str, str]
    timed: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.phases, *self.commands):
            if not NAME.fullmatch(name):
                raise ValueError(f"expected a name of lower-case letters, digits and _, got {str(name)!r}")
        if unknown := set(self.timed) - set(self.phases):
            raise ValueError(f"expected timed phases to be phases, got {', '.join(sorted(unknown))}")
        if twice := set(self.timed) & set(MESSAGE_STRETCHES):
            raise ValueError(f"expected timed phases other than stretches of a message, got {', '.join(sorted(twice))}")

    @property
    def stretches(self) -> tuple[str, ...]:
        """Everything that has a histogram, in the order in which reports show it."""
        return (*BEFORE_PHASES, *self.timed, *BEHIND_PHASES)

    def __or__(self, other: "PhaseTable") -> "PhaseTable":
        """Both protocols in one run. ValueError where one name stands for two things."""
        if differing := [name for name, words in self.phases.items() if other.phases.get(name, words) != words]:
            raise ValueError(f"expected one meaning of a phase, got two of {', '.join(differing)}")
        timed, commands = (
            tuple(dict.fromkeys(both)) for both in ((*self.timed, *other.timed), (*self.commands, *other.commands))
        )
        return PhaseTable({**self.phases, **other.phases}, timed, commands)


OF_OLD_FILES: Final = PhaseTable(
    {
        "connect": "connect", "tls": "TLS", "greeting": "greeting", "ehlo": "EHLO", "helo": "HELO", "auth": "AUTH",
        "mail": "MAIL", "rcpt": "RCPT", "data": "DATA", "end_of_data": "end of data", "rset": "RSET", "quit": "QUIT",
        "idle": "idle",
    },
    timed=("connect", "tls", "greeting", "ehlo", "auth"),
)  # fmt: skip
"""What files that hold no words of their own mean: version 0.1.0 measured mail sessions only."""


_OPENING: Final = tuple(f"{name}_{step}" for name in ("imap", "pop3") for step in ("connect", "tls", "greeting"))

OF_MAILBOXES: Final = PhaseTable(
    {name: name.replace("_", " ").replace("imap", "IMAP").replace("pop3", "POP3") for name in _OPENING}
    | {"imap_idle": "IMAP idle", "pop3_idle": "POP3 idle", "seen": "seen"},
    timed=(*_OPENING, "seen"),
)
"""What is timed where users read what was delivered; `seen`: from the answer that accepted a delivery to the EXISTS or
UIDL that shows the message to its user. `imap_idle`, `pop3_idle`: nothing is asked but
perhaps an IDLE; not timed."""
