"""Numbers that can be asked of results, by name.

    p50 p99 p(99.9) avg min med max     response time in the open model, service time in the closed one
    connect.p95 end_of_data.max …       the same of any stretch of `latency_ns`
    domain{gmail.com}.p95               the same of one domain, with or without its suffix
    command{fetch}.p99                  the same of one kind of command, of those that were carried out
    command{fetch}.errors .count        the share of them that was refused or not answered; how many there were
    command{fetch}.throughput           carried out a second
    queue.depth host.io_pressure.avg …  what an observer saw of the server (`verdict.server_quantities`)
    throughput                          accepted messages a second
    accepted.rate failed.count …        what became of messages: the share of those started, or how many
    delivery.lost .doubled .damaged …   mail in mailboxes against what was delivered there: how many

Takes     a name; `Results`
Gives     what it names, whether more of it is better, and its value, read from the window where there is one
Fails     ValueError on a name that is not known, with the nearest that is; None where nothing was measured
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Final, Protocol

from trafficgen.measure.counts import CommandCounts, MessageCounts, Rate
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.phases import NAME, OF_MAILBOXES, OF_OLD_FILES, PhaseTable
from trafficgen.measure.results import Results
from trafficgen.verdict.rule import Better
from trafficgen.verdict.server_quantities import SERVER, kind_of_series, read_series


class Measured(Protocol):
    """What numbers are read from: whole results, or a window of them."""

    @property
    def messages(self) -> MessageCounts: ...
    @property
    def rate(self) -> Rate: ...
    @property
    def histograms(self) -> Mapping[str, Histogram]: ...
    @property
    def domain_histograms(self) -> Mapping[str, Histogram]: ...
    @property
    def commands(self) -> Mapping[str, CommandCounts]: ...
    @property
    def command_histograms(self) -> Mapping[str, Histogram]: ...


class QuantityKind(Enum):
    """In which unit a value is given."""

    DURATION = "ns"
    SHARE = "share"
    RATE = "per second"
    COUNT = "count"
    OCTETS = "octets"
    OCTETS_RATE = "octets per second"
    NUMBER = "number"


OUTCOMES: Final = (
    "accepted", "rejected", "rejected_temporary", "rejected_permanent", "failed", "in_doubt", "not_started",
)  # fmt: skip

_AGGREGATES: Final = ("avg", "min", "med", "max", "p50", "p75", "p90", "p95", "p99", "p99.9")
_PERCENTILE: Final = re.compile(r"p\(?(\d{1,2}(?:\.\d+)?)\)?")
_DOMAIN: Final = re.compile(r"domain\{([^{}]+)\}\.(.+)")
_COMMAND: Final = re.compile(r"command\{([^{}]+)\}\.(.+)")
_OF_COMMANDS: Final = {
    "errors": QuantityKind.SHARE, "count": QuantityKind.COUNT, "throughput": QuantityKind.RATE,
}  # fmt: skip
_OF_DELIVERED: Final = {
    "delivered": "delivered", "read": "read", "lost": "missing", "missing": "missing", "doubled": "doubled",
    "damaged": "damaged", "misplaced": "misplaced", "dropped": "dropped", "not_yet_due": "not_yet_due",
}  # fmt: skip
KNOWN: Final = OF_OLD_FILES | OF_MAILBOXES
"""What may be timed in any run of ours."""

_NAMES: Final = (
    *_AGGREGATES, "throughput", *(f"{name}.rate" for name in OUTCOMES), *(f"{name}.count" for name in OUTCOMES),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of results. `subject`: a stretch, an outcome, "latency", "throughput" or "command"; `form`: an
    aggregate such as "p99", or "rate", "count", "errors" or "throughput"."""

    name: str
    kind: QuantityKind
    subject: str
    form: str
    domain: str | None = None
    command: str | None = None

    @property
    def better(self) -> Better:
        """Whether more of it is good."""
        more = (
            self.name in ("delivery.delivered", "delivery.read")
            or self.subject in ("throughput", "accepted")
            or (self.form in ("throughput", "count") and self.command)
            or self.name.startswith(("space.", "host.memory_available"))
        )
        return Better.HIGHER if more else Better.LOWER

    def read(self, results: Results) -> float | None:
        """Its value; None when nothing was measured that it could be taken from."""
        measured: Measured = results.window or results
        if self.kind is QuantityKind.DURATION and self.subject != SERVER:
            histogram = self._histogram(results, measured)
            return aggregate(histogram, self.form) if histogram and histogram.count else None
        if self.subject == SERVER:
            return read_series(results, self.name)
        if self.command is not None:
            return _of_command(measured.commands.get(self.command), self.form)
        if self.subject == "delivery":  # of the whole run: a message is read long after it is delivered
            return float(getattr(results.mailboxes, _OF_DELIVERED[self.form])) if results.mailboxes else None
        if self.subject == "throughput":
            return measured.rate.messages_per_s
        return _outcome(measured.messages, self.subject, share=self.form == "rate")

    def _histogram(self, results: Results, measured: Measured) -> Histogram | None:
        if self.command is not None:
            return measured.command_histograms.get(self.command)
        if self.domain is not None:
            found = matching_domain(self.domain, tuple(results.domains))
            return measured.domain_histograms.get(found) if found else None
        usual = "response" if results.run.model == "open" else "service"
        return measured.histograms.get(usual if self.subject == "latency" else self.subject)


