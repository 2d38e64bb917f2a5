"""Response tables: how often each domain refuses, and in which words.

Takes     KumoMTA's responses.toml as it is, or with our keys added
Gives     a `ResponseProfile` for every domain, and one for all others; warnings about what looks wrong
Refuses   with a PlanError what cannot be meant
Not here  drawing (sampler), the state that some keys need (limits, attempts), the session (policy)

    [default]                       # for domains that have no table of their own
    bounce = 10                     # per cent of messages refused for good
    defer = 5                       # per cent refused for now
    [domain."yahoo.com"]
    bounce = 5
    defer = 20
    [[defer."yahoo.com"]]           # one of the replies, chosen evenly
    code = 421
    msg = "4.7.0 try later"

Keys of ours, which KumoMTA's sink ignores: in a reply `weight` (1) and `stage`; in a domain or the default `stage`
("dot"), `delay` (see `delay.Delay`), `attempts` (the first tries of a sender for a recipient fail), `sticky` (who is
refused for good stays refused), `greylist` (a time: the first tries of a client, sender and recipient within it fail).
"""

import stat
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mboxgen.limited import read_limited
from trafficgen.errors import PlanError, reason_of
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.policy_hooks import STAGES
from trafficgen.sink.policy.delay import Delay
from trafficgen.sink.policy.replies import render
from trafficgen.units import parse_duration

DEFAULT_PROFILE: Final = Path(__file__).with_name("providers.toml")

_TABLES: Final = ("default", "domain", "bounce", "defer")
_PROFILE_KEYS: Final = {"bounce", "defer", "stage", "delay", "attempts", "sticky", "greylist"}
_REPLY_KEYS: Final = {"code", "msg", "weight", "stage"}
_OF_DOMAINS: Final = (Phase.RCPT, Phase.DATA, Phase.END_OF_DATA)
_OF_DEFAULT: Final = (Phase.GREETING, Phase.EHLO, Phase.MAIL, *_OF_DOMAINS)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reply of a list."""

    octets: bytes
    weight: float
    stage: Phase


NO_BOUNCE_TEXT: Final = render(550, "boing!")
NO_DEFER_TEXT: Final = render(451, "later!")
"""KumoMTA's sink says these for domains that have rates and no list."""


@dataclass(frozen=True, slots=True)
class ResponseProfile:
    """How one domain behaves. `bounce` and `defer` are per cent; the lists are never empty."""

    bounce: float
    defer: float
    bounces: tuple[Refusal, ...]
    defers: tuple[Refusal, ...]
    stage: Phase = Phase.END_OF_DATA
    delay: Delay | None = None
    attempts: int = 0
    sticky: bool = False
    greylist_ns: int = 0

    def odds(self, *, kumo: bool) -> tuple[float, float]:
        """Per cent of bounces and defers. `kumo`: a number from 1 to 100 must be *below*, which is one too few."""
        if not kumo:
            return self.bounce, self.defer
        bounce = max(self.bounce - 1, 0)
        return bounce, max(self.bounce + self.defer - 1, 0) - bounce


@dataclass(frozen=True, slots=True)
class Responses:
    """A whole table. `warnings` are lines for people."""

    default: ResponseProfile
    domains: Mapping[str, ResponseProfile]
    warnings: tuple[str, ...] = ()


_MAX_OCTETS: Final = 16 * 1024 * 1024


def read(path: Path, *, again: bool = False) -> Responses:
    """The table in a file. `again`: what gives its content once, and what has been emptied, is refused.

    A pipe that has been read is at its end, or waited for; an emptied file is one that is being written, or a mistake.
    Either would be a table that accepts everything.
    """
    try:
        status = path.stat()
        if again and stat.S_ISREG(status.st_mode) and not status.st_size:
            raise _wrong(f'"{path}" is empty; a comment alone is a table that refuses nothing')
        if again and not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise _wrong(f'"{path}" is no file, so it can be read only once; save the table to a file')
        return parse(read_limited(path, _MAX_OCTETS).decode("utf-8-sig"), str(path))
    except OSError as error:
        raise _wrong(f'cannot read "{path}": {reason_of(error)}') from error
    except UnicodeDecodeError as error:
        raise _wrong(f'"{path}" is no text in UTF-8') from error


def parse(text: str, name: str = "the table") -> Responses:
    """The table in a text; `name` is for errors."""
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # also a number of more digits than Python reads
        raise _wrong(f'"{name}" is no TOML: {error}') from error
    except RecursionError as error:
        raise _wrong(f'"{name}" is no TOML: its tables are nested too deep') from error
    return _Reader(tables, name).responses()


