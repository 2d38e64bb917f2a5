"""The Containerfile of the examples, step by step."""

from pathlib import Path

CONTAINERFILE = Path(__file__).parent.parent.parent / "examples" / "container" / "Containerfile"


def steps(stage: int | None = None) -> list[tuple[str, str]]:
    """Instructions of the Containerfile and what follows them; of all stages, or of one, as FROM numbers them."""
    lines = CONTAINERFILE.read_text().splitlines()
    found = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    starts = [place for place, words in enumerate(found) if words[0] == "FROM"]
    if stage is not None:
        found = found[starts[stage] : [*starts, len(found)][stage + 1]]
    return [(name, rest.strip()) for name, rest in found]
