"""Corpora from a recipe: the same octets wherever they are made, and nothing else is taken for them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, PlanError
from trafficgen.plan import Corpus
from trafficgen.workload import recipes

RECIPE = 'sizes = ["2kb"]\ncount = 5\nseed = 7\n'


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return Corpus(tmp_path / "a.mbox", recipe=recipes.read(tmp_path / "recipe.toml"))


def test_a_corpus_is_made_once_and_the_same_everywhere(corpus: Corpus, tmp_path: Path) -> None:
    """Two shards on one machine come at the same time: one makes it, and the other takes it."""
    said: list[str] = []
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: recipes.make(corpus, said.append), range(2)))
    assert [line.partition(" ")[0] for line in said] == ["making", "made"]
    elsewhere = replace(corpus, path=tmp_path / "b.mbox", recipe=recipes.read(tmp_path / "a.mbox.manifest.json"))
    recipes.make(elsewhere)
    assert elsewhere.path.read_bytes() == corpus.path.read_bytes()
    assert elsewhere.recipe == corpus.recipe


def test_a_file_that_is_something_else_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    corpus.path.write_bytes(b"From a@b Thu Jan  1 00:00:00 1970\n\nx\n")
    with pytest.raises(PlanError, match="is there, and is not known to be of the recipe"):
        recipes.make(corpus)
    corpus.path.unlink()
    recipes.make(corpus)
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("7", "8"))
    with pytest.raises(PlanError, match="was made from another recipe"):
        recipes.make(replace(corpus, recipe=recipes.read(tmp_path / "recipe.toml")))
    with pytest.raises(PlanError, match=r"cannot make .*: no such file or directory"):
        recipes.make(replace(corpus, path=tmp_path / "nowhere" / "a.mbox"))


def test_a_recipe_that_is_none_is_refused_and_so_is_one_without_a_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.toml").write_text("sise = 1")
    with pytest.raises(PlanError, match='unknown field "sise"'):
        recipes.read(tmp_path / "recipe.toml")
    words = ["send", "--message-count", "1", "--mbox-recipe", str(tmp_path / "recipe.toml")]
    assert call(words) == ExitCode.USAGE
    assert "expected where the corpus is made: add --mbox FILE" in capsys.readouterr().err


def test_a_run_makes_its_corpus_and_sends_it(corpus: Corpus, tmp_path: Path) -> None:
    words = ["send", "--message-count", "5", "--mbox", str(corpus.path), "--mbox-recipe", str(tmp_path / "recipe.toml")]
    assert call([*words, "--quiet", "--workers", "1", "--concurrency", "1"]) == ExitCode.DONE
    assert corpus.path.exists()
