"""One option's text to one piece of a plan.

Takes     "gmail.com:67.4", "5000,zipf:1.2,tag", "1:85,2:10", "30s:200", "1000:10.2", "X-Tenant: {a:3|b:1}"
Gives     the plan's own types, which check themselves
Refuses   anything else with a `PlanError` that names the flag and shows what was expected
Not here  how options go together (planning); sizes (`mboxgen.recipe.sizes`), durations and rates (`units`)
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from mboxgen.limited import read_limited
from trafficgen import units
from trafficgen.cli.flagged import parse_with
from trafficgen.errors import PlanError, reason_of
from trafficgen.plan import (
    AddressRange,
    ClientAttribute,
    Departure,
    DkimKey,
    Header,
    LeavingStep,
    LongTail,
    Retried,
    RetryPlan,
    Shard,
    Stage,
    TcpTarget,
    Users,
    WeightedAddress,
    WeightedDomain,
    WeightedName,
    WeightedTarget,
    parse_service,
    parse_target,
)
from trafficgen.plan.identity import XCLIENT, XFORWARD
from trafficgen.plan.refusals import shown

T = TypeVar("T")

DNS_PORT: Final = 53
MAX_DOMAINS_OCTETS: Final = 64 * 1024 * 1024
MAX_SENDERS_OCTETS: Final = 1024 * 1024


def parse_domain(text: str, flag: str = "--domain") -> WeightedDomain:
    """ "NAME" or "NAME:WEIGHT", weight 1 if none is given."""
    name, colon, weight = text.strip().partition(":")
    return WeightedDomain(name, _number(weight, text, flag, "NAME[:WEIGHT]") if colon else 1.0)


def read_domains(path: Path) -> list[WeightedDomain]:
    """One "name[:weight]" a line; what follows a # is a comment, empty lines count for nothing."""
    flag = "--domains-from"
    return _read_lines(path, flag, "domain", MAX_DOMAINS_OCTETS, "#", lambda entry: parse_domain(entry, flag))


def read_senders(path: Path) -> list[WeightedAddress]:
    """One "address[:weight]" a line; a # that begins a word begins a comment, as an address may have one within."""
    flag = "--senders-from"
    return _read_lines(path, flag, "sender", MAX_SENDERS_OCTETS, r"(?:^|\s)#", lambda entry: parse_address(entry, flag))


def _read_lines(path: Path, flag: str, what: str, most_octets: int, comment: str, parse: Callable[[str], T]) -> list[T]:
    field = f"{what}s"
    try:
        lines = read_limited(path, most_octets).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise PlanError(f'cannot read "{path}": it is not UTF-8 text', field, flag) from error
    except (OSError, ValueError) as error:
        raise PlanError(f'cannot read "{path}": {reason_of(error)}', field, flag) from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not (entry := re.split(comment, line, maxsplit=1)[0].strip()):
            continue
        try:
            found.append(parse(entry))
        except PlanError as error:
            raise PlanError(f"{path}, line {number}: {error.text}", field, flag) from error
    if not found:
        raise PlanError(f'"{path}" names no {what}', field, flag)
    return found


def parse_long_tail(text: str) -> LongTail:
    """ "DOMAINS:WEIGHT"."""
    domains, colon, weight = text.partition(":")
    if not colon:
        raise PlanError(f'expected DOMAINS:WEIGHT such as 1000:10.2, got "{text}"', "long_tail", "--long-tail")
    count = _whole(domains, text, "--long-tail", "DOMAINS:WEIGHT")
    return LongTail(count, _number(weight, text, "--long-tail", "DOMAINS:WEIGHT"))


def parse_users(text: str) -> Users:
    """ "COUNT[,zipf[:EXPONENT]][,tag]"."""
    form = "COUNT[,zipf[:EXPONENT]][,tag]"
    count, *words = text.split(",")
    zipf, tagged = None, False
    for word in (word.strip().lower() for word in words):
        name, colon, exponent = word.partition(":")
        if name == "zipf":
            zipf = _number(exponent, text, "--users", form) if colon else 1.0
        elif word == "tag":
            tagged = True
        else:
            raise PlanError(f'expected {form}, got "{text}"', "users", "--users")
    return Users(_whole(count, text, "--users", form), zipf, tagged)


