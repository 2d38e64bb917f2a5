"""Which ports of the server answer, against the list that should.

Takes     a server with `expected_ports`
Gives     ports.expected, ports.unexpected: one connection a port of a short list, to this host alone
"""

import socket
from collections.abc import Iterator
from typing import Final

from trafficgen.check.cases import finding, graded
from trafficgen.check.service import Probe
from trafficgen.plan import TcpTarget
from trafficgen.verdict.findings import Finding, Grade

USUAL: Final = (
    24, 25, 110, 143, 465, 587, 993, 995, 2525, 3306, 4190, 5432, 6379, 8000, 9154,
    10025, 10026, 10027, 10028, 11332, 11333, 11334,
)  # fmt: skip
"""Mail, its management (Sieve, metrics, filters), and databases that mail platforms have beside them."""

_PATIENCE_S: Final = 2.0


def ports(probe: Probe) -> Iterator[Finding]:
    """Connect once to each."""
    wanted = set(probe.server.expected_ports)
    address = probe.server.route.addresses[0]
    if not wanted or not isinstance(address, TcpTarget):
        words = "not asked for (--expect)"
        yield from (finding(probe, case, Grade.SKIPPED, words) for case in ("ports.expected", "ports.unexpected"))
        return
    answering = {port for port in sorted(wanted | set(USUAL)) if _answers(address.host, port)}
    silent, others = sorted(wanted - answering), sorted(answering - wanted)
    yield graded(probe, "ports.expected", not silent, f"no answer from {_list(silent)}" if silent else "all answer")
    words = f"{_list(others)} answer too" if others else f"none of {len(USUAL)} others"
    yield graded(probe, "ports.unexpected", not others, words)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except OSError:
        return False
    return True


def _list(ports: list[int]) -> str:
    return ", ".join(map(str, ports))
