"""Options of `send` that say what is sent: to whom, from whom, what messages hold.

Takes     the options as they were typed
Gives     the plan's `Workload`; a notice where domains are named again
Refuses   options that do not go together, with a `PlanError` that names one of them
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trafficgen.cli import parsing
from trafficgen.cli.options import SendOptions
from trafficgen.cli.parsing import parse_path
from trafficgen.errors import PlanError
from trafficgen.plan import (
    DEFAULT_DOMAINS,
    MAX_RECIPIENTS,
    BodyFile,
    Corpus,
    LongTail,
    SizedBodies,
    WeightedDomain,
    Workload,
)

_SENDERS: Final = 1_000
_SIGNED_SENDERS: Final = 100
"""Each costs a signature before the run begins."""


def workload(options: SendOptions, notices: list[str]) -> Workload:
    """Reads the files of --domains-from, and a recipe."""
    domains, long_tail = _domains(options, notices)
    _refuse_two_kinds_of_recipients(options)
    return Workload(
        domains=domains,
        long_tail=long_tail,
        domain_suffix=options.domain_suffix,
        users=parsing.parse_users(options.users),
        recipients_per_message=_recipients_per_message(options),
        senders=_senders(options),
        international=_international(options.smtputf8_share),
        headers=(*parsing.parse_subjects(options.subject), *map(parsing.parse_header, options.header)),
        content=_content(options),
        recipients=tuple(parsing.parse_address(text, "--to") for text in options.to),
        recipients_file=parse_path(options.recipients_from, "--recipients-from") if options.recipients_from else None,
        dkim_keys=tuple(map(parsing.parse_dkim_key, options.dkim_key)),
        from_addresses=(
            *(parsing.parse_address(text, "--from") for text in options.from_address),
            *(sender for path in options.senders_from for sender in parsing.read_senders(Path(path))),
        ),
    )


def _senders(options: SendOptions) -> int:
    if options.senders is not None:
        return options.senders
    return _SIGNED_SENDERS if options.dkim_key else _SENDERS


def _international(text: str | None) -> float:
    return 0.0 if text is None else parsing.parse_share(text, "--smtputf8-share")


def _recipients_per_message(options: SendOptions) -> tuple[tuple[int, float], ...]:
    """Whole numbers and their weights. A request of HTTP has a batch of them."""
    if options.http_batch_size is None:
        return parsing.parse_recipients(options.recipients)
    field, flag = "recipients_per_message", "--http-batch-size"
    if options.recipients != "1":
        raise PlanError(f"expected one number of recipients, got --recipients and {flag}", field, flag)
    if not options.target or not parsing.parse_targets(options.target)[0].target.dialect.injects:
        raise PlanError("expected a target http://HOST[:PORT]/api/inject/v1", field, flag)
    if not 1 <= options.http_batch_size <= MAX_RECIPIENTS:
        text = f"expected 1 to {MAX_RECIPIENTS} recipients a request, got {options.http_batch_size}"
        raise PlanError(text, field, flag)
    return ((options.http_batch_size, 1.0),)


def _refuse_two_kinds_of_recipients(options: SendOptions) -> None:
    """Addresses take the place of domains and users."""
    if not (options.to or options.recipients_from):
        return
    others = (("--domain", options.domain), ("--domains-from", options.domains_from),
              ("--domain-preset", options.domain_preset), ("--long-tail", options.long_tail))  # fmt: skip
    for flag, value in others:
        if value:
            given = "--to" if options.to else "--recipients-from"
            raise PlanError(f"expected addresses or domains, got {given} and {flag}", "recipients", flag)


def _domains(options: SendOptions, notices: list[str]) -> tuple[tuple[WeightedDomain, ...], LongTail | None]:
    named = [parsing.parse_domain(text) for text in options.domain]
    for path in options.domains_from:
        named += parsing.read_domains(Path(path))
    rest = 0.0
    for preset in options.domain_preset:
        domains, unnamed = parsing.parse_domain_preset(preset)
        named += domains
        rest += unnamed
    long_tail = parsing.parse_long_tail(options.long_tail) if options.long_tail is not None else None
    if long_tail is None and rest:
        from trafficgen.workload.presets import REST_DOMAINS

        long_tail = LongTail(REST_DOMAINS, rest)
    if not named and long_tail is None:
        named = [WeightedDomain(name) for name in DEFAULT_DOMAINS]
    return merge_domains(named, notices), long_tail


def merge_domains(named: Sequence[WeightedDomain], notices: list[str]) -> tuple[WeightedDomain, ...]:
    """Every domain once, in the order and the spelling of its first mention; weights of repeated ones add up."""
    first: dict[str, str] = {}
    weights: dict[str, float] = {}
    for domain in named:
        key = domain.name.lower()
        first.setdefault(key, domain.name)
        weights[key] = weights.get(key, 0.0) + domain.weight
    if repeated := len(named) - len(weights):
        mentions = Counter(domain.name.lower() for domain in named)
        again = [f"{name} {weights[name]:g}" for name, count in mentions.items() if count > 1]
        words = ", ".join(again[:5]) + (", …" if len(again) > 5 else "")
        notices.append(f"{repeated} of {len(named)} domains are named again; their weights add up: {words}")
    return tuple(WeightedDomain(first[key], weight) for key, weight in weights.items())


def _content(options: SendOptions) -> SizedBodies | BodyFile | Corpus:
    given = [
        flag
        for flag, value in (
            ("--body-size", options.body_size), ("--body-file", options.body_file), ("--mbox", options.mbox),
        )
        if value
    ]  # fmt: skip
    if len(given) > 1:
        raise PlanError(f"expected one source of bodies, got {' and '.join(given)}", "content", given[1])
    if options.mbox_recipe is not None and options.mbox is None:
        raise PlanError("expected where the corpus is made: add --mbox FILE", "content", "--mbox-recipe")
    if options.shuffle and options.mbox is None:
        raise PlanError("expected a corpus to shuffle: add --mbox FILE", "content", "--shuffle")
    if options.body_file is not None:
        return BodyFile(parse_path(options.body_file, "--body-file"), binary=options.binarymime)
    if options.mbox is not None:
        recipe = None
        if options.mbox_recipe is not None:
            from trafficgen.workload import recipes

            recipe = recipes.read(parse_path(options.mbox_recipe, "--mbox-recipe"))
        return Corpus(parse_path(options.mbox, "--mbox"), options.shuffle, recipe)
    return SizedBodies(options.body_size) if options.body_size else SizedBodies()
