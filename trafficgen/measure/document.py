"""Frozen dataclasses to plain JSON values, and back with every value checked.

Takes     dataclasses made of numbers, text, truth values, enums, tuples, string-keyed mappings, each other, and
          objects with `to_dict` and `from_dict`
Gives     dicts and lists that `json` writes; from those, the same objects
Fails     ValueError that names the place and what was expected there
Promises  keys that are not known are passed over, so that a later version may add some
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

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


def from_plain(kind: type[_T], plain: Any, where: str = "") -> _T:
    """The dataclass `kind` from what `to_plain` made of it; `where` begins the name of the place in an error."""
    if not isinstance(plain, Mapping):
        raise _wrong(where, "an object", plain)
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every kind here is a dataclass
        place = f"{where}.{field.name}" if where else field.name
        if field.name in plain:
            values[field.name] = _read(hints[field.name], plain[field.name], place)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{place} is missing")
    return kind(**values)


def _read(hint: Any, plain: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return plain
    if origin in (Union, types.UnionType):
        return _read_optional(arguments, plain, where)
    if origin is tuple:
        if not isinstance(plain, list | tuple):
            raise _wrong(where, "a list", plain)
        return tuple(_read(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(plain))
    if origin is not None:
        if not isinstance(plain, Mapping):
            raise _wrong(where, "an object", plain)
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in plain.items()}
    if is_dataclass(hint):
        return from_plain(hint, plain, where)  # type: ignore[arg-type]  # a class, not an instance of one
    return _read_leaf(hint, plain, where)


def _read_optional(arguments: tuple[Any, ...], plain: Any, where: str) -> Any:
    """The only unions in a document are "this or nothing"."""
    (kind,) = (argument for argument in arguments if argument is not type(None))
    return None if plain is None else _read(kind, plain, where)


def _read_leaf(kind: Any, plain: Any, where: str) -> Any:
    if issubclass(kind, Enum):
        known = [member.value for member in kind]
        if plain not in known:
            raise _wrong(where, f"one of {', '.join(map(str, known))}", plain)
        return kind(plain)
    if hasattr(kind, "from_dict"):
        try:
            return kind.from_dict(plain)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, kind) or (kind is int and isinstance(plain, bool)):
        raise _wrong(where, {int: "a whole number", float: "a number", str: "text"}.get(kind, "true or false"), plain)
    return plain


def _wrong(where: str, expected: str, found: Any) -> ValueError:
    return ValueError(f"{where or 'the document'} must be {expected}, got {str(found)[:60]!r}")