def parse_recipients(text: str) -> tuple[tuple[int, float], ...]:
    """ "COUNT", "COUNT:WEIGHT,COUNT:WEIGHT…", or the name of a preset."""
    form = "a number, COUNT:WEIGHT,COUNT:WEIGHT… or a preset"
    if text.strip()[:1].isalpha():
        from trafficgen.workload.presets import RECIPIENTS

        return _preset(text, RECIPIENTS, "recipients_per_message", "--recipients").counts
    return _weighted_counts(text, "--recipients", form)


def parse_messages_per_session(text: str) -> int | tuple[tuple[int, float], ...]:
    """ "COUNT", or "COUNT:WEIGHT,COUNT:WEIGHT…"."""
    flag, form = "--messages-per-session", "a number, or COUNT:WEIGHT,COUNT:WEIGHT…"
    if ":" in text or "," in text:
        return _weighted_counts(text, flag, form)
    return _whole(text, text, flag, form)


def _weighted_counts(text: str, flag: str, form: str) -> tuple[tuple[int, float], ...]:
    pairs: dict[int, float] = {}
    for part in text.split(","):
        count, colon, weight = part.partition(":")
        number = _whole(count, text, flag, form)
        pairs[number] = pairs.get(number, 0.0) + (_number(weight, text, flag, form) if colon else 1.0)
    return tuple(pairs.items())


def parse_domain_preset(text: str) -> tuple[list[WeightedDomain], float]:
    """A preset's domains, and the weight of those that it does not name."""
    from trafficgen.workload.presets import DOMAINS

    preset = _preset(text, DOMAINS, "domains", "--domain-preset")
    return [WeightedDomain(name, weight) for name, weight in preset.domains], preset.rest


def parse_header(text: str) -> Header:
    """ "Name: value", or "Name: {value[:WEIGHT]|value[:WEIGHT]…}" for one of several values in each message."""
    name, colon, value = text.partition(":")
    if not colon:
        raise PlanError(f'expected "Name: value", got "{text}"', "headers", "--header")
    value = _as_utf8(value).strip(" \t")
    if value.startswith("{") and value.endswith("}") and "|" in value:
        return Header(name.strip(" \t"), tuple(_alternative(part.strip()) for part in value[1:-1].split("|")))
    return Header(name.strip(" \t"), ((value, 1.0),))


def parse_subjects(texts: Sequence[str]) -> tuple[Header, ...]:
    """ "TEXT[:WEIGHT]" each; one header with all of them, none without any."""
    values = tuple(_alternative(_as_utf8(text).strip()) for text in texts)
    return (Header("Subject", values),) if values else ()


def parse_address(text: str, flag: str) -> WeightedAddress:
    """ "ADDRESS[:WEIGHT]"."""
    address, colon, weight = text.strip().rpartition(":")
    if not colon:
        address, weight = weight, "1"
    try:
        return WeightedAddress(address, _number(weight, text, flag, "ADDRESS[:WEIGHT]"))
    except PlanError as error:
        raise PlanError(error.text, "recipients", flag) from error


def parse_slow(text: str) -> tuple[float, int]:
    """ "SHARE:OCTETS": which share of the sessions, and how many octets a second."""
    share, _, octets = text.partition(":")
    if not (octets.isascii() and octets.isdigit() and len(octets) < 10):
        raise PlanError(f'expected SHARE:OCTETS, such as 5%:200, got "{shown(text)}"', "slow_share", "--slow-senders")
    return parse_share(share, "--slow-senders"), int(octets)


def parse_resolver(text: str, flag: str) -> TcpTarget:
    """ "ADDRESS[:PORT]" of a name server; a bare number is a port of this machine's."""
    try:
        return TcpTarget(str(ipaddress.ip_address(text.strip("[]"))), DNS_PORT)
    except ValueError:
        target = parse_service(text, "resolver", flag)
    try:
        if isinstance(target, TcpTarget):
            return TcpTarget(str(ipaddress.ip_address(target.host)), target.port)
    except ValueError:
        pass
    raise PlanError(f'expected ADDRESS[:PORT], got "{shown(text)}"', "resolver", flag)


