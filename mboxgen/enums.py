"""Tables whose keys are the members of an enum.

Takes     an enum, or those of its members that a table is for; what stands for each
Gives     the table
Fails     TypeError, so at import for a table of a module, when a member is missing or one is too many
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def table_of(members: Iterable[_Key], table: Mapping[_Key, _Value]) -> dict[_Key, _Value]:
    """Give `table` in the order of `members`, each of which has exactly one entry."""
    expected = list(members)
    if wrong := set(expected) ^ set(table):
        raise TypeError(f"expected a table of {expected}; missing or too many: {sorted(map(repr, wrong))}")
    return {member: table[member] for member in expected}
