"""Make a corpus and read it back, from Python.

python examples/corpus.py corpus.mbox
"""

from __future__ import annotations

import sys

from mboxgen import Recipe, generate, open_mbox, read_mbox


def main(path: str) -> None:
    """Make 2,000 messages, add up their sizes, look at one by number."""
    made = generate(Recipe(("spec2001",), count=2_000, seed=7), path, force=True)
    total = sum(len(message) for message in read_mbox(path))
    print(f"{made.messages} messages, {total} octets delivered")
    with open_mbox(path) as mbox:
        print(bytes(mbox.crlf(1_999)).partition(b"\r\n\r\n")[0].decode())


if __name__ == "__main__":
    main(sys.argv[1])