def parse_quantity(text: str, table: PhaseTable = KNOWN) -> Quantity:
    """The quantity that `text` names. ValueError with the nearest known name when there is none.

    `table`: which phases are timed.
    """
    name = text.strip()
    if found := _DOMAIN.fullmatch(name):
        if _is_aggregate(found[2]):
            return Quantity(name, QuantityKind.DURATION, "latency", found[2], found[1])
        raise ValueError(f'expected domain{{NAME}}.p95 or another percentile, avg, min, med or max, got "{name}"')
    if found := _COMMAND.fullmatch(name):
        return _parse_command(name, found[1], found[2])
    if (kind := kind_of_series(name)) is not None:
        return Quantity(name, QuantityKind(kind), SERVER, name.rpartition(".")[2])
    if name == "throughput":
        return Quantity(name, QuantityKind.RATE, name, "rate")
    subject, _, form = name.partition(".") if not _is_aggregate(name) else ("latency", ".", name)
    if subject in ("latency", *table.stretches) and _is_aggregate(form):
        return Quantity(name, QuantityKind.DURATION, subject, form)
    if subject in OUTCOMES and form in ("rate", "count"):
        return Quantity(name, QuantityKind.SHARE if form == "rate" else QuantityKind.COUNT, subject, form)
    timed = (f"{stretch}.{of}" for stretch in table.stretches for of in ("p50", "p95", "p99", "max"))
    if subject == "delivery" and form in _OF_DELIVERED:
        return Quantity(name, QuantityKind.COUNT, subject, form)
    nearest = get_close_matches(name, (*_NAMES, *timed, *(f"delivery.{of}" for of in _OF_DELIVERED)), 1, 0.5)
    hint = f'; did you mean "{nearest[0]}"?' if nearest else "; try p99, throughput or accepted.rate"
    raise ValueError(f'expected a known metric, got "{name}"{hint}')


def _parse_command(name: str, command: str, form: str) -> Quantity:
    if not NAME.fullmatch(command):
        raise ValueError(f'expected command{{NAME}} with a name of lower-case letters, digits and _, got "{name}"')
    if _is_aggregate(form):
        return Quantity(name, QuantityKind.DURATION, "command", form, command=command)
    if form in _OF_COMMANDS:
        return Quantity(name, _OF_COMMANDS[form], "command", form, command=command)
    raise ValueError(
        f"expected command{{NAME}}.p99 or another percentile, avg, min, med, max, errors, count or throughput, "
        f'got "{name}"'
    )


def is_quantity(text: str) -> bool:
    """Whether `text` names one."""
    try:
        parse_quantity(text)
    except ValueError:
        return False
    return True


def matching_domain(name: str, domains: tuple[str, ...]) -> str | None:
    """Which of `domains` is meant by `name`; either may have a suffix that the other has not."""
    lowered = name.lower()
    if lowered in domains:
        return lowered
    fits = (
        domain
        for domain in domains
        if f"{domain.lower()}.".startswith(f"{lowered}.") or f"{lowered}.".startswith(f"{domain.lower()}.")
    )
    return next(fits, None)


def _is_aggregate(text: str) -> bool:
    return text in _AGGREGATES or _PERCENTILE.fullmatch(text) is not None


def aggregate(histogram: Histogram, form: str) -> float | None:
    """What a quantity's `form` names, of a histogram; None when it holds nothing."""
    match form:
        case "avg":
            return histogram.mean_ns
        case "min":
            return histogram.min_ns
        case "max":
            return histogram.max_ns
        case "med":
            return histogram.quantile_ns(0.5)
    found = _PERCENTILE.fullmatch(form)
    assert found is not None
    return histogram.quantile_ns(float(f"{found[1]}e-2"))


def _of_command(counts: CommandCounts | None, form: str) -> float | None:
    if counts is None:
        return None
    match form:
        case "count":
            return float(counts.count)
        case "throughput":
            return counts.per_s
    return counts.errors / counts.count if counts.count else None


def _outcome(messages: MessageCounts, name: str, *, share: bool) -> float | None:
    if name == "rejected":
        number = messages.rejected_temporary + messages.rejected_permanent
    else:
        number = getattr(messages, name)
    whole = messages.planned if name == "not_started" else messages.started
    if not share:
        return float(number)
    return number / whole if whole else None
