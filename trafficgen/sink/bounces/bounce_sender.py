"""Send reports to the one server that was named.

Takes     the recipient of a report and how to build it, through `post`, which never waits
Gives     how many were sent, refused and dropped
Limits    `MAX_WAITING` reports of `MAX_WAITING_OCTETS` wait; more are dropped. One session, one report at a time, one
          attempt for each
Refuses   an address outside the user's own network, unless that was allowed (guard)
Fails     never: a server that cannot be reached is reported once, and what could not be sent counts as dropped
Not here  what a report says (reports), which messages get one (bounces)

The null return path (RFC 5321 section 4.5.5) keeps what we send from being bounced to us.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiosmtplib

from trafficgen.errors import reason_of
from trafficgen.guard import Route
from trafficgen.plan import Target, UnixTarget
from trafficgen.protocol.smtp.capabilities import NAME

MAX_WAITING: Final = 1000
MAX_WAITING_OCTETS: Final = 64 << 20
"""Of headers, recipients and parameters: a client decides how many recipients and parameters there are."""
_TIMEOUT_S: Final = 30.0
_PAUSE_S: Final = 1.0


@dataclass(slots=True)
class BounceCounts:
    """What became of reports."""

    sent: int = 0
    refused: int = 0
    """The server refused them."""
    dropped: int = 0
    """Never sent: too many were waiting, the server could not be reached, or the sender address is not usable."""


@dataclass(frozen=True, slots=True)
class OutgoingReport:
    """A report that waits. Built only when it is sent, so that a dropped one costs nothing."""

    to: bytes
    make: Callable[[], bytes]
    octets: int
    """Memory that it holds until then."""


class BounceSender:
    """`post` from anywhere in the loop; `run` as a task of it."""

    def __init__(self, route: Route, say: Callable[[str], None], name: bytes = NAME) -> None:
        """`name`: what EHLO and the reports say."""
        self.counts = BounceCounts()
        self.name = name
        self._route = route
        self._say = say
        self._said: set[str] = set()
        self._queue: asyncio.Queue[OutgoingReport] = asyncio.Queue(MAX_WAITING)
        self._octets = 0  # of what waits
        self._client: aiosmtplib.SMTP | None = None

    @property
    def waiting(self) -> int:
        """Reports not yet sent."""
        return self._queue.qsize()

    def post(self, report: OutgoingReport) -> None:
        """Queue a report."""
        if self._queue.full() or self._octets + report.octets > MAX_WAITING_OCTETS:
            self.drop("reports are made faster than they can be sent: the rest is dropped")
            return
        self._queue.put_nowait(report)
        self._octets += report.octets

    def drop(self, words: str) -> None:
        """Count a report that will not be sent, and say why the first time."""
        self.counts.dropped += 1
        self._once(words)

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                report = await self._queue.get()
                self._octets -= report.octets
                await self._send(report)
        finally:
            self._hang_up()

    async def _send(self, report: OutgoingReport) -> None:
        try:
            client = await self._connected()
            await client.sendmail("", [report.to.decode("ascii")], report.make())
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as error:
            self.counts.refused += 1
            self._once(f"{self._route} refuses a report: {error}")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            self._hang_up()
            self.drop(f"cannot send reports to {self._route}: {reason_of(error)}")
            await asyncio.sleep(_PAUSE_S)
        else:
            self.counts.sent += 1

    async def _connected(self) -> aiosmtplib.SMTP:
        if self._client is not None and self._client.is_connected:
            return self._client
        problem: Exception = OSError("no address")
        for address in self._route.addresses:
            client = _client(address, self.name.decode("ascii"))
            try:
                await client.connect()
            except (aiosmtplib.SMTPException, OSError) as error:
                problem = error
                continue
            self._client = client
            return client
        raise problem

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _once(self, words: str) -> None:
        what = words.partition(":")[0]
        if what not in self._said:
            self._said.add(what)
            self._say(f"warning: {words}")


def _client(address: Target, name: str) -> aiosmtplib.SMTP:
    """Without TLS: the content is synthetic, and certificates of test servers can seldom be verified."""
    if isinstance(address, UnixTarget):
        return aiosmtplib.SMTP(socket_path=address.path, local_hostname=name, timeout=_TIMEOUT_S, start_tls=False)
    return aiosmtplib.SMTP(
        hostname=address.host, port=address.port, local_hostname=name, timeout=_TIMEOUT_S, start_tls=False
    )
