"""Real mixes of recipient domains and of recipients per message, by name, each with its source.

Gives     `DOMAINS`: weighted domains and the share of "the rest"; `RECIPIENTS`: weighted counts per message
Not here  how a mix is drawn (shares), presets of sizes (`mboxgen.recipe.sizes`)

Most sources count providers, not domains, and do not say how a provider's mail divides over its domains. Where a
preset here has several domains for one provider, the split is that of `kumo-doc` (hotmail 8.8 : outlook 1.2 : msn 0.5 :
live 0.3 and so on) or of another preset named beside it: an assumption, marked "expanded" in `words`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

REST_DOMAINS: Final = 1000
"""How many synthetic domains share "the rest" of a preset; many, as a mail server keeps a queue for each."""


@dataclass(frozen=True, slots=True)
class DomainPreset:
    """A mix of recipient domains; `rest` is the weight of all that the source does not name."""

    name: str
    source: str
    words: str
    domains: tuple[tuple[str, float], ...]
    rest: float = 0.0


@dataclass(frozen=True, slots=True)
class RecipientPreset:
    """How many recipients messages have: (count, weight)."""

    name: str
    source: str
    words: str
    counts: tuple[tuple[int, float], ...]


def _spread(weight: float, *parts: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    """`weight` of a provider over its domains, in proportion."""
    total = sum(part for _, part in parts)
    return tuple((domain, round(weight * part / total, 4)) for domain, part in parts)


def _microsoft(weight: float) -> tuple[tuple[str, float], ...]:
    return _spread(weight, ("hotmail.com", 8.8), ("outlook.com", 1.2), ("msn.com", 0.5), ("live.com", 0.3))


def _yahoo_aol(weight: float) -> tuple[tuple[str, float], ...]:
    return _spread(weight, ("yahoo.com", 5.9), ("aol.com", 1.5))


def _apple(weight: float) -> tuple[tuple[str, float], ...]:
    return _spread(weight, ("icloud.com", 1.2), ("me.com", 0.2))


def _att(weight: float) -> tuple[tuple[str, float], ...]:
    return _spread(weight, ("sbcglobal.net", 0.3), ("bellsouth.net", 0.2))


def _gmx_webde(weight: float) -> tuple[tuple[str, float], ...]:
    return _spread(weight, ("gmx.de", 10.9), ("gmx.net", 10.9), ("web.de", 20.4))  # 21.8 : 20.4, publicare-de-2013


_MAPP: Final = "Mapp Global Provider Report 2019, over 170 million mails of August and September 2019"

_DOMAINS: Final = (
    DomainPreset(
        "kumo-doc",
        "KumoMTA documentation, performance testing: the traffic-gen example with weights",
        "consumer mail in the US, thirteen domains; weights are relative, no rest",
        (
            ("gmail.com", 67.4), ("hotmail.com", 8.8), ("yahoo.com", 5.9), ("aol.com", 1.5), ("icloud.com", 1.2),
            ("outlook.com", 1.2), ("comcast.net", 0.5), ("msn.com", 0.5), ("orange.fr", 0.4), ("live.com", 0.3),
            ("sbcglobal.net", 0.3), ("bellsouth.net", 0.2), ("me.com", 0.2),
        ),
    ),
    DomainPreset(
        "kumo-default",
        "KumoMTA source, crates/traffic-gen: what it sends to without --domain",
        "four large providers, equally often; the default here as well",
        (("aol.com", 1.0), ("gmail.com", 1.0), ("hotmail.com", 1.0), ("yahoo.com", 1.0)),
    ),
    DomainPreset(
        "mapp2019-us", _MAPP, "US, by provider, expanded",
        (
            ("gmail.com", 50.1), *_yahoo_aol(22.6), *_microsoft(12.4), ("comcast.net", 2.0), *_apple(1.6), *_att(1.1),
        ),
        rest=10.2,
    ),
    DomainPreset(
        "mapp2019-uk", _MAPP, "United Kingdom, by provider, expanded",
        (
            ("gmail.com", 33.0), *_microsoft(23.0), *_yahoo_aol(18.0), ("virginmedia.com", 6.0),
            ("btinternet.com", 5.0), *_apple(4.0),
        ),
        rest=11.0,
    ),
    DomainPreset(
        "mapp2019-de", _MAPP, "Germany, by provider, expanded (1&1 as in publicare-de-2013)",
        (*_gmx_webde(39.9), ("gmail.com", 15.3), ("t-online.de", 11.9)),
        rest=32.9,
    ),
    DomainPreset(
        "mapp2019-fr", _MAPP, "France, by provider, expanded",
        (("gmail.com", 26.9), *_microsoft(25.9), ("orange.fr", 17.8)),
        rest=29.4,
    ),
    DomainPreset(
        "mapp2019-pl", _MAPP, "Poland, by provider",
        (("wp.pl", 26.4), ("gmail.com", 25.4)),
        rest=48.2,
    ),
    DomainPreset(
        "publicare-de-2013",
        "Publicare e-mail study 2013, 12 million consumer addresses (publicare.de/en/blog/email-study-2013)",
        "Germany, consumers, by provider, expanded (gmx.de and gmx.net equally)",
        (
            ("gmx.de", 10.9), ("gmx.net", 10.9), ("web.de", 20.4), ("t-online.de", 11.2), *_microsoft(9.4),
            *_yahoo_aol(7.1), ("gmail.com", 6.2), ("vodafone.de", 3.1),
        ),
        rest=20.8,
    ),
    DomainPreset(
        "convios-de-2016",
        "Convios survey 2016, n = 1,006, reported by elaine.io",
        "Germany, main address of people asked, by provider, expanded (gmx.de and gmx.net equally)",
        (
            ("gmx.de", 13.1), ("gmx.net", 13.1), ("web.de", 25.8), ("t-online.de", 11.8), ("outlook.com", 9.4),
            ("gmail.com", 6.2), ("aol.com", 3.8), ("1und1.de", 3.2), ("freenet.de", 3.1), ("arcor.de", 2.6),
        ),
        rest=7.9,
    ),
    DomainPreset(
        "lange-us-2019",
        "Daniel Lange, analysis of 2.3 million addresses (daniel-lange.com), the decade after 2009",
        "mostly US, by provider, expanded",
        (("gmail.com", 39.0), *_microsoft(35.0), *_yahoo_aol(18.0)),
        rest=8.0,
    ),
    DomainPreset(
        "tuck1s",
        "github.com/tuck1s/smtp-traffic-gen, emailcontent.py: the mix it sends",
        "a generator's idea of a US mix, by provider, expanded",
        (("gmail.com", 40.0), *_microsoft(30.0), *_yahoo_aol(20.0)),
        rest=10.0,
    ),
)  # fmt: skip

_SPEC2001: Final = (
    85.73, 1.66, 1.49, 1.34, 1.20, 1.08, 0.97, 0.88, 0.79, 0.71,
    0.64, 0.58, 0.52, 0.47, 0.42, 0.38, 0.34, 0.31, 0.28, 0.21,
)  # fmt: skip

_RECIPIENTS: Final = (
    RecipientPreset(
        "spec2001",
        "SPECmail2001 Architecture White Paper v1.00 (16 January 2001), section 4.2.1",
        "consumer mail of 2001: 85.73 % have one recipient, up to 20, mean 2.0",
        tuple(enumerate(_SPEC2001, start=1)),
    ),
    RecipientPreset(
        "rcpt-cam",
        "T. Finch on the ietf-smtp list: mail exchangers of the University of Cambridge, 2010",
        "mean 1.3, in and out; the source gives the mean alone, the geometric shape up to 10 is assumed",
        tuple((count, round(100 / 1.3 * (1 - 1 / 1.3) ** (count - 1), 4)) for count in range(1, 11)),
    ),
)


DOMAINS: Final[Mapping[str, DomainPreset]] = MappingProxyType({preset.name: preset for preset in _DOMAINS})
RECIPIENTS: Final[Mapping[str, RecipientPreset]] = MappingProxyType({preset.name: preset for preset in _RECIPIENTS})
