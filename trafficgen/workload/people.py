"""Names and subjects, from faker, once per seed.

Gives     pools of display names and of subjects, all ASCII, short enough for a line of 78
Limits    faker takes about 0.1 ms a name: pools are small, and messages pick from them
Not here  which message gets which (headers, envelopes)
"""

from functools import lru_cache
from typing import Final

from faker import Factory

NAMES: Final = 256
SUBJECTS: Final = 512
MAX_NAME: Final = 32
MAX_SUBJECT: Final = 78 - len("Subject: ")

_PROVIDERS: Final = ["faker.providers.person", "faker.providers.company"]


@lru_cache(maxsize=2)
def names(seed: int) -> tuple[tuple[str, str], ...]:
    """(first name, last name), letters only: fit for a display name without quotes and for a local part."""
    generator = Factory.create("en_US", providers=_PROVIDERS)
    generator.seed_instance(seed)
    pairs = ((generator.first_name(), generator.last_name()) for _ in range(NAMES))
    return tuple((_letters(first), _letters(last)) for first, last in pairs)


@lru_cache(maxsize=2)
def subjects(seed: int) -> tuple[bytes, ...]:
    """Short lines of business talk."""
    generator = Factory.create("en_US", providers=_PROVIDERS)
    generator.seed_instance(seed)
    phrases = (str(generator.catch_phrase()) for _ in range(SUBJECTS))
    return tuple(phrase.encode("ascii", "replace")[:MAX_SUBJECT].rstrip() for phrase in phrases)


def _letters(name: object) -> str:
    return "".join(c for c in str(name) if c.isascii() and c.isalpha())[: MAX_NAME // 2] or "Alex"
