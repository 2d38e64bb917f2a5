"""Who each session of a worker is, and what shape it has: drawn from the pools of the plan.

Takes     the plan, the first session of this worker and the step to the next ones (`Shard.lane`)
Gives     for the next session: its options, the address to connect from, the header its connection begins with
Limits    nothing is computed for a plan without pools: the worker then has no `Identities`
Not here  what is said to whom (protocol/smtp/opening), connecting (opening)

Worker w of W opens the sessions w, w + W, w + 2W … of the run. What a session draws follows from the seed and its
number alone, so the same seed gives the same sessions, whatever the number of workers and of shards.
"""

import ipaddress
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mboxgen.enums import table_of
from mboxgen.streams import BLOCK, choose, cumulative, raw
from trafficgen.outcomes import Phase
from trafficgen.plan import LeavingStep, Plan, TcpTarget
from trafficgen.plan.identity import AddressRange, ClientAttribute, ProxyProtocol
from trafficgen.protocol.proxy import header_v1, header_v2
from trafficgen.protocol.smtp.interfaces import Leaving, SessionOptions, Stranger

_HEADERS: Final = table_of(
    ProxyProtocol, {ProxyProtocol.NONE: None, ProxyProtocol.V1: header_v1, ProxyProtocol.V2: header_v2}
)
_STEPS: Final = table_of(LeavingStep, {
    LeavingStep.CONNECT: Phase.GREETING,
    LeavingStep.HELO: Phase.EHLO,
    LeavingStep.MAIL: Phase.MAIL,
    LeavingStep.RCPT: Phase.RCPT,
    LeavingStep.DATA: Phase.DATA,
    LeavingStep.BODY: Phase.END_OF_DATA,
})  # fmt: skip
_LOWEST_PORT: Final = 1024
_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}


class Identity(NamedTuple):
    """Who one session is. `source` "": whatever address the system takes; `header` b"": none. `slow`: so it sends."""

    options: SessionOptions
    source: str
    header: bytes
    slow: bool = False


class _Stream:
    """Draws by number; a block of them is made at a time."""

    def __init__(self, seed: int, name: str) -> None:
        self._seed = seed
        self._name = name
        self._block = -1
        self._draws: NDArray[np.uint64] = np.zeros(0, np.uint64)

    def draw(self, number: int) -> NDArray[np.uint64]:
        """One draw, as an array of one."""
        block, at = divmod(number, BLOCK)
        if block != self._block:
            self._block, self._draws = block, raw(self._seed, self._name, block, BLOCK)
        return self._draws[at : at + 1]


class _Choice:
    """One of several by weight."""

    def __init__(self, seed: int, name: str, weights: list[float]) -> None:
        self._stream = _Stream(seed, name)
        self._thresholds = cumulative(weights)

    def at(self, number: int) -> int:
        """Which one the session of this number has."""
        return int(choose(self._stream.draw(number), self._thresholds)[0])


class _Addresses:
    """Addresses, names and ports from weighted ranges."""

    def __init__(self, seed: int, name: str, ranges: tuple[AddressRange, ...]) -> None:
        self._ranges = ranges
        self._which = _Choice(seed, f"{name} range", [one.weight for one in ranges])
        self._within = _Stream(seed, f"{name} address")
        self._port = _Stream(seed, f"{name} port")

    def at(self, number: int) -> Stranger:
        """The client that the session of this number has."""
        of = self._ranges[self._which.at(number)]
        address = of.address(int(self._within.draw(number)[0]) * of.size >> 64)
        port = _LOWEST_PORT + (int(self._port.draw(number)[0]) * (65536 - _LOWEST_PORT) >> 64)
        return Stranger(address, of.host_name(address), port)


