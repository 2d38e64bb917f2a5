"""What is sent: to which domains and users, from whom, how large.

Gives     a frozen `Workload` and its parts
Refuses   what can be seen to be wrong without a file, with PlanError
Not here  files and sizes looked at (workload.check), the messages (workload)
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mboxgen.counted import number_of
from trafficgen.plan.international import a_label
from trafficgen.plan.refusals import check_count, check_types, check_weight, shown, wrong
from trafficgen.plan.signing import MAX_SIGNED_SENDERS, DkimKey
from trafficgen.plan.targets import A_DOMAIN, domain_wanted, is_domain, is_reserved, may_be_a_registry

DEFAULT_SUFFIX: Final = "traffic-gen.test"
"""Ends in a TLD reserved for testing (RFC 6761 section 6.2): no resolver answers for it."""

DEFAULT_DOMAINS: Final = ("aol.com", "gmail.com", "hotmail.com", "yahoo.com")
"""As KumoMTA's traffic-gen without --domain: equal weights."""

MAX_RECIPIENTS: Final = 1_000
"""Of one message."""

_ATOM: Final = r"(?:[A-Za-z0-9_!#$%&'*+/=?^`{|}~-]|[^\x00-\x7f])+"  # RFC 5321 4.1.2, RFC 6531 3.3
_DOT_STRING: Final = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")


@dataclass(frozen=True, slots=True)
class WeightedDomain:
    """A recipient domain and its share relative to all other weights."""

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        if not _is_mail_domain(self.name):
            raise wrong("domains", f'expected {domain_wanted(self.name)}, got "{shown(self.name)}"', "--domain")
        check_weight(self.weight, f'the weight of "{self.name}"', "--domain")


@dataclass(frozen=True, slots=True)
class WeightedAddress:
    """A mailbox (RFC 5321 4.1.2, a dot-string before the @) and its share relative to all other weights.

    Beyond ASCII it is one of RFC 6531, and a message to it one with SMTPUTF8.
    """

    address: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        local_part = self.local_part
        fits = local_part.isprintable() and len(local_part.encode("utf-8", "surrogatepass")) <= 64
        if not (fits and _DOT_STRING.fullmatch(local_part) and _is_mail_domain(self.domain)):
            wanted = domain_wanted(self.domain)
            form = "an address such as ann@lab.test" if wanted == A_DOMAIN else f"an address with {wanted}"
            text = f'expected {form}, got "{shown(self.address)}"'
            raise wrong("recipients", text, "--to")
        check_weight(self.weight, f'the weight of "{self.address}"', "--to")

    @property
    def local_part(self) -> str:
        """Before the @."""
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        """Behind it."""
        return self.address.rpartition("@")[2]


def _is_mail_domain(name: str) -> bool:
    """Whether it can stand behind an @, with SMTPUTF8 if not without."""
    try:
        return is_domain(a_label(name))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class LongTail:
    """The rest of the internet: `domains` synthetic names that share `weight` by Zipf's law."""

    domains: int
    weight: float

    def __post_init__(self) -> None:
        check_types(self)
        check_count(self.domains, "long_tail", "the number of domains in the tail", "--long-tail", most=1_000_000)
        check_weight(self.weight, "the weight of the tail", "--long-tail")


@dataclass(frozen=True, slots=True)
class Users:
    """The people at each domain.

    `count` mailboxes a domain; `zipf` is the exponent of their popularity (None: all alike);
    `tagged` writes `user+<number>@`, a new address for the same mailbox every time.
    """

    count: int = 100_000
    zipf: float | None = None
    tagged: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        check_count(self.count, "users", "the number of users a domain", "--users", most=10_000_000)
        if self.zipf is not None and not (0.0 < self.zipf <= 10.0):
            raise wrong("users", f"expected a Zipf exponent above 0 and up to 10, got {self.zipf}", "--users")


@dataclass(frozen=True, slots=True)
class Header:
    """A header added to every message; with several values each message gets one, by weight."""

    name: str
    values: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        check_types(self)
        flag = self.flag
        if not _HEADER_NAME.fullmatch(self.name):
            raise wrong("headers", f'expected a header name (RFC 5322 2.2), got "{shown(self.name)}"', "--header")
        for value, weight in self.values:
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise wrong("headers", f'expected a header in UTF-8, got "{shown(value)}"', flag)
            if any(c in value for c in "\r\n\0"):
                raise wrong("headers", f'a header must not contain CR, LF or NUL, got "{shown(value)}"', flag)
            if len(self.name) + 2 + len(value.encode()) > 998:
                raise wrong("headers", f'header "{self.name}" is over 998 octets (RFC 5322 2.1.1)', flag)
            check_weight(weight, f'the weight of header "{self.name}"', flag)

    @property
    def flag(self) -> str:
        """The option that sets it."""
        return "--subject" if self.name == "Subject" else "--header"


