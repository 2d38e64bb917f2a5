"""Mail corpora of exact sizes, the same octets for the same seed.

    from mboxgen import Recipe, generate, read_mbox

    generate(Recipe(("spec2001",), count=10_000, seed=7), "corpus.mbox")
    for message in read_mbox("corpus.mbox"):
        ...

Takes     recipes (Recipe), paths
Gives     corpora (corpus), messages of any mbox (read_mbox, open_mbox)
Not here  sending them: traffic-gen does
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mboxgen.corpus.generate import GeneratedCorpus, GenerateError, GenerateProgress, generate
    from mboxgen.mbox.reader import Mbox, open_mbox, read_mbox
    from mboxgen.mbox.sources import MboxError
    from mboxgen.recipe.recipe import Recipe, RecipeError

__all__ = [
    "GenerateError",
    "GenerateProgress",
    "GeneratedCorpus",
    "Mbox",
    "MboxError",
    "Recipe",
    "RecipeError",
    "generate",
    "open_mbox",
    "read_mbox",
]  # fmt: skip

_HOMES = {
    "corpus.generate": ("GenerateError", "GenerateProgress", "GeneratedCorpus", "generate"),
    "mbox.reader": ("Mbox", "open_mbox", "read_mbox"),
    "mbox.sources": ("MboxError",),
    "recipe.recipe": ("Recipe", "RecipeError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `mboxgen --help` needs no numpy."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mboxgen' has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = found = getattr(import_module(f"mboxgen.{_HOME_OF[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
