"""How small a message of a corpus can be: the shortest header there is, and a line.

Takes     a recipe
Gives     the least octets that every message can have
Refuses   with a RecipeError sizes that some message could not have
Not here  how a header is made (headers), what else needs room (blocks)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mboxgen.message import headers
from mboxgen.recipe.profiles import Shape
from mboxgen.recipe.recipe import RecipeError
from mboxgen.text import people

if TYPE_CHECKING:
    from mboxgen.recipe.recipe import Recipe
    from mboxgen.text.people import People

_AMPLE = 640  # no short header is longer: an address ends at 52 octets, a Message-ID at 90


def smallest(recipe: Recipe) -> int:
    """Give the least octets that every message of a corpus can have."""
    return of_people(recipe, people.gather(recipe.seed, locales(recipe)))


def of_people(recipe: Recipe, gathered: People) -> int:
    """Give the same where it is known who is in the corpus."""
    longest = max((person.address for person in gathered.persons), key=len)
    message_id = headers.MessageIds(recipe.digest.encode(), recipe.id_domain.encode()).of(np.zeros(1, dtype=np.int64))[
        0
    ]
    dated = headers.MessageTimes(np.zeros(1, dtype=np.int64)).dates[0] + headers.MESSAGE_ID
    return len(headers.short(longest, longest, dated, message_id, b"")) + Shape.PLAIN.least_body


def check_sizes(recipe: Recipe) -> None:
    """Refuse sizes that some message of the corpus could not have."""
    sizes = recipe.distribution
    if sizes.min_octets >= _AMPLE:
        return  # who is in the corpus need not be known, so that workers start at once
    least = smallest(recipe)
    if sizes.min_octets < least:
        raise RecipeError(
            f'sizes "{sizes.name}" go down to {sizes.min_octets} octets; '
            f"a message of this corpus has at least {least} with its header, raise the smallest size"
        )


def locales(recipe: Recipe) -> str:
    """Give the locales of the people: with SMTPUTF8 there must be some whose addresses need it."""
    return f"{recipe.chosen_profile.locales} ja_JP" if recipe.smtputf8 else recipe.chosen_profile.locales
