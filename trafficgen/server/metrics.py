"""Numbers that a program publishes in Prometheus' text format: kumod, Dovecot, node_exporter, any exporter.

Takes     the text of such a page; the address of one
Gives     for each name that was asked for, the sum over its labels, as a series `metric.NAME`
Limits    8 MiB of text, 5 s
Fails     ValueError for a text of another format; OSError when there is nobody
Source    prometheus.io, "Exposition formats"
Not here  whose address it may be (guard)

A line is a name, labels in braces, a number, and perhaps a time. Labelled series vanish when they are idle (kumod
prunes them), so a name that was there once and is not now is 0.
"""

import math
import re
import urllib.request
from collections.abc import Collection
from typing import Final

from trafficgen.errors import reason_of

MAX_OCTETS: Final = 8 << 20
PATIENCE_S: Final = 5.0

_LINE: Final = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?[ \t]+(\S+)(?:[ \t]+\S.*)?'
).fullmatch


def sums(text: str, names: Collection[str]) -> dict[str, float]:
    """By name, summed over labels; only those that are there."""
    found: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parsed = _LINE(line.strip())
        if parsed is None:
            raise ValueError(f'expected a metric in line {number}, got "{line[:80]}"')
        if parsed[1] in names:
            value = float(parsed[2])
            if math.isfinite(value):
                found[parsed[1]] = found.get(parsed[1], 0.0) + value
    return found


class MetricsPage:
    """One address, asked again and again."""

    def __init__(self, url: str, names: Collection[str]) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f'expected an address that begins with http:// or https://, got "{url}"')
        self.url = url
        self._names = frozenset(names)
        self._seen: set[str] = set()
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        """Each name's sum; nothing when the page cannot be had."""
        try:
            with urllib.request.urlopen(self.url, timeout=PATIENCE_S) as page:  # noqa: S310  (checked above)
                text = page.read(MAX_OCTETS).decode("utf-8", "replace")
            found = sums(text, self._names)
        except (OSError, ValueError) as error:
            self.missing.add(f"{self.url}: {reason_of(error)}")
            return {}
        self._seen |= found.keys()
        return {f"metric.{name}": found.get(name, 0.0) for name in sorted(self._seen)}
