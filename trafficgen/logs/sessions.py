"""Who used the server: users, hosts, sessions, how long, how many at a time.

Takes     records of the log in the order they were written
Gives     the numbers of a session report, and for each whether the log can know it
Limits    some 300 octets of memory a session that is open, a user, and a host
Fails     never
Not here  CPU and page faults of sessions: no line of a log has them; see `server.usage`, and Dovecot's old_stats

A session is known by the id that Dovecot gives it at login. One that was open before the log begins has a logout
without a login, and one that is open at its end a login without a logout: both are counted apart, and neither has a
connect time. Two processes of Dovecot write the two lines, so on a busy machine the logout of a short session may stand
first: it is kept until its login comes.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.logs.reading import Handler
from trafficgen.logs.records import Attempt, AttemptStatus, LoggedIn, LoggedOut, LoginFailed, Rejected, Saved
from trafficgen.measure.histogram import Histogram

WEEK_NS: Final = 7 * 24 * 3600 * NS_PER_S
_MAX_OPEN: Final = 1_000_000
_MAX_LOGOUTS_KEPT: Final = 10_000
"""Logouts whose login may still come: lines change places within a second (seen with Dovecot 2.3.19, 4 lines apart)."""


@dataclass(slots=True)
class Peak:
    """The most at a time, and when that was first so."""

    most: int = 0
    at_ns: int | None = None

    def rise(self, now: int, at_ns: int) -> None:
        """This many now."""
        if now > self.most:
            self.most, self.at_ns = now, at_ns


@dataclass(slots=True)
class _Open:
    began_ns: int
    user: bytes


@dataclass(slots=True)
class Protocol:
    """Sessions of one protocol."""

    logins: int = 0
    encrypted: int = 0
    ended: int = 0
    without_login: int = 0
    """Ended, and began before the log does."""
    connected: Histogram = field(default_factory=Histogram)
    """Connect time in ns, of sessions of which both ends are in the log."""
    received: int = 0
    sent: int = 0
    octets_known: int = 0
    """Sessions whose octets the log has."""


class Sessions:
    """What the log says of its users."""

    def __init__(self) -> None:
        self.protocols: dict[str, Protocol] = {}
        self.hosts: Counter[str] = Counter()
        """Logins by address."""
        self.first_login_ns: dict[str, int] = {}
        self.last_login_ns: dict[str, int] = {}
        self.failures: Counter[tuple[str, str, str]] = Counter()
        """By protocol, method and reason."""
        self.failed_hosts: Counter[str] = Counter()
        self.endings: Counter[tuple[str, str]] = Counter()
        self.sessions_peak = Peak()
        self.users_peak = Peak()
        self.delivered = 0
        self.saved = 0
        self.rejected: Counter[tuple[str, str]] = Counter()
        self._open: dict[tuple[bytes, bytes], _Open] = {}
        self._open_by_user: Counter[bytes] = Counter()
        self._logouts_first: dict[tuple[bytes, bytes], None] = {}

    @property
    def handlers(self) -> dict[type, Handler]:
        """For `reading.Reading`."""
        return {
            LoggedIn: self._logged_in,
            LoggedOut: self._logged_out,
            LoginFailed: self._failed,
            Saved: self._saved,
            Attempt: self._attempt,
            Rejected: self._rejected,
        }

    @property
    def open(self) -> int:
        """Sessions that are open where the log ends."""
        return len(self._open)

    def _logged_in(self, at_ns: int, zoned: bool, record: LoggedIn) -> None:
        protocol = self._protocol(record.protocol)
        protocol.logins += 1
        protocol.encrypted += record.encrypted
        user = record.user.lower()
        name = _text(user)
        self.hosts[_text(record.host)] += 1
        self.first_login_ns.setdefault(name, at_ns)
        self.last_login_ns[name] = max(at_ns, self.last_login_ns.get(name, at_ns))
        key = (record.protocol, record.session)
        if key in self._logouts_first:
            del self._logouts_first[key]
            protocol.without_login -= 1
            protocol.connected.record(0)  # shorter than the stamps can tell
            self.sessions_peak.rise(len(self._open) + 1, at_ns)
            self.users_peak.rise(len(self._open_by_user) + (user not in self._open_by_user), at_ns)
            return
        if not record.session or key in self._open or len(self._open) >= _MAX_OPEN:
            return
        self._open[key] = _Open(at_ns, user)
        self._open_by_user[user] += 1
        self.sessions_peak.rise(len(self._open), at_ns)
        self.users_peak.rise(len(self._open_by_user), at_ns)

    def _logged_out(self, at_ns: int, zoned: bool, record: LoggedOut) -> None:
        protocol = self._protocol(record.protocol)
        protocol.ended += 1
        self.endings[_text(record.protocol), _text(record.reason)] += 1
        if record.received >= 0 or record.sent >= 0:
            protocol.octets_known += 1
            protocol.received += max(record.received, 0)
            protocol.sent += max(record.sent, 0)
        began = self._open.pop((record.protocol, record.session), None)
        if began is None:
            protocol.without_login += 1
            if record.session:
                self._logouts_first[record.protocol, record.session] = None
                if len(self._logouts_first) > _MAX_LOGOUTS_KEPT:
                    del self._logouts_first[next(iter(self._logouts_first))]
            return
        protocol.connected.record(max(at_ns - began.began_ns, 0))
        self._open_by_user[began.user] -= 1
        if not self._open_by_user[began.user]:
            del self._open_by_user[began.user]

    def _failed(self, at_ns: int, zoned: bool, record: LoginFailed) -> None:
        self.failures[_text(record.protocol), _text(record.method), _text(record.reason)] += 1
        self.failed_hosts[_text(record.host)] += 1

    def _saved(self, at_ns: int, zoned: bool, record: Saved) -> None:
        self.saved += 1

    def _attempt(self, at_ns: int, zoned: bool, record: Attempt) -> None:
        self.delivered += record.status is AttemptStatus.SENT

    def _rejected(self, at_ns: int, zoned: bool, record: Rejected) -> None:
        self.rejected[_text(record.stage), _text(record.code)] += 1

    def _protocol(self, name: bytes) -> Protocol:
        return self.protocols.setdefault(_text(name), Protocol())


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
