"""What a corpus shall be: everything that decides its octets, in one frozen description.

Takes     fields from a program or the command line, or a TOML file
Gives     a checked Recipe
Refuses   what contradicts itself or is not known: RecipeError names the field, what was found, and what to try
Not here  sizes message by message (plan), making the file (corpus)
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
import enum
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mboxgen.limited import read_limited
from mboxgen.recipe.distributions import Mix
from mboxgen.recipe.faults import FaultError, parse_fault
from mboxgen.recipe.profiles import PROFILES, MailProfile
from mboxgen.recipe.sizes import PRESETS, SizeError, Sizes, format_size, parse_size, parse_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT_VERSION = 3  # the same recipe gives the same octets as long as this number is the same
MAX_COUNT = 10**10  # the identity of a message has ten hexadecimal digits
MAX_SEED = (1 << 128) - 1  # what numpy's SeedSequence takes up without folding

_DOMAIN = re.compile(
    r"(?=.{1,64}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


_MAX_RECIPE_OCTETS = 16 * 1024 * 1024


class RecipeError(ValueError):
    """A recipe that cannot be carried out; the text is one line for the user."""


class Eol(enum.Enum):
    """How lines end in the file; sizes are always counted with CRLF."""

    CRLF = "crlf"
    LF = "lf"


class Format(enum.Enum):
    """What is written."""

    MBOX = "mbox"
    EML_DIR = "eml-dir"
    MAILDIR = "maildir"


class Order(enum.Enum):
    """Whether messages of given sizes and counts are shuffled."""

    SHUFFLED = "shuffled"
    AS_GIVEN = "as-given"


class Body(enum.Enum):
    """What the text of messages is made of."""

    PROSE = "prose"
    NOISE = "noise"


@dataclass(frozen=True)
class Recipe:
    """A corpus, described. The same recipe gives the same octets on any machine, with any number of workers.

    sizes         texts as parse_sizes takes them, or ("spec2001",): a preset
    count         how many messages; None when sizes say it ("10kb:5") or total_octets limits it
    total_octets  as many messages as fit into this, as delivered
    look          a mail profile, a name in PROFILES; None: the preset's own, "plain" without preset
    unique_share  share of attachments that occur once; None: the profile's own
    smtputf8      share of messages with addresses and header fields in raw UTF-8
    faults        (name, share of messages), see FAULTS
    start, days   the dates of the messages rise evenly over this span; None: the profile's own
    id_domain     what stands after the @ of Message-IDs
    """

    sizes: tuple[str, ...]
    count: int | None = None
    total_octets: int | None = None
    seed: int = 0
    look: str | None = None
    body: Body = Body.PROSE
    unique_share: float | None = None
    smtputf8: float = 0.0
    faults: tuple[tuple[str, float], ...] = ()
    format: Format = Format.MBOX
    eol: Eol | None = None
    order: Order = Order.SHUFFLED
    start: dt.date | None = None
    days: int | None = None
    id_domain: str = "mboxgen.example"

    def __post_init__(self) -> None:
        try:
            distribution = self.distribution
            for name, share in self.faults:
                parse_fault(f"{name}:{share}")
        except (SizeError, FaultError) as error:
            raise RecipeError(str(error)) from None
        self._check_numbers()
        if self.look is not None and self.look not in PROFILES:
            raise RecipeError(f'expected a look ({", ".join(PROFILES)}), got "{self.look}"')
        profile = self.chosen_profile
        if self.chosen_start < profile.era.since:
            raise RecipeError(
                f'mail of the look "{profile.name}" has fields that did not exist before '
                f"{profile.era.since}, got --start {self.chosen_start}; choose a later date or another --look"
            )
        if self.count is None and self.total_octets is None and self.counts is None:
            raise RecipeError(
                f'how many messages of "{distribution.name}"? say --count or --total-size, '
                "or give every --size a count (10kb:5)"
            )
        if self.count is not None and self.total_octets is not None:
            raise RecipeError("--count and --total-size both limit the corpus; give one of them")
        if len({name for name, _ in self.faults}) < len(self.faults):
            raise RecipeError("a fault was given twice; give each one rate")
        if self.lf and any(name == "bare-lf" for name, _ in self.faults):
            raise RecipeError("a bare LF cannot be told from a line end in a file with LF; use --eol crlf")

    def _check_numbers(self) -> None:
        checks = (
            ("count", self.count is None or 0 < self.count <= MAX_COUNT, f"1 to {MAX_COUNT}", self.count),
            ("total-size", self.total_octets is None or self.total_octets > 0, "above zero", self.total_octets),
            ("seed", 0 <= self.seed <= MAX_SEED, "0 to 2^128 - 1", self.seed),
            ("unique-share", 0 <= self.chosen_unique_share <= 1, "0 to 1", self.unique_share),
            ("smtputf8", 0 <= self.smtputf8 <= 1, "0 to 1", self.smtputf8),
            ("days", self.days is None or 0 < self.days <= 36_525, "1 to 36525", self.days),
            ("start", self.start is None or 1971 <= self.start.year <= 2099, "1971 to 2099", self.start),
            ("id-domain", bool(_DOMAIN.fullmatch(self.id_domain)), "a domain of at most 64 characters", self.id_domain),
        )
        for name, good, wanted, found in checks:
            if not good:
                raise RecipeError(f'{name} must be {wanted}, got "{found}"')

    @cached_property
    def distribution(self) -> Sizes:
        """The sizes."""
        return parse_sizes(self.sizes)

    @property
    def preset(self) -> str | None:
        """The preset's name, when the sizes are one."""
        name = self.distribution.name
        return name if name in PRESETS else None

    @property
    def counts(self) -> tuple[int, ...] | None:
        """How many messages of each size, when the sizes say so and nothing else does."""
        mix = self.distribution
        if self.count is not None or self.total_octets is not None or not isinstance(mix, Mix):
            return None
        if self.preset or not all(":" in spec for spec in self.sizes):
            return None
        counts = tuple(int(weight) for weight in mix.weights)
        if counts != mix.weights:
            raise RecipeError(f'counts must be whole numbers, got "{mix.name}"; say --count to read them as weights')
        return counts

    @property
    def chosen_profile(self) -> MailProfile:
        """The mail profile asked for, or the preset's."""
        name = self.look or (PRESETS[self.preset].profile if self.preset else "plain")
        return PROFILES[name]

    @property
    def chosen_start(self) -> dt.date:
        """The first date asked for, or the profile's."""
        return self.start or self.chosen_profile.era.start

    @property
    def chosen_days(self) -> int:
        """The span asked for, or the profile's."""
        return self.days or self.chosen_profile.era.days

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of all that decides what messages say: no other corpus has them.

        The form of the file (format, eol) is left out: the same message has the same Message-ID in every one.
        """
        fields = {name: value for name, value in self.as_fields().items() if name not in ("format", "eol")}
        return hashlib.sha256(json.dumps([FORMAT_VERSION, fields], sort_keys=True).encode()).hexdigest()[:12]

    @property
    def chosen_unique_share(self) -> float:
        """The share asked for, or the profile's."""
        return self.chosen_profile.unique_share if self.unique_share is None else self.unique_share

    @property
    def lf(self) -> bool:
        """Whether lines end in LF: as asked, else only in a Maildir, where servers store them so."""
        if self.eol is None:
            return self.format is Format.MAILDIR
        return self.eol is Eol.LF

    def as_fields(self) -> dict[str, Any]:
        """Give the fields as a manifest or a recipe file has them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["faults"] = [f"{name}:{share}" for name, share in self.faults]
        fields["sizes"] = list(self.sizes)
        fields["start"] = self.start.isoformat() if self.start else None
        fields["total_size"] = fields.pop("total_octets")
        return {
            name: value.value if isinstance(value, enum.Enum) else value
            for name, value in fields.items()
            if value is not None
        }


def load(path: Path) -> dict[str, Any]:
    """Read a recipe file into the fields of a Recipe."""
    import tomllib

    try:
        fields = tomllib.loads(read_limited(path, _MAX_RECIPE_OCTETS).decode("utf-8-sig"))
    except OSError as error:
        raise RecipeError(f'cannot read the recipe "{path}": {error.strerror or error}') from None
    except RecursionError:
        raise RecipeError(f'expected a TOML file, "{path}" is none: its tables are nested too deep') from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of more digits than Python reads
        raise RecipeError(f'expected a TOML file, "{path}" is none: {error}') from None
    return from_fields(fields, str(path))


def from_fields(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Turn the fields of a recipe file into those of a Recipe; unknown ones are refused with the nearest known."""
    made: dict[str, Any] = {}
    for key, value in fields.items():
        if key not in _FIELDS:
            near = difflib.get_close_matches(key, _FIELDS, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(_FIELDS)}"
            raise RecipeError(f'unknown field "{key}" in "{name}"; {hint}')
        wanted, read = _FIELDS[key]
        try:
            target, made_value = read(value)
        except (TypeError, ValueError) as error:
            said = (
                str(error)
                if isinstance(error, (SizeError, FaultError, RecipeError))
                else f"expected {wanted}, got {value!r}"
            )
            raise RecipeError(f'field "{key}" in "{name}": {said}') from None
        if target in made:
            raise RecipeError(f'"{name}" says the sizes twice; give "sizes" or "preset"')
        made[target] = made_value
    return made


