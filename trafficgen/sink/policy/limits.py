"""Rate limits and counts: how much one client, one session, one domain may send.

Takes     rates and numbers; the time of each event
Gives     whether the limit allows one more, and counts it
Limits    remembers `MAX_CLIENTS` addresses beside those with open sessions; the longest unseen are forgotten first
Not here  the reply (policy)

A rate "100/m" is a token bucket of 100 that fills evenly, kept as one number (the generic cell rate algorithm, ITU-T
I.371): the time at which the bucket will be full again.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_CLIENTS: Final = 65_536


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`count` within any `span_ns`, spread or at once."""

    count: int
    span_ns: int

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """ "100/m", "5/s", "1000/h", "20/10s"; raises ValueError for anything else."""
        from trafficgen.units import split_rate

        count, span_ns = split_rate(text)
        if not (span_ns and count.isdecimal() and len(count) < 19 and int(count)):
            raise ValueError(f'expected a limit such as 100/m or 20/10s, got "{text}"')
        return cls(int(count), span_ns)


class Bucket:
    """One token bucket, full at first."""

    __slots__ = ("_full_ns", "_interval_ns", "_tolerance_ns")

    def __init__(self, rate: RateLimit) -> None:
        # Sixteenths of a nanosecond, so that rounding a third of a second off takes years to add up to a message.
        self._interval_ns = rate.span_ns * 16 // rate.count
        self._tolerance_ns = self._interval_ns * (rate.count - 1)
        self._full_ns = 0

    def take(self, now_ns: int) -> bool:
        """Take a token; False when there is none."""
        now = now_ns << 4
        full = self._full_ns
        if full <= now:
            self._full_ns = now + self._interval_ns
            return True
        if full - now > self._tolerance_ns:
            return False
        self._full_ns = full + self._interval_ns
        return True

    def give_back(self) -> None:
        """Undo the last `take`."""
        self._full_ns -= self._interval_ns


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit. `domain_rates`: for recipient domains by name; `domain_rate` for all others, each its own."""

    connections_per_client: int | None = None
    client_rate: RateLimit | None = None
    messages_per_session: int | None = None
    recipients_per_message: int | None = None
    domain_rate: RateLimit | None = None
    domain_rates: tuple[tuple[str, RateLimit], ...] = ()
    max_octets: int | None = None


class Client:
    """State of one client address."""

    __slots__ = ("bucket", "sessions")

    def __init__(self, rate: RateLimit | None) -> None:
        self.sessions = 0
        self.bucket = Bucket(rate) if rate is not None else None


class Clients:
    """All addresses that have a session open; with a rate also those seen lately."""

    def __init__(self, rate: RateLimit | None) -> None:
        self._rate = rate
        self._clients: OrderedDict[bytes, Client] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients)

    def enter(self, address: bytes) -> Client:
        """A session of this address begins."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = Client(self._rate)
        else:
            self._clients.move_to_end(address)
        client.sessions += 1
        if len(self._clients) > MAX_CLIENTS:
            self._forget()
        return client

    def leave(self, address: bytes) -> None:
        """A session of this address is over."""
        client = self._clients[address]
        client.sessions -= 1
        if not client.sessions and client.bucket is None:  # there is nothing to remember
            del self._clients[address]

    def _forget(self) -> None:
        """The one not seen for longest that has no session open; when all have, none."""
        for address, client in self._clients.items():
            if not client.sessions:
                del self._clients[address]
                return