def parse_dkim_key(text: str) -> DkimKey:
    """ "DOMAIN=SELECTOR:FILE"."""
    domain, equals, rest = text.partition("=")
    selector, colon, path = rest.partition(":")
    if not (equals and colon and path) or "\0" in path:
        raise PlanError(f'expected DOMAIN=SELECTOR:FILE, got "{text}"', "dkim_keys", "--dkim-key")
    return DkimKey(domain.strip(), selector.strip(), Path(path))


def parse_ehlo_name(text: str) -> WeightedName:
    """ "NAME[=WEIGHT]"."""
    name, weight = _weighted(text, "--ehlo-name", "NAME[=WEIGHT]")
    return WeightedName(name, weight)


def parse_range(text: str, flag: str) -> AddressRange:
    """ "ADDRESS", "ADDRESS-ADDRESS" or "NETWORK/LENGTH", then perhaps ",NAME" and "=WEIGHT"."""
    given, weight = _weighted(text.strip(), flag, "RANGE[,NAME][=WEIGHT]")
    addresses, _, name = given.partition(",")
    first, dash, last = addresses.partition("-")
    try:
        if "/" in addresses:
            network = ipaddress.ip_network(addresses.strip())
            first, last = str(network[0]), str(network[-1])
            dash = "-"
        return AddressRange(first.strip(), (last if dash else first).strip(), name.strip(), weight)
    except PlanError as error:
        raise PlanError(error.text, "client", flag) from error
    except ValueError as error:
        raise PlanError(
            f'expected a network such as 192.0.2.0/24, got "{addresses}": {error}', "client", flag
        ) from error


def parse_attribute(text: str, flag: str) -> ClientAttribute:
    """ "NAME=VALUE[=WEIGHT]" of XCLIENT or XFORWARD."""
    form = "NAME=VALUE[=WEIGHT] such as LOGIN=joe=3"
    name, equals, rest = text.strip().partition("=")
    if not equals:
        raise PlanError(f'expected {form}, got "{shown(text)}"', "client", flag)
    value, weight = _weighted(rest, flag, form)
    known = XCLIENT if flag == "--xclient" else XFORWARD
    if name.strip().upper() not in (*known, "ADDR"):
        raise PlanError(f'expected one of {", ".join(known)}, got "{shown(name.strip())}"', "client", flag)
    try:
        return ClientAttribute(name.strip().upper(), value, weight)
    except PlanError as error:
        raise PlanError(error.text, "client", flag) from error


def _weighted(text: str, flag: str, form: str) -> tuple[str, float]:
    head, equals, weight = text.rpartition("=")
    return (head, _number(weight, text, flag, form)) if equals else (text, 1.0)


def parse_targets(texts: Sequence[str]) -> tuple[WeightedTarget, ...]:
    """ "TARGET", or several of them, "TARGET[=WEIGHT]"; of one, a = belongs to its path."""
    if len(texts) < 2:
        return tuple(WeightedTarget(parse_target(text)) for text in texts)
    form = "HOST[:PORT]=WEIGHT such as 10.0.0.7:25=3"
    return tuple(
        WeightedTarget(parse_target(head), weight)
        for head, weight in (_weighted(text, "--target", form) for text in texts)
    )


def parse_retry(text: str) -> RetryPlan:
    """ "4xx:COUNT:DURATION", or "any" in place of "4xx"."""
    form = "4xx:COUNT:DURATION or any:COUNT:DURATION, such as 4xx:3:5s"
    what, _, rest = text.partition(":")
    count, colon, wait = rest.partition(":")
    kinds = {kind.value: kind for kind in Retried}
    if what.strip().lower() not in kinds or not colon:
        raise PlanError(f'expected {form}, got "{text}"', "retry", "--retry")
    wait_ns = parse_with(units.parse_duration, wait, "retry", "--retry")
    return RetryPlan(kinds[what.strip().lower()], _whole(count, text, "--retry", form), wait_ns)