class _Reader:
    """One table on its way; collects warnings."""

    def __init__(self, tables: Mapping[str, Any], name: str) -> None:
        self._tables = tables
        self._name = name
        self._warnings: list[str] = []

    def responses(self) -> Responses:
        for table in self._tables:
            if table not in _TABLES:
                self._warnings.append(f'table "{table}" is not known and ignored')
        default_rates = self._table(self._tables.get("default", {}), "default")
        rates = self._named("domain")
        bounces = {name: self._refusals("bounce", name, list_) for name, list_ in self._named("bounce").items()}
        defers = {name: self._refusals("defer", name, list_) for name, list_ in self._named("defer").items()}
        default = self._profile("default", default_rates, default_rates, bounces, defers, _OF_DEFAULT)
        domains = {}
        for name in dict.fromkeys([*rates, *bounces, *defers]):
            # A domain that has only texts takes its rates from the default, as KumoMTA's sink does.
            own = self._table(rates.get(name, {}), f'domain."{name}"')
            domains[name.lower()] = self._profile(name, own, default_rates, bounces, defers, _OF_DOMAINS)
        return Responses(default, domains, tuple(self._warnings))

    def _named(self, table: str) -> Mapping[str, Any]:
        return self._table(self._tables.get(table, {}), table)

    def _table(self, value: object, where: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(f'expected [{where}] to be a table in "{self._name}"')
        return value

    def _profile(
        self,
        name: str,
        own: Mapping[str, Any],
        default: Mapping[str, Any],
        bounces: Mapping[str, tuple[Refusal, ...]],
        defers: Mapping[str, tuple[Refusal, ...]],
        stages: tuple[Phase, ...],
    ) -> ResponseProfile:
        for key in sorted(own.keys() - _PROFILE_KEYS):
            self._warnings.append(f'key "{key}" of {name} is not known and ignored')
        # The default's stage may be one where no recipient is known: that is not handed down.
        handed_down = {key: value for key, value in default.items() if key != "stage"}
        merged = {**handed_down, **own}
        bounce, defer = (self._percent(merged.get(key, 0), key, name) for key in ("bounce", "defer"))
        if bounce + defer > 100:
            raise _wrong(f'bounce and defer of {name} are over 100 per cent together in "{self._name}"')
        stage = self._stage(merged.get("stage", "dot"), name, stages)
        return ResponseProfile(
            bounce,
            defer,
            self._at(bounces.get(name), stage) or (Refusal(NO_BOUNCE_TEXT, 1, stage),),
            self._at(defers.get(name), stage) or (Refusal(NO_DEFER_TEXT, 1, stage),),
            stage,
            self._delay(merged.get("delay"), name),
            self._count(merged.get("attempts", 0), "attempts", name),
            merged.get("sticky", False) is True,
            self._duration_ns(merged.get("greylist"), name),
        )

    def _at(self, refusals: tuple[Refusal, ...] | None, stage: Phase) -> tuple[Refusal, ...]:
        """Those that name no stage get their domain's (CONNECT stands for none: no reply of a domain can have it)."""
        return tuple(
            Refusal(refusal.octets, refusal.weight, stage) if refusal.stage is Phase.GREETING else refusal
            for refusal in refusals or ()
        )

    def _refusals(self, kind: str, name: str, entries: object) -> tuple[Refusal, ...]:
        where = f'[[{kind}."{name}"]]'
        if not isinstance(entries, list):
            raise _wrong(f'expected {where} to be an array of tables in "{self._name}"')
        refusals = tuple(self._refusal(kind, where, self._table(entry, where)) for entry in entries)
        if doubles := sum(count - 1 for count in Counter(refusal.octets for refusal in refusals).values()):
            self._warnings.append(f"{where} has {doubles} of its replies twice, so they come twice as often")
        return refusals

    def _refusal(self, kind: str, where: str, entry: Mapping[str, Any]) -> Refusal:
        for key in sorted(entry.keys() - _REPLY_KEYS):
            self._warnings.append(f'key "{key}" of {where} is not known and ignored')
        code, text, weight = entry.get("code"), entry.get("msg", ""), entry.get("weight", 1)
        if isinstance(code, bool) or not isinstance(code, int) or not 400 <= code <= 599:
            raise _wrong(f'expected a code from 400 to 599 in {where} of "{self._name}", got "{code}"')
        if not isinstance(text, str):
            raise _wrong(f'expected a text as msg in {where} of "{self._name}"')
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1e9:
            raise _wrong(f'expected a weight above zero in {where} of "{self._name}"')
        if (code >= 500) != (kind == "bounce"):
            self._warnings.append(f"{where} has code {code}, which is for {'good' if code >= 500 else 'now only'}")
        stage = self._stage(entry["stage"], where, _OF_DOMAINS) if "stage" in entry else Phase.GREETING
        return Refusal(render(code, text), weight, stage)

    def _percent(self, value: object, key: str, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise _wrong(f'expected {key} of {name} to be per cent from 0 to 100 in "{self._name}", got "{value}"')
        return value

    def _stage(self, value: object, name: str, stages: tuple[Phase, ...]) -> Phase:
        for stage in stages:
            if value == STAGES[stage]:
                return stage
        names = ", ".join(STAGES[stage] for stage in stages)
        raise _wrong(f'expected the stage of {name} to be one of {names} in "{self._name}", got "{value}"')

    def _count(self, value: object, key: str, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
            raise _wrong(f'expected {key} of {name} to be a number from 0 to 1000 in "{self._name}"')
        return value

    def _delay(self, value: object, name: str) -> Delay | None:
        try:
            delay = Delay(str(value)) if value is not None else None
        except ValueError as error:
            raise _wrong(f'the delay of {name} in "{self._name}": {error}') from error
        return None if delay is None or delay.never else delay

    def _duration_ns(self, value: object, name: str) -> int:
        try:
            return parse_duration(str(value)) if value is not None else 0
        except ValueError as error:
            raise _wrong(f'greylist of {name} in "{self._name}": {error}') from error


def _wrong(text: str) -> PlanError:
    return PlanError(text, field="responses", flag="--responses")