class _Introduced:
    """What XCLIENT or XFORWARD says of a session's client: an address, and of each attribute one of its values."""

    def __init__(
        self, seed: int, name: str, ranges: tuple[AddressRange, ...], attributes: tuple[ClientAttribute, ...]
    ) -> None:
        self._addresses = _Addresses(seed, name, ranges) if ranges else None
        values: dict[str, list[ClientAttribute]] = {}
        for one in attributes:
            values.setdefault(one.name, []).append(one)
        self._values = [
            (of, _Choice(seed, f"{name} {attribute}", [one.weight for one in of])) for attribute, of in values.items()
        ]

    def at(self, number: int) -> Stranger:
        """The client that the session of this number has."""
        client = self._addresses.at(number) if self._addresses else Stranger("", "", 0)
        drawn = [of[choice.at(number)] for of, choice in self._values]
        return client._replace(attributes=tuple((one.name, one.value) for one in drawn))


class Identities:
    """Of one worker's sessions."""

    def __init__(self, plan: Plan, options: SessionOptions, server: object, *, index: int, step: int) -> None:
        """`server`: the target's first address. `index`, `step`: as `Shard.lane` has them."""
        client = plan.session.client
        self._plan = client
        self._options = options
        self._number = index - step
        self._step = step
        self._server = server if isinstance(server, TcpTarget) else None
        self._names = [one.name.encode("ascii") for one in client.ehlo_names]
        self._name = _Choice(plan.seed, "ehlo name", [one.weight for one in client.ehlo_names]) if self._names else None
        self._proxied = _Addresses(plan.seed, "proxy", client.proxy_from) if client.proxy_from else None
        self._xclient, self._xforward = (
            _Introduced(plan.seed, name, ranges, attributes) if ranges or attributes else None
            for name, ranges, attributes in (
                ("xclient", client.xclient_from, client.xclient), ("xforward", client.xforward_from, client.xforward),
            )
        )  # fmt: skip
        shape = plan.session.shape
        self._counts = [count for count, _ in shape.messages]
        self._count = (
            _Choice(plan.seed, "session messages", [weight for _, weight in shape.messages]) if self._counts else None
        )
        leaving = shape.leaving
        self._leavings = (None, *(Leaving(_STEPS[one.step], one.quits, one.waits) for one in leaving))
        shares = [1.0 - sum(one.share for one in leaving), *(one.share for one in leaving)]
        self._leaving = _Choice(plan.seed, "session shape", shares) if leaving else None
        slow = [1.0 - shape.slow_share, shape.slow_share]
        self._slow = _Choice(plan.seed, "slow session", slow) if shape.slow_share else None
        in_turn = len({one.weight for one in client.sources}) == 1
        self._sources = [one.address(i) for one in client.sources for i in range(one.size)] if in_turn else []
        self._source = _Addresses(plan.seed, "source", client.sources) if client.sources and not in_turn else None

    @classmethod
    def of(cls, plan: Plan, options: SessionOptions, server: object, *, index: int, step: int) -> "Identities | None":
        """None where all sessions are alike."""
        client = plan.session.client
        drawn = client.sources or client.ehlo_names or client.proxy_from or client.announced
        return cls(plan, options, server, index=index, step=step) if drawn or plan.session.shape.drawn else None

    def next(self) -> Identity:
        """Who the next session is."""
        self._number += self._step
        number = self._number
        options = self._options._replace(
            ehlo_name=self._names[self._name.at(number)] if self._name else self._options.ehlo_name,
            xclient=self._xclient.at(number) if self._xclient else None,
            xforward=self._xforward.at(number) if self._xforward else None,
            proxied=self._proxied is not None,
            max_messages=self._counts[self._count.at(number)] if self._count else self._options.max_messages,
            leaving=self._leavings[self._leaving.at(number)] if self._leaving else None,
        )
        source = self._source.at(number).address if self._source else ""
        if self._sources:
            source = self._sources[number % len(self._sources)]
        slow = self._slow is not None and self._slow.at(number) == 1
        return Identity(options, source, self._header(number), slow)

    def _header(self, number: int) -> bytes:
        header = _HEADERS[self._plan.proxy]
        if header is None or self._proxied is None:
            return b""
        client = self._proxied.at(number)
        version = ipaddress.ip_address(client.address).version
        host, port = _LOOPBACK[version], 25
        if self._server is not None:
            port = self._server.port
            if ipaddress.ip_address(self._server.host.partition("%")[0]).version == version:
                host = self._server.host.partition("%")[0]
        return header(client.address, client.port, host, port)