@dataclass(frozen=True, slots=True)
class SizedBodies:
    """Bodies of set sizes, as `mboxgen.recipe.sizes.parse_sizes` reads them: ("10kb:5", "80kb:5") or ("spec2001",)."""

    sizes: tuple[str, ...] = ("5kb",)

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, slots=True)
class BodyFile:
    """One body for every message, from a file; where that begins with a header block, the whole message instead.

    Line ends are made CRLF; a `binary` one goes as it is, as a body, and needs BINARYMIME.
    """

    path: Path
    binary: bool = False

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Whole messages from an mbox, in its order or shuffled, again from the start when it is used up.

    `recipe`: what the file is made from where it is not there (`workload.recipes`); None: it has to be there.
    """

    path: Path
    shuffle: bool = False
    recipe: str | None = None

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent: to which domains and users, from whom, how large.

    `recipients_per_message`: (count, weight) pairs. `senders` addresses are drawn once, on the same weighted
    domains as the recipients, as KumoMTA's traffic-gen does.
    `recipients` and those in `recipients_file` (CSV) take the place of domains and users, `from_addresses` that of
    senders; both are used as they are, without the suffix. `international`: the share of messages to users whose names
    are beyond ASCII, with SMTPUTF8 (RFC 6531); domains beyond ASCII go as they are in these, as A-labels in all others.
    """

    domains: tuple[WeightedDomain, ...] = tuple(WeightedDomain(name) for name in DEFAULT_DOMAINS)
    long_tail: LongTail | None = None
    domain_suffix: str = DEFAULT_SUFFIX
    users: Users = Users()
    recipients_per_message: tuple[tuple[int, float], ...] = ((1, 1.0),)
    senders: int = 1_000
    headers: tuple[Header, ...] = ()
    content: SizedBodies | BodyFile | Corpus = SizedBodies()
    recipients: tuple[WeightedAddress, ...] = ()
    recipients_file: Path | None = None
    from_addresses: tuple[WeightedAddress, ...] = ()
    international: float = 0.0
    dkim_keys: tuple[DkimKey, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        self._check_keys()
        if not self.domains and self.long_tail is None:
            raise wrong("domains", "expected at least one domain", "--domain")
        names = [domain.name for domain in self.domains]
        if len(set(names)) != len(names):
            raise wrong("domains", "expected every domain once, with its weights added up", "--domain")
        if self.domain_suffix and not is_domain(self.domain_suffix):
            wanted = f"{domain_wanted(self.domain_suffix)} or an empty string"
            text = f'expected {wanted}, got "{shown(self.domain_suffix)}"'
            raise wrong("domain_suffix", text, "--domain-suffix")
        if not self.recipients_per_message:
            raise wrong("recipients_per_message", "expected at least one number of recipients", "--recipients")
        for name in names:
            if len(a_label(self.with_suffix(name))) > 255 - 65:
                raise wrong(
                    "domains",
                    f'"{name}" with its suffix is too long for a path (RFC 5321 4.5.3.1)',
                    "--domain",
                )
        for count, weight in self.recipients_per_message:
            check_count(
                count, "recipients_per_message", "the number of recipients", "--recipients", most=MAX_RECIPIENTS
            )
            check_weight(weight, f"the weight of {number_of(count, 'recipient')}", "--recipients")
        check_count(self.senders, "senders", "the number of senders", "--senders", most=100_000)
        if not 0.0 <= self.international <= 1.0:
            text = f"expected a share of messages such as 20%, got {self.international:g}"
            raise wrong("international", text, "--smtputf8-share")
        if self.international and (self.recipients or self.recipients_file):
            text = "expected users to draw from: addresses that are given are international or not as they are written"
            raise wrong("international", text, "--smtputf8-share")

    def _check_keys(self) -> None:
        if not self.dkim_keys:
            return
        names = [(key.domain.lower(), key.selector.lower()) for key in self.dkim_keys]
        if len(set(names)) != len(names):
            raise wrong("dkim_keys", "expected one key for each selector of a domain", "--dkim-key")
        if isinstance(self.content, Corpus):
            text = "expected generated messages: those of a corpus are sent as they are, and never signed"
            raise wrong("dkim_keys", text, "--dkim-key")
        senders = len(self.from_addresses) or self.senders
        if senders > MAX_SIGNED_SENDERS:
            text = f"expected at most {MAX_SIGNED_SENDERS} senders where mail is signed, got {senders}"
            raise wrong("senders", text, "--senders")

    def with_suffix(self, domain: str) -> str:
        """`domain` as it goes on the wire; that of an address that was given is used as it is."""
        if self.recipients or self.recipients_file:
            return domain
        return f"{domain}.{self.domain_suffix}" if self.domain_suffix else domain

    @property
    def real_domains(self) -> tuple[str, ...]:
        """Domains that may belong to real people: no reserved name, and no suffix that keeps them apart. Those of
        `recipients_file` are not known here."""
        given = self.from_addresses + self.recipients
        if found := tuple(one.domain for one in given if not is_reserved(one.domain)):
            return found
        if self.recipients or self.recipients_file:
            return ()
        if self.domain_suffix and may_be_a_registry(self.domain_suffix):
            return tuple(self.with_suffix(domain.name) for domain in self.domains) or (f".{self.domain_suffix}",)
        if self.domain_suffix:
            return ()
        return tuple(domain.name for domain in self.domains if not is_reserved(domain.name))
