"""A scenario file: every option of `send` or `mailbox` under its own name; of `send`, phases.

Takes     a TOML file whose keys are option names (`message-count = 1000`, `domain = ["gmail.com:67.4"]`), with phases
          in `[[phase]]` tables
Gives     the options' defaults for this command: what is typed or in the environment wins over them
Refuses   unknown keys, with the nearest known one; values of the wrong kind; phases that make no sense

Phases come in this order, each but `steady` only if wanted: `warm-up` at its own rate; `ramp`, a straight line to the
rate of `steady`; `steady`, the part that verdicts are made from; `drain`, how long messages on their way may take.
Without a rate in `steady` the run is closed-loop and a ramp has no meaning.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from trafficgen import units
from trafficgen.errors import PlanError, reason_of

MAX_SCENARIO_OCTETS: Final = 16 * 1024 * 1024
KINDS: Final = ("warm-up", "ramp", "steady", "drain")
PHASE_KEYS: Final = ("kind", "duration", "rate")
_SET_BY_PHASES: Final = ("rate", "stage", "duration", "warm-up", "grace")
_NOT_IN_A_FILE: Final = ("scenario", "help", "version", "list-presets", "dry-run")


def use_scenario(context: click.Context, _parameter: click.Parameter, path: str | None) -> None:
    """The callback of --scenario: what the file says becomes the defaults of the command."""
    if path is not None and not context.resilient_parsing:
        context.default_map = dict(context.default_map or {}) | read_scenario(Path(path), context.command.params)


def read_scenario(path: Path, parameters: Iterable[click.Parameter]) -> dict[str, Any]:
    """The file's values by parameter name."""
    import tomllib

    from mboxgen.limited import read_limited

    try:
        plain = tomllib.loads(read_limited(path, MAX_SCENARIO_OCTETS).decode("utf-8-sig"))
    except OSError as error:
        raise wrong(f'cannot read "{path}": {reason_of(error)}') from error
    except UnicodeDecodeError as error:
        raise wrong(f'"{path}" is not a scenario: expected UTF-8 text, found octet {error.start} is not') from error
    except ValueError as error:
        raise wrong(f'"{path}" is not a scenario: {error}') from error
    except RecursionError as error:
        raise wrong(f'"{path}" is not a scenario: its tables are nested too deep') from error
    try:
        return _defaults(plain, parameters)
    except ValueError as error:
        raise wrong(f'"{path}": {error}') from error


def known_options(parameters: Iterable[click.Parameter]) -> dict[str, click.Option]:
    """The options that a scenario may set, by their name there."""
    options = {
        name.removeprefix("--"): option
        for option in parameters
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }
    return {name: option for name, option in options.items() if name not in _NOT_IN_A_FILE}


def _defaults(plain: Mapping[str, Any], parameters: Iterable[click.Parameter]) -> dict[str, Any]:
    known = known_options(parameters)
    values = {key: value for key, value in plain.items() if key != "phase"}
    for key in values:
        _check_known(key, (*known, "phase"))
    if "phase" in plain:
        if "rate" not in known:
            raise ValueError("this command has no phases: its rates are those of its profile")
        for key in _SET_BY_PHASES:
            if key in values:
                raise ValueError(f'"{key}" is set by the phases; leave it out, or the phases')
        values |= _phases(plain["phase"])
    return {known[key].name or key: _value(key, value, known[key]) for key, value in values.items()}


def _check_known(key: str, known: Iterable[str], what: str = "key") -> None:
    names = list(known)
    if key not in names:
        from difflib import get_close_matches

        nearest = get_close_matches(key.replace("_", "-"), names, 1, 0.5)
        hint = f'; did you mean "{nearest[0]}"?' if nearest else ""
        raise ValueError(f'unknown {what} "{key}"{hint}')


def _value(key: str, value: Any, option: click.Option) -> Any:
    if option.multiple:
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str | int | float) and not isinstance(entry, bool) for entry in entries):
            raise ValueError(f'expected text or a list of texts for "{key}", got {value!r}')
        return tuple(map(str, entries))
    if option.is_flag:
        if not isinstance(value, bool):
            raise ValueError(f'expected true or false for "{key}", got {value!r}')
        return value
    if isinstance(option.type, click.types.IntParamType):
        if isinstance(value, str | int) and not isinstance(value, bool):
            return value
        raise ValueError(f'expected a whole number for "{key}", got {value!r}')
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f'expected a text or a number for "{key}", got {value!r}')


# -- phases ---------------------------------------------------------------------------------------------


def _phases(tables: Any) -> dict[str, Any]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError("expected phases as [[phase]] tables")
    phases = {_kind(table): table for table in tables}
    kinds = [table["kind"] for table in tables]
    if kinds != [kind for kind in KINDS if kind in phases]:
        raise ValueError(f"expected each phase once and in the order {', '.join(KINDS)}, got {', '.join(kinds)}")
    if "steady" not in phases:
        raise ValueError("expected a steady phase: verdicts are made from it")
    spans = {kind: _number(phase, "duration", units.parse_duration) for kind, phase in phases.items()}
    before_ns = spans.get("warm-up", 0) + spans.get("ramp", 0)
    values: dict[str, Any] = {"duration": f"{before_ns + spans['steady']}ns"}
    if before_ns:
        values["warm-up"] = f"{before_ns}ns"
    if "drain" in phases:
        values["grace"] = f"{spans['drain']}ns"
    return values | _rates(phases, spans)


def _kind(table: Mapping[str, Any]) -> str:
    for key in table:
        _check_known(key, PHASE_KEYS, "key in a phase:")
    if "kind" not in table:
        raise ValueError(f"expected a phase with a kind, one of {', '.join(KINDS)}")
    kind = str(table["kind"])
    _check_known(kind, KINDS, "kind of phase:")
    return kind


def _rates(phases: Mapping[str, Mapping[str, Any]], spans: Mapping[str, int]) -> dict[str, Any]:
    """Stages that draw the phases' rates; a plain rate where it never changes."""
    rated = [kind for kind, phase in phases.items() if "rate" in phase]
    for kind in rated:
        if kind not in ("warm-up", "steady"):
            raise ValueError(f"a {kind} has no rate of its own")
    if not rated:
        if "ramp" in phases:
            raise ValueError("a ramp needs the rate of the steady phase that it leads to")
        return {}
    if "steady" not in rated:
        raise ValueError("expected a rate for the steady phase too")
    steady = _number(phases["steady"], "rate", units.parse_rate)
    first = _number(phases["warm-up"], "rate", units.parse_rate) if "warm-up" in rated else steady
    if "ramp" not in phases and first == steady:
        return {"rate": f"{steady:.9g}/s"}
    if "ramp" in phases and "warm-up" not in phases:
        first = 0.0
    stages = [(0, first), (spans.get("warm-up", 0), first), (spans.get("ramp", 0), steady), (spans["steady"], steady)]
    return {"stage": [f"{span}ns:{rate:.9g}" for span, rate in stages]}


def _number(phase: Mapping[str, Any], key: str, parse: Callable[[str], Any]) -> Any:
    if key not in phase:
        raise ValueError(f'expected a {key} for the phase "{phase["kind"]}"')
    return parse(str(phase[key]))


def wrong(text: str) -> PlanError:
    """A PlanError about the scenario."""
    return PlanError(text, field="scenario", flag="--scenario")
