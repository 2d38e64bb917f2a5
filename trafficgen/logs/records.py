"""What a line of a mail server's log says, whichever server wrote it.

Gives     a record for each kind of line that the join or the session report needs; `Noted` for those that are
          understood and carry nothing for either
Not here  when and by which program it was written (lines), how it is read (postfix, dovecot, exim, kumod)

Addresses, ids and replies are octets as the log has them: a log is no text of one encoding. Delays are in seconds.
"""

from enum import IntEnum
from typing import TypeAlias

import msgspec


class AttemptStatus(IntEnum):
    """What became of one recipient in one attempt."""

    SENT = 0
    DEFERRED = 1
    BOUNCED = 2


class Delays(msgspec.Struct, frozen=True, gc=False):
    """Postfix's delays=a/b/c/d in seconds (postconf(5), delay_logging_resolution_limit).

    `before`: from arrival to the queue manager; `queued`: in the queue until a delivery slot was free;
    `connecting`: DNS, connection, EHLO, TLS; `sending`: the message itself, the other side's reply included.
    """

    before: float
    queued: float
    connecting: float
    sending: float


class Identified(msgspec.Struct, frozen=True, gc=False):
    """A message in the queue has this Message-ID."""

    queue_id: bytes
    message_id: bytes


class Marked(msgspec.Struct, frozen=True, gc=False):
    """A message in the queue has this trace header (its value)."""

    queue_id: bytes
    value: bytes


class Queued(msgspec.Struct, frozen=True, gc=False):
    """The server took a message over, or tries an old one again."""

    queue_id: bytes


class MessageReceived(msgspec.Struct, frozen=True, gc=False):
    """A message was taken over, all said at once (Exim's `<=`, kumod's Reception)."""

    queue_id: bytes
    message_id: bytes
    mark: bytes
    client: bytes


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try to deliver to one recipient. `delay_s`: since arrival; None where that is not said."""

    queue_id: bytes
    recipient: bytes
    status: AttemptStatus
    delay_s: float | None
    delays: Delays | None
    code: bytes
    """The enhanced status code, empty where there is none."""
    reply: bytes


class Expired(msgspec.Struct, frozen=True, gc=False):
    """The server gave a message up: all of its recipients that still waited."""

    queue_id: bytes


class Requeued(msgspec.Struct, frozen=True, gc=False):
    """A message goes through the queue again under another id."""

    queue_id: bytes


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A message left the queue."""

    queue_id: bytes


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """The server refused something. `stage`: RCPT, MAIL, DATA, END-OF-MESSAGE, …; `code`: 550, empty where not said."""

    stage: bytes
    code: bytes


class LoggedIn(msgspec.Struct, frozen=True, gc=False):
    """A session of a user began. `session` is empty where the server gives none."""

    protocol: bytes
    user: bytes
    method: bytes
    host: bytes
    session: bytes
    encrypted: bool


class LoginFailed(msgspec.Struct, frozen=True, gc=False):
    """Somebody did not get in."""

    protocol: bytes
    user: bytes
    method: bytes
    host: bytes
    reason: bytes


class LoggedOut(msgspec.Struct, frozen=True, gc=False):
    """A session of a user ended. `received`, `sent`: octets by the server's count, -1 where not said."""

    protocol: bytes
    user: bytes
    session: bytes
    reason: bytes
    received: int
    sent: int


class Saved(msgspec.Struct, frozen=True, gc=False):
    """A message was put into a mailbox. `session`: LMTP's id, which the MTA's log has as well."""

    user: bytes
    session: bytes
    message_id: bytes
    mailbox: bytes


class Discarded(msgspec.Struct, frozen=True, gc=False):
    """A mailbox's filter threw a message away."""

    user: bytes
    session: bytes
    message_id: bytes


class LinesLost(msgspec.Struct, frozen=True, gc=False):
    """The system that keeps the log says that it dropped lines."""

    lines: int
    words: bytes


class Noted(msgspec.Struct, frozen=True, gc=False):
    """A line that is understood, and of which nothing but its kind is counted."""

    kind: str


Record: TypeAlias = (
    Identified
    | Marked
    | Queued
    | MessageReceived
    | Attempt
    | Expired
    | Requeued
    | Finished
    | Rejected
    | LoggedIn
    | LoginFailed
    | LoggedOut
    | Saved
    | Discarded
    | LinesLost
    | Noted
)
