"""Names and subjects, drawn once per seed.

Gives     pools of display names and of subjects, all ASCII, short enough for a line of 78
Takes     the names and words of corpora, which are data (mboxgen.text.vocabulary)
Not here  which message gets which (headers, envelopes)
"""

from functools import lru_cache
from typing import Final

from mboxgen import streams
from mboxgen.text import vocabulary

NAMES: Final = 256
SUBJECTS: Final = 512
MAX_NAME: Final = 32
MAX_SUBJECT: Final = 78 - len("Subject: ")

INTERNATIONAL: Final = tuple(f"{name}-".encode() for name in ("josé", "χρήστης", "почта", "用户", "ユーザー", "사용자"))
"""What stands before a user's number where names are beyond ASCII: of two to three octets a letter, NFC."""

_LOCALE: Final = "en_US"
_SUBJECT_WORDS: Final = (3, 6)


@lru_cache(maxsize=2)
def names(seed: int) -> tuple[tuple[str, str], ...]:
    """(first name, last name), letters only: fit for a display name without quotes and for a local part."""
    first = _drawn(seed, "first names", vocabulary.first_names(_LOCALE), NAMES)
    last = _drawn(seed, "last names", vocabulary.family_names(_LOCALE), NAMES)
    return tuple((_letters(one), _letters(other)) for one, other in zip(first, last, strict=True))


@lru_cache(maxsize=2)
def subjects(seed: int) -> tuple[bytes, ...]:
    """Short lines of three to six words, none of them cut."""
    least, most = _SUBJECT_WORDS
    lengths = streams.below(streams.raw(seed, "words of subjects", 0, SUBJECTS), most - least + 1) + least
    words = iter(_drawn(seed, "subjects", vocabulary.words(_LOCALE), SUBJECTS * most))
    lines = (" ".join(next(words) for _ in range(length)).capitalize() for length in lengths.tolist())
    return tuple(line.encode("ascii", "replace")[:MAX_SUBJECT].rstrip() for line in lines)


def _drawn(seed: int, stream: str, pool: list[str], count: int) -> list[str]:
    return [pool[at] for at in streams.below(streams.raw(seed, stream, 0, count), len(pool)).tolist()]


def _letters(name: str) -> str:
    return "".join(c for c in name if c.isascii() and c.isalpha())[: MAX_NAME // 2] or "Alex"