def parse_shard(text: str | None, needed: Mapping[str, tuple[object, str]], start_at: str | None) -> Shard:
    """Which part of a run "3/20" is, and when that begins. `needed`: by flag what was given for it, and why a shard
    needs it: it would differ from machine to machine."""
    start_at_ns = None
    if start_at is not None:
        start_at_ns = parse_with(units.parse_instant, start_at, "start_at_ns", "--start-at")
    if text is None:
        return Shard(start_at_ns=start_at_ns)
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and len(text) < 20):
        raise PlanError(f'expected a shard such as 3/20, got "{shown(text)}"', "shard", "--shard")
    for flag, (value, why) in {**needed, "--start-at": (start_at, "all shards begin at one time")}.items():
        if value is None:
            raise PlanError(f"expected {flag}, the same for all shards: {why}", "shard", "--shard")
    return Shard(int(number), int(of), start_at_ns)


def parse_run_id(text: str) -> str:
    """16 hexadecimal digits, in lower case as the plan has them."""
    if not re.fullmatch("[0-9a-fA-F]{16}", text):
        raise PlanError(f'expected 16 hexadecimal digits, got "{shown(text)}"', "run_id", "--run-id")
    return text.lower()


def parse_path(text: str, flag: str) -> Path:
    """Of a file that the workload or a session needs."""
    if not text or "\0" in text:
        raise PlanError("expected the path of a file", "content", flag)
    return Path(text)


def parse_share(text: str, flag: str) -> float:
    """ "5%" or "0.05"; the plan says which shares it takes."""
    number, percent, rest = text.strip().partition("%")
    if rest:
        raise PlanError(f'expected a share such as 5% or 0.05, got "{text}"', "share", flag)
    return _number(number, text, flag, "a share such as 5% or 0.05") / (100 if percent else 1)


def parse_departure(text: str, flag: str) -> Departure | float:
    """ "SHARE", which is a share of sessions that go after EHLO, or "STEP[:sent]:SHARE"."""
    where, _, share = text.strip().rpartition(":")
    if not where:
        return parse_share(share, flag)
    step, _, sent = where.lower().partition(":")
    steps = {one.value: one for one in LeavingStep}
    if step not in steps or sent not in ("", "sent"):
        form = "SHARE, STEP:SHARE or STEP:sent:SHARE" if flag == "--drop-share" else "SHARE or STEP:SHARE"
        raise PlanError(f'expected {form}, STEP one of {", ".join(steps)}, got "{shown(text)}"', "departures", flag)
    return Departure(parse_share(share, flag), steps[step], quits=flag == "--leave-share", waits=not sent)


def parse_stage(text: str) -> Stage:
    """ "DURATION:RATE", such as "30s:200" or "1m:6000/m"; a rate of 0 is one."""
    duration, colon, rate = text.partition(":")
    if not colon:
        raise PlanError(f'expected DURATION:RATE such as 30s:200, got "{text}"', "stages", "--stage")
    rate_per_s = (
        0.0
        if rate.strip().partition("/")[0] in ("0", "0.0")
        else parse_with(units.parse_rate, rate, "stages", "--stage")
    )
    return Stage(parse_with(units.parse_duration, duration, "stages", "--stage"), rate_per_s)


def _as_utf8(text: str) -> str:
    """An argument that the locale could not decode has its octets escaped (PEP 383); mail knows no locale."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text  # refused by the header


def _alternative(text: str) -> tuple[str, float]:
    value, colon, weight = text.rpartition(":")
    try:
        return (value.strip(), float(weight)) if colon else (text, 1.0)
    except ValueError:
        return text, 1.0


def _preset(text: str, presets: Mapping[str, T], field: str, flag: str) -> T:
    preset = presets.get(text.strip().lower())
    if preset is None:
        raise PlanError(f'expected one of {", ".join(presets)}, got "{text}"', field, flag)
    return preset


def _number(text: str, whole: str, flag: str, form: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PlanError(f'expected {form}, got "{whole}"', "weight", flag) from None


def _whole(text: str, whole: str, flag: str, form: str) -> int:
    digits = text.strip()  # takes off more than int() does
    if not (digits.isascii() and digits.isdigit() and len(text) < 20):
        raise PlanError(f'expected {form}, got "{whole}"', "count", flag)
    return int(digits)
