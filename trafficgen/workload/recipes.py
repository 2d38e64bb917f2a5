"""Corpora that are made where they are needed: on every machine of a run the same octets, from one recipe.

Takes     a corpus with a recipe of mboxgen's
Gives     its file, made when it is not there; one that is there is used when it was made from that recipe
Fails     PlanError for a file that is something else, or that cannot be made
Limits    whoever comes second on one machine waits for the first
Not here  what a recipe says and how a corpus is made from it (mboxgen)
"""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mboxgen.corpus import manifest
from mboxgen.counted import number_of
from mboxgen.recipe import recipe as recipes
from mboxgen.recipe.recipe import Recipe, RecipeError
from trafficgen.errors import PlanError, reason_of
from trafficgen.host.limits import cores
from trafficgen.plan import Corpus

_FLAG = "--mbox-recipe"


def read(path: Path) -> str:
    """The recipe in a file, a TOML file or the manifest of a corpus, as a `Corpus` has it. Raises PlanError."""
    try:
        fields = manifest.load_recipe(path) if path.suffix == ".json" else recipes.load(path)
        return json.dumps(Recipe(**fields).as_fields(), sort_keys=True)
    except RecipeError as error:
        raise _wrong(str(error)) from error


def make(content: object, say: Callable[[str], None] = lambda _line: None) -> None:
    """Make the file of a corpus that has a recipe, unless it is there."""
    if not isinstance(content, Corpus) or content.recipe is None:
        return
    from mboxgen.corpus.generate import GenerateError, generate  # 2 MB, for who has corpora made

    path = content.path
    try:
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                _check(path, content.recipe)
                return
            say(f'making "{path}" from its recipe')
            fields: dict[str, Any] = recipes.from_fields(json.loads(content.recipe), _FLAG)
            made = generate(Recipe(**fields), path, workers=cores())
            say(f'made "{path}": {number_of(made.messages, "message")}')
    except (RecipeError, GenerateError) as error:
        raise _wrong(str(error)) from error
    except OSError as error:
        raise _wrong(f'cannot make "{path}": {reason_of(error)}') from error


def _check(path: Path, recipe: str) -> None:
    """PlanError unless the file was made from this recipe, as this version makes it."""
    try:
        made_from = json.dumps(Recipe(**manifest.load_recipe(manifest.path_of(path))).as_fields(), sort_keys=True)
    except RecipeError as error:
        raise _wrong(f'"{path}" is there, and is not known to be of the recipe: {error}') from error
    if made_from != recipe:
        raise _wrong(f'"{path}" was made from another recipe: remove it, or give another --mbox')


def _wrong(text: str) -> PlanError:
    return PlanError(text, field="content", flag=_FLAG)