def merged(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Let what was given on the command line win over a recipe's fields; a limit replaces the other limit."""
    kept = dict(fields)
    if "count" in given or "total_octets" in given:
        kept.pop("count", None)
        kept.pop("total_octets", None)
    return {**kept, **given}


def unknown_preset(name: str) -> str:
    """Say that there is no such preset, and which is near."""
    near = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"presets are {', '.join(PRESETS)}"
    return f'unknown preset "{name}"; {hint}'


def _preset(value: object) -> str:
    if value not in PRESETS:
        raise RecipeError(unknown_preset(str(value)))
    return str(value)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, (str, int)) for item in value):
        raise TypeError
    return tuple(str(item) for item in value)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _share(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError
    return float(value)


def _date(value: object) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))


def _size(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else parse_size(str(value))


_FIELDS: Mapping[str, tuple[str, Any]] = {
    "sizes": ('sizes such as ["10kb:5", "80kb:5"]', lambda value: ("sizes", _texts(value))),
    "preset": (f"a preset ({', '.join(PRESETS)})", lambda value: ("sizes", (_preset(value),))),
    "count": ("a whole number", lambda value: ("count", _whole(value))),
    "total_size": (f"a size such as {format_size(10**10)!r}", lambda value: ("total_octets", _size(value))),
    "seed": ("a whole number", lambda value: ("seed", _whole(value))),
    "look": (f"a look ({', '.join(PROFILES)})", lambda value: ("look", str(value))),
    "body": ('"prose" or "noise"', lambda value: ("body", Body(value))),
    "unique_share": ("a number from 0 to 1", lambda value: ("unique_share", _share(value))),
    "smtputf8": ("a number from 0 to 1", lambda value: ("smtputf8", _share(value))),
    "faults": (
        'faults such as ["leading-dot:0.03"]',
        lambda value: ("faults", tuple(parse_fault(text) for text in _texts(value))),
    ),
    "format": ('"mbox", "eml-dir" or "maildir"', lambda value: ("format", Format(value))),
    "eol": ('"crlf" or "lf"', lambda value: ("eol", Eol(value))),
    "order": ('"shuffled" or "as-given"', lambda value: ("order", Order(value))),
    "start": ("a date such as 2025-11-01", lambda value: ("start", _date(value))),
    "days": ("a whole number of days", lambda value: ("days", _whole(value))),
    "id_domain": ("a domain", lambda value: ("id_domain", str(value))),
}
