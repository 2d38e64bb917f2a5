"""A count with its noun.

Gives     "1 message", "1,234 messages"
Not here  counts in a column of their own, shares and rates (trafficgen.report.words)
"""


def plural(count: float, word: str) -> str:
    """ "message" for one of them, else "messages"; "copy" and "copies", "address" and "addresses"."""
    if count == 1:
        return word
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s"


def number_of(count: int, word: str) -> str:
    """ "1 message", "1,234 messages"."""
    return f"{count:,} {plural(count, word)}"
