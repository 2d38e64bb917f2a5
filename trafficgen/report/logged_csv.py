"""A run's messages as the server's log has them: one row each, for spreadsheets and databases.

Takes     an account of a run by the log
Gives     lines of CSV, as UTF-8; nothing in a cell that a spreadsheet would take for a formula
"""

from collections.abc import Iterator
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.logs.account import Fate, LogAccount
from trafficgen.logs.join import Join

COLUMNS: Final = (
    "number", "fate", "queue_id", "seen_at", "sent_at", "attempts", "sent", "deferred", "bounced", "saved", "discarded",
    "queue_ids",
)  # fmt: skip


def messages_csv(account: LogAccount, join: Join) -> Iterator[bytes]:
    """The header, then a row for each message that the sender or the log knows of. Times: seconds since 1970, UTC."""
    yield ",".join(COLUMNS).encode() + b"\n"
    fates = [fate.name.lower() for fate in Fate]
    for number, place in enumerate(account.fate_of.tolist()):
        if place < 0:
            continue
        cells = (
            f"{number:012d}", fates[place], join.queue_id(number), _at(join.seen_ns[number], account),
            _at(join.sent_ns[number], account), join.attempts[number], join.sent[number], join.deferred[number],
            join.bounced[number], join.saved[number], join.discarded[number], join.copies[number],
        )  # fmt: skip
        yield ",".join(map(str, cells)).encode() + b"\n"


def _at(at_ns: int, account: LogAccount) -> str:
    return f"{(at_ns - (account.zone_ns or 0)) / NS_PER_S:.6f}" if at_ns else ""
