"""All presets in words, each with its source.

Takes     the presets of `trafficgen.workload.presets` and `mboxgen.recipe.sizes`
Gives     the text of `--list-presets`
"""

from collections.abc import Iterable
from textwrap import fill

from mboxgen.recipe.sizes import PRESETS as SIZES
from trafficgen.workload.presets import DOMAINS, RECIPIENTS


def describe_presets() -> str:
    """One paragraph a preset: name, what it is, source."""
    domains = ((p.name, f"{p.words}{f'; the rest {p.rest:g}' if p.rest else ''}", p.source) for p in DOMAINS.values())
    recipients = ((p.name, p.words, p.source) for p in RECIPIENTS.values())
    sizes = ((p.name, p.words, p.source) for p in SIZES.values())
    expanded = "expanded: the source counts providers; how their domains divide among them is an assumption"
    return "\n\n".join(
        (
            _section("Domains (--domain-preset)", domains) + f"\n\n  {expanded}",
            _section("Recipients per message (--recipients)", recipients),
            _section("Sizes of whole messages (--body-size)", sizes),
        )
    )


def _section(title: str, entries: Iterable[tuple[str, str, str]]) -> str:
    lines = [title]
    for name, words, source in entries:
        lines += ["", f"  {name}"]
        lines += [fill(text, 100, initial_indent="      ", subsequent_indent="      ") for text in (words, source)]
    return "\n".join(lines)
