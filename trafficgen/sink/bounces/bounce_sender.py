"""Bring reports to the one server that was named.

Takes     whom a report is for, and how to make it, through `post`, which never waits
Gives     how many were sent, refused and dropped
Limits    `MAX_WAITING` reports of `MAX_WAITING_OCTETS` wait; what is beyond is dropped. One session, one report at a
          time, one try for each
Refuses   an address that is not of the user's own network, unless that was allowed (guard)
Fails     never: who cannot be reached is said once, and what could not be brought counts as dropped
Not here  what a report says (notices), who gets one (returns)

The null return path (RFC 5321 section 4.5.5) keeps what we send from being bounced to us.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiosmtplib

from trafficgen.guard import Route
from trafficgen.plan import Target, UnixTarget
from trafficgen.protocol.smtp.capabilities import NAME

MAX_WAITING: Final = 1000
MAX_WAITING_OCTETS: Final = 64 << 20
"""Of headers, recipients and parameters: a client decides how many of the latter there are, and how long."""
_TIMEOUT_S: Final = 30.0
_PAUSE_S: Final = 1.0


@dataclass(slots=True)
class BounceCounts:
    """What became of reports."""

    sent: int = 0
    refused: int = 0
    """The server did not want them."""
    dropped: int = 0
    """Never sent: too many waited, nobody listened, or the address was none to write to."""


@dataclass(frozen=True, slots=True)
class OutgoingReport:
    """A report that waits. Made when its turn comes, so that one that is dropped costs nothing."""

    to: bytes
    make: Callable[[], bytes]
    octets: int
    """What it holds until then."""


class BounceSender:
    """`post` from anywhere in the loop; `run` as a task of it."""

    def __init__(self, route: Route, say: Callable[[str], None]) -> None:
        self.tally = BounceCounts()
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

    def post(self, letter: OutgoingReport) -> None:
        """Have it sent some time."""
        if self._queue.full() or self._octets + letter.octets > MAX_WAITING_OCTETS:
            self.drop("reports come faster than they can be sent back: the rest is dropped")
            return
        self._queue.put_nowait(letter)
        self._octets += letter.octets

    def drop(self, words: str) -> None:
        """Count one that will not be sent, and say why, the first time."""
        self.tally.dropped += 1
        self._once(words)

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                letter = await self._queue.get()
                self._octets -= letter.octets
                await self._bring(letter)
        finally:
            self._hang_up()

    async def _bring(self, letter: OutgoingReport) -> None:
        try:
            client = await self._connected()
            await client.sendmail("", [letter.to.decode("ascii")], letter.make())
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as error:
            self.tally.refused += 1
            self._once(f"{self._route} refuses a report: {error}")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            self._hang_up()
            self.drop(f"cannot send reports to {self._route}: {error}")
            await asyncio.sleep(_PAUSE_S)
        else:
            self.tally.sent += 1

    async def _connected(self) -> aiosmtplib.SMTP:
        if self._client is not None and self._client.is_connected:
            return self._client
        problem: Exception = OSError("no address")
        for address in self._route.addresses:
            client = _client(address)
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


def _client(address: Target) -> aiosmtplib.SMTP:
    """Without TLS: what is sent was made up, and certificates of test servers are seldom ones to verify."""
    name = NAME.decode("ascii")
    if isinstance(address, UnixTarget):
        return aiosmtplib.SMTP(socket_path=address.path, local_hostname=name, timeout=_TIMEOUT_S, start_tls=False)
    return aiosmtplib.SMTP(
        hostname=address.host, port=address.port, local_hostname=name, timeout=_TIMEOUT_S, start_tls=False
    )
