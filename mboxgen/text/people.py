"""The people, hosts and subjects of a corpus.

Takes     a seed and locales
Gives     pools, built once: senders and recipients with encoded names, subjects, host names
Not here  who writes to whom (blocks), the header fields (headers)

All domains lie under .example, .test and .invalid (RFC 2606), so a corpus sent to the wrong place reaches nobody.
Names outside ASCII become encoded-words (RFC 2047); with SMTPUTF8 (RFC 6532) they and the addresses stay as they are.
"""

from __future__ import annotations

import base64
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from mboxgen import streams
from mboxgen.text import vocabulary

PEOPLE_PER_LOCALE = 256
SUBJECTS = 2048
_DOMAINS = 64
_KINDS = ("mail", "post", "office", "shop", "news", "lab", "works", "group")
_ENCODED_WORD_OCTETS = 36  # 48 of base64 and =?utf-8?b??=: after "Subject: Re: " below the line limit of 76
_MAX_LOCAL_OCTETS = 24


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who sends and receives: an address, and name with address as a header field has them."""

    address: bytes
    mailbox: bytes
    utf8_address: bytes
    utf8_mailbox: bytes
    first_name: bytes


@dataclass(frozen=True, slots=True)
class People:
    """The pools of one seed."""

    persons: tuple[Person, ...]
    subjects: tuple[bytes, ...]
    utf8_subjects: tuple[bytes, ...]
    hosts: tuple[bytes, ...]


@lru_cache(maxsize=4)
def gather(seed: int, locales: str) -> People:
    """Build the pools for locales such as "en_US de_DE"."""
    domains = _domains(seed)
    persons = []
    for locale in locales.split():
        names = _names(locale, seed)
        places = streams.below(streams.raw(seed, f"home {locale}", 0, len(names)), len(domains)).tolist()
        for number, ((first, last), place) in enumerate(zip(names, places, strict=True)):
            persons.append(_person(first, last, number, domains[place]))
    subjects = _subjects(seed, locales)
    encoded = tuple(encoded_words(subject) for subject in subjects)
    hosts = tuple(b"mx%d.%b" % (number % 4 + 1, domain) for number, domain in enumerate(domains))
    return People(tuple(persons), encoded, tuple(subject.encode() for subject in subjects), hosts)


def encoded_words(phrase: str) -> bytes:
    """Give a phrase as a header may carry it: as it is when ASCII, else as folded encoded-words."""
    if phrase.isascii():
        return phrase.encode()
    words, piece = [], b""
    for character in phrase:  # never cut inside a character (RFC 2047 section 5)
        octets = character.encode()
        if len(piece) + len(octets) > _ENCODED_WORD_OCTETS:
            words.append(piece)
            piece = b""
        piece += octets
    words.append(piece)
    return b"\r\n ".join(b"=?utf-8?b?%b?=" % base64.b64encode(word) for word in words)


def _person(first: str, last: str, number: int, domain: bytes) -> Person:
    name = f"{first} {last}"
    local = f"{_latin(first)[:1]}.{_latin(last)}"[:_MAX_LOCAL_OCTETS].strip(".") or "post"
    address = f"{local}{number}".encode() + b"@" + domain
    wide = f"{first}.{last}".replace(" ", "").replace("'", "").encode() + b"@" + domain
    return Person(
        address,
        b"%b%b<%b>" % (encoded_words(name), b" " if len(name) + len(address) < 50 else b"\r\n ", address),
        wide,
        b"%b <%b>" % (name.encode(), wide),
        first.encode() if first.isascii() else b"all",
    )


def _names(locale: str, seed: int) -> list[tuple[str, str]]:
    pools = vocabulary.first_names(locale), vocabulary.family_names(locale)
    draws = streams.raw(seed, f"names {locale}", 0, 2 * PEOPLE_PER_LOCALE).reshape(2, -1)
    firsts, families = (streams.below(raw, len(names)).tolist() for raw, names in zip(draws, pools, strict=True))
    pairs = zip(map(pools[0].__getitem__, firsts), map(pools[1].__getitem__, families), strict=True)
    return [(first.replace(".", ""), last.replace(".", "")) for first, last in pairs]


def _latin(name: str) -> str:
    """Give the letters of a name that an ordinary address can have, lower case."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in plain if letter.isalpha())


def _domains(seed: int) -> list[bytes]:
    short = [word.lower() for word in vocabulary.words("en_US") if 3 <= len(word) <= 8 and word.isascii()]
    picks = streams.permutation(seed, "domains", len(short)).tolist()[:_DOMAINS]
    endings = ("example", "test", "example", "invalid")
    return [
        f"{short[pick]}-{_KINDS[number % len(_KINDS)]}.{endings[number % 4]}".encode()
        for number, pick in enumerate(picks)
    ]


def _subjects(seed: int, locales: str) -> list[str]:
    draws = streams.raw(seed, f"subjects {locales}", 0, SUBJECTS * 8)
    numbers = iter((draws >> 8).tolist())
    pools = [vocabulary.words(locale) for locale in locales.split()]
    subjects = []
    for number in range(SUBJECTS):
        words = pools[number % len(pools)]
        count = 2 + next(numbers) % 6
        picked = " ".join(words[next(numbers) % len(words)] for _ in range(count))
        subjects.append(picked[:1].upper() + picked[1:])
    return subjects
