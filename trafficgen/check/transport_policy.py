"""The policy of MTA-STS: one small file, fetched over HTTPS from a host of the domain's (RFC 8461 3.2, 3.3).

Takes     a domain; `Lookups`; the authorities that the check trusts
Gives     `TransportPolicy`
Limits    one GET, no redirects (3.3), 64 KiB; only to addresses that the guard allows
Fails     `PolicyRefused` for a policy that senders would not take; `ConnectionEnded` when it could not be asked for
"""

import http.client
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Final

from trafficgen import guard
from trafficgen.check.conversation import ConnectionEnded
from trafficgen.check.service import CheckedServer
from trafficgen.host.lookups import Lookups

HTTPS_PORT: Final = 443
PATH: Final = "/.well-known/mta-sts.txt"
_MAX_OCTETS: Final = 65_536
_MODES: Final = ("enforce", "testing", "none")


class PolicyRefused(Exception):  # noqa: N818  (what the domain did, not an error of ours)
    """No sender would use it. The text says why."""


@dataclass(frozen=True, slots=True)
class TransportPolicy:
    """`names`: of hosts, or "*.example.com" for one label more."""

    mode: str
    names: tuple[str, ...]
    max_age_s: int

    def covers(self, host: str) -> bool:
        """RFC 8461 4.1."""
        return host in self.names or f"*.{host.partition('.')[2]}" in self.names


def fetch_policy(domain: str, lookups: Lookups, server: CheckedServer, *, allow_public: bool) -> TransportPolicy:
    """Of the domain."""
    host = f"mta-sts.{domain}"
    addresses = lookups.addresses(host)
    if not addresses:
        raise PolicyRefused(f"{host} has no address")
    if not (allow_public or all(map(guard.is_local, addresses))):
        raise ConnectionEnded(f"{host} is at {addresses[0]}, a public address (--allow-public-target)")
    try:
        raw = socket.create_connection((addresses[0], HTTPS_PORT), server.timeout_s)
        with raw, server.verifying().wrap_socket(raw, server_hostname=host) as tls:
            asking = http.client.HTTPSConnection(host)
            asking.sock = tls
            asking.request("GET", PATH, headers={"Connection": "close"})
            answer = asking.getresponse()
            octets = answer.read(_MAX_OCTETS + 1)
    except ssl.SSLCertVerificationError as error:
        raise PolicyRefused(f"https://{host}: {error.verify_message}") from error
    except (OSError, http.client.HTTPException) as error:
        raise PolicyRefused(f"https://{host}{PATH}: {str(error).lower() or type(error).__name__}") from error
    if answer.status != 200:
        raise PolicyRefused(f"https://{host}{PATH}: status {answer.status}")
    if len(octets) > _MAX_OCTETS:
        raise PolicyRefused(f"the policy is larger than {_MAX_OCTETS} octets")
    return parse_policy(octets.decode("utf-8", "replace"))


def parse_policy(text: str) -> TransportPolicy:
    """RFC 8461 3.2: a field a line. Unknown ones are passed over; where one repeats the first counts, but for mx."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), []).append(value.strip())
    first = {name: values[0] for name, values in fields.items()}
    if first.get("version") != "STSv1":
        raise PolicyRefused(f'version "{first.get("version", "")}" in place of STSv1')
    if (mode := first.get("mode", "")) not in _MODES:
        raise PolicyRefused(f'mode "{mode}" in place of {", ".join(_MODES)}')
    if not re.fullmatch(r"\d{1,10}", age := first.get("max_age", "")):
        raise PolicyRefused(f'max_age "{age}" is no number of seconds')
    names = tuple(name.lower().rstrip(".") for name in fields.get("mx", ()))
    if mode != "none" and not names:
        raise PolicyRefused("it names no mx")
    return TransportPolicy(mode, names, int(age))
