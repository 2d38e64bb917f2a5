"""Make `vocabulary.json` from faker: `python -m mboxgen.text.make_vocabulary`.

Takes     faker, of which one version is held (pyproject.toml)
Gives     for each locale the words of its texts, and first and family names, in the order in which faker says them
Not here  reading them (vocabulary)

Faker is slow to import and its lists change with its versions. So they are taken once, and are part of the format of
corpora from then on; a test makes them again and compares.
"""

from __future__ import annotations

import json

from mboxgen.text.vocabulary import LOCALES, PATH

_NAMES = 400
_SEED = 2025


def made() -> str:
    """Give the text of the file."""
    lists = {locale: _lists(locale) for locale in LOCALES}
    return json.dumps(lists, ensure_ascii=False, separators=(",", ":")).replace("},", "},\n") + "\n"


def _lists(locale: str) -> dict[str, list[str]]:
    from faker import Factory

    generator = Factory.create(locale, providers=["faker.providers.person", "faker.providers.lorem"])
    generator.seed_instance(_SEED)
    words = generator.get_words_list()
    families = [generator.last_name().split()[0] for _ in range(_NAMES)]
    firsts = [generator.first_name() for _ in range(_NAMES)]
    plain = [word for word in dict.fromkeys(words) if " " not in word and word.isalpha()]
    return {"words": plain, "first_names": list(dict.fromkeys(firsts)), "family_names": list(dict.fromkeys(families))}


if __name__ == "__main__":
    PATH.write_text(made(), encoding="utf-8")
