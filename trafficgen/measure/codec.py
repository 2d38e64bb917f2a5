"""Frozen dataclasses to plain JSON values, and back with every value checked; their JSON Schema.

Takes     dataclasses made of numbers, text, truth values, enums, tuples, string-keyed mappings, each other, and
          objects with `to_dict` and `from_dict`
Gives     dicts and lists that `json` writes; from those, the same objects; what JSON Schema says of them
Fails     ValueError in one line that names the place, what was expected there and what was found; also for a key that
          no field has, with the nearest that there is
Not here  what must hold between values (soundness)
"""

import json
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Of things or octets; up to here JSON numbers are whole for every reader (RFC 8259 section 6)."""
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]
"""Rates, shares and means: never negative, infinite or not a number."""
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""At most 31 years, so that a date and it make a date."""

_MAX_DEPTH: Final = 32
_OF_KEY: Final = "key in "
_STEP: Final = re.compile(r"\[\.\.\.\]|\[\d+\]|[^.$\[\]]+")

_T = TypeVar("_T")


def to_plain(value: Any) -> Any:
    """`value` as JSON sees it."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


def parse(octets: bytes) -> Any:
    """Plain values from JSON text. ValueError also for numbers and nesting that JSON allows and nobody can use."""
    try:
        plain = msgspec.json.decode(octets)
        _check_depth(plain)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error).removeprefix("JSON is malformed: ")) from error
    return plain


def from_plain(kind: type[_T], plain: Any, *, closed: bool = True) -> _T:
    """The dataclass `kind` from what `to_plain` made of it. `closed` False: keys that no field has are passed over."""
    try:
        made = _convert(kind, plain)
    except msgspec.ValidationError as error:
        raise ValueError(_described(kind, plain, str(error))) from error
    if closed:
        _refuse_unknown(plain, to_plain(made), "")
    return made


def schema_of(kind: type, title: str) -> dict[str, Any]:
    """What JSON Schema (draft 2020-12) says of `kind`: the document itself, then its pieces."""
    (whole,), pieces = msgspec.json.schema_components([kind], schema_hook=_hooked)
    for piece in pieces.values():
        if "properties" in piece:
            piece["additionalProperties"] = False
    top = pieces.pop(whole["$ref"].rpartition("/")[2])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "title": title, "$defs": pieces}


def _convert(kind: type[_T], plain: Any) -> _T:
    return msgspec.convert(plain, kind, dec_hook=lambda kind, plain: kind.from_dict(plain))


def _hooked(kind: type) -> dict[str, Any]:
    made: dict[str, Any] = kind.schema()  # type: ignore[attr-defined]  # every kind with a stored form has it
    return made


def _check_depth(plain: Any, depth: int = 1) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"expected at most {_MAX_DEPTH} levels of lists and objects, got more")
    for item in plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else ():
        if isinstance(item, dict | list):
            _check_depth(item, depth + 1)


def _refuse_unknown(plain: Any, known: Any, place: str) -> None:
    """A key that does not come back is one that nobody read."""
    if isinstance(plain, Mapping):
        for key, item in plain.items():
            where = f"{place}.{key}" if place else key
            if key not in known:
                nearest = get_close_matches(key, known, 1)
                hint = f'did you mean "{nearest[0]}"?' if nearest else "a newer version may know it"
                raise ValueError(f"{where}: expected no such key; {hint}")
            _refuse_unknown(item, known[key], where)
    elif isinstance(plain, list | tuple) and plain and isinstance(plain[0], Mapping):
        for index, (item, other) in enumerate(zip(plain, known, strict=True)):
            _refuse_unknown(item, other, f"{place}[{index}]")


def _described(kind: type, plain: Any, message: str) -> str:
    """msgspec's words in ours: the place first, what was expected, what stands there."""
    reason, _, path = message.replace("`", "").partition(" - at ")
    path, of_key = path.removeprefix(_OF_KEY), path.startswith(_OF_KEY)
    place, found = "", plain
    for step in _STEP.findall(path):
        kind = _bare(kind)
        if is_dataclass(kind):
            kind, found = get_type_hints(kind, include_extras=True)[step], found[step]
            place += f".{step}"
        elif isinstance(found, list | tuple):
            kind, found = get_args(kind)[0], found[int(step[1:-1])]
            place += step
        else:
            kind = get_args(kind)[1]
            key = next(key for key, item in found.items() if not _fits(kind, item))
            found = found[key]
            place += f".{key}"
        if get_origin(kind) in (Union, types.UnionType):  # all that there are say "this or nothing"
            kind = next(each for each in get_args(kind) if each is not types.NoneType)
    kind = _bare(kind)
    if of_key:
        found = next(key for key in found if not _fits(get_args(kind)[0], key))
        reason = reason.replace("Expected", "expected as key", 1)
    if reason.startswith("Invalid enum"):
        known = get_args(kind) or [member.value for member in kind]  # type: ignore[attr-defined]
        reason = f"expected one of {', '.join(map(str, known))}, got"
    text = "" if isinstance(found, dict | list) else json.dumps(found, default=str)[:60]
    got = "" if not text else f" {text}" if "got" in reason else f", got {text}"
    return f"{place[1:] or 'the document'}: {reason[:1].lower()}{reason[1:]}{got}"


def _bare(kind: Any) -> Any:
    """Without its limits."""
    return kind.__origin__ if get_origin(kind) is Annotated else kind


def _fits(kind: type, plain: Any) -> bool:
    """msgspec does not say which key of a mapping has the wrong value."""
    try:
        _convert(kind, plain)
    except msgspec.ValidationError:
        return False
    return True
