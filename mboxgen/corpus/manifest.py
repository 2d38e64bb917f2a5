"""What a corpus says of its own making, so that it can be made again.

Takes     a plan that was carried out, and sums of what was written; later the manifest's path
Gives     the manifest as JSON has it; the recipe in it; what would make the corpus differ if it were made here
Refuses   a recipe of another format, which would give other octets here
Not here  what a recipe may say (recipe), whether the file is still what was made (verify)
"""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any

from mboxgen.limited import read_limited
from mboxgen.recipe import recipe as recipes
from mboxgen.recipe.recipe import FORMAT_VERSION, Recipe, RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_MAX_OCTETS = 16 * 1024 * 1024


def path_of(corpus: Path) -> Path:
    """Give the name of a corpus's manifest."""
    return corpus.with_name(corpus.name + ".manifest.json")


def describe(recipe: Recipe, messages: int, delivered_octets: int, file: Mapping[str, Any]) -> dict[str, Any]:
    """Give the manifest of a corpus; `file` has its octets and checksum."""
    import numpy as np

    return {
        "made_by": "mboxgen",
        "format_version": FORMAT_VERSION,
        "messages": messages,
        "delivered_octets": delivered_octets,
        "file": file,
        "recipe": recipe.as_fields(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


def load_recipe(path: Path) -> dict[str, Any]:
    """Read a manifest into the fields of the Recipe that makes the same corpus; RecipeError where it would not."""
    try:
        manifest = json.loads(read_limited(path, _MAX_OCTETS).decode("utf-8"))
        fields = recipes.from_fields(manifest["recipe"], str(path))
        different = _difference(manifest)
    except OSError as error:
        raise RecipeError(f'cannot read the manifest "{path}": {error.strerror or error}') from None
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError):
        raise RecipeError(f'expected the manifest of a corpus, "{path}" is none') from None
    if different:
        raise RecipeError(f'the recipe in "{path}" would give another corpus here: {different}')
    return fields


def difference(corpus: Path) -> str | None:
    """Say why making a corpus again would give another one here; None when it would not, or nothing is known of it."""
    try:
        return _difference(json.loads(path_of(corpus).read_text("utf-8")))
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # a RecipeError is a ValueError
        return None


def _difference(manifest: Mapping[str, Any]) -> str | None:
    if manifest["format_version"] != FORMAT_VERSION:
        return f"it was made in format {manifest['format_version']}, this mboxgen makes format {FORMAT_VERSION}"
    return None
