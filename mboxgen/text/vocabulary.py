"""The words and names that corpora are made of.

Takes     the names of locales
Gives     their words, first names and family names; the same on every machine, and part of the format of corpora
Not here  where they come from (make_vocabulary), text made of them (text), persons (people)
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

LOCALES = ("en_US", "de_DE", "fr_FR", "es_ES", "pl_PL", "ja_JP")
PATH = Path(__file__).with_name("vocabulary.json")


def words(locales: str) -> list[str]:
    """Give the words of locales such as "en_US de_DE", each once."""
    return _together("words", locales)


def first_names(locale: str) -> list[str]:
    """Give the first names of a locale."""
    return _together("first_names", locale)


def family_names(locales: str) -> list[str]:
    """Give the family names of locales, each once."""
    return _together("family_names", locales)


def _together(kind: str, locales: str) -> list[str]:
    return list(dict.fromkeys(entry for locale in locales.split() for entry in _lists()[locale][kind]))


def forget() -> None:
    """Let go of the lists; they are read again when they are asked for."""
    _lists.cache_clear()


@lru_cache(maxsize=1)
def _lists() -> dict[str, dict[str, list[str]]]:
    lists: dict[str, dict[str, list[str]]] = json.loads(PATH.read_text("utf-8"))
    return lists
