"""The guard: which addresses anything of ours may connect to.

Takes     a target as the user wrote it
Gives     the addresses it stands for, resolved once; nothing else is ever connected to
Refuses   an address that is not loopback, private or link-local, unless the user allowed public ones
Not here  connecting (engine.opening, sink.bounces), which recipients a run may have (engine.address)
"""

import ipaddress
import socket
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from trafficgen.errors import PlanError, SetupError
from trafficgen.plan import Target, TcpTarget, UnixTarget
from trafficgen.plan.targets import port_hint

LOCAL_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "::1/128",  # loopback: RFC 1122 3.2.1.3, RFC 4291 2.5.3
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private: RFC 1918
        "fc00::/7",  # unique local: RFC 4193
        "169.254.0.0/16", "fe80::/10",  # link-local: RFC 3927, RFC 4291 2.5.6
    )
)  # fmt: skip


_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Route:
    """Where to connect to. `name` is the host as the user wrote it, which TLS certificates are checked against.

    `hosts`: where addresses are those of different hosts, whose each is; certificates are then checked against that.
    `equal`: so many of the first addresses are equally good, and sessions begin with each in turn.
    """

    name: str
    addresses: tuple[Target, ...]
    hosts: tuple[str, ...] = ()
    equal: int = 1

    def __str__(self) -> str:
        if not self.hosts:
            return ", ".join(map(str, self.addresses))
        return ", ".join(f"{host} at {address}" for host, address in zip(self.hosts, self.addresses, strict=True))

    def host_at(self, index: int) -> str:
        """What the certificate at this address has to be for."""
        return self.hosts[index] if self.hosts else self.name

    @property
    def rotated(self) -> "tuple[Route, ...]":
        """The same, beginning with each of those addresses that are equally good."""
        return tuple(
            replace(
                self,
                addresses=_rotated(self.addresses, self.equal, at),
                hosts=_rotated(self.hosts, self.equal, at),
            )
            for at in range(self.equal)
        )

    def of_version(self, version: int) -> "Route":
        """The same with addresses of this version of IP alone; 0 for all. Raises SetupError where there are none."""
        kept = [at for at, one in enumerate(self.addresses) if not version or _version(one) == version]
        if not kept:
            text = (
                f'"{self.name}" has no IPv{version} address, it is at {self}: leave --ip-version away, or name another'
            )
            raise SetupError(f"{text} (--ip-version)")
        return replace(
            self,
            addresses=tuple(self.addresses[at] for at in kept),
            hosts=tuple(self.hosts[at] for at in kept if self.hosts),
            equal=max(sum(at < self.equal for at in kept), 1),
        )


def _version(address: Target) -> int:
    return ipaddress.ip_address(address.host.partition("%")[0]).version if isinstance(address, TcpTarget) else 0


def _rotated(parts: tuple[_Part, ...], equal: int, at: int) -> tuple[_Part, ...]:
    return parts[at:equal] + parts[:at] + parts[equal:]


def is_local(address: str) -> bool:
    """Whether an IP address can only lead to machines of the user's own network."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return any(ip in network for network in LOCAL_NETWORKS if network.version == ip.version)


def resolve(target: Target, flag: str = "--target") -> Route:
    """All addresses of `target`, in the order the system prefers them. Raises SetupError for an unknown host."""
    if isinstance(target, UnixTarget):
        return Route("localhost", (target,))
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise SetupError(f'cannot resolve "{target.host}": {words}; check the name ({flag})') from error
    hosts = dict.fromkeys(str(entry[4][0]) + _scope(entry[4]) for entry in found)
    return Route(target.host, tuple(TcpTarget(host, target.port) for host in hosts))


def refuse_public(route: Route, flag: str = "--target") -> None:
    """Raises PlanError, which says what to type, when one of the addresses could be a stranger's."""
    public = [
        (a, route.host_at(at))
        for at, a in enumerate(route.addresses)
        if isinstance(a, TcpTarget) and not is_local(a.host)
    ]
    if public:
        target, host = public[0]
        whose = f'"{route.name}"' if host == route.name else f'"{host}", which takes mail for "{route.name}",'
        raise PlanError(
            f"{whose} is at {target.host}, which is not a loopback, private or link-local address: load on "
            "somebody else's server is an attack; if this server is yours, add --allow-public-target "
            "(allow_public_target=True)" + port_hint(route.name, target.port),
            field=flag[2:].replace("-", "_"),
            flag=flag,
        )


def _scope(sockaddr: tuple[object, ...]) -> str:
    """ "%interface" for a link-local IPv6 address, which means nothing without it."""
    scope = sockaddr[3] if len(sockaddr) == 4 else 0
    return f"%{scope}" if scope and "%" not in str(sockaddr[0]) else ""
