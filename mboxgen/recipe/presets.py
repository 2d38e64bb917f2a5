"""Named distributions of message sizes, each with its source.

Gives     PRESETS: name → Preset (sizes, source, one line of words, the mail profile that fits)
Not here  how they are drawn (distributions), what a mail profile means (profiles)

Sizes are octets of the whole message with CRLF, headers included. Tables were checked on 2026-11-21; what a source
does not say (the unit of a "KB", the ends of a table) is said in `words` or in a comment here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from mboxgen.recipe.distributions import Knot, Mix, QuantileTable, lognormal, with_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mboxgen.recipe.distributions import Sizes

KIB = 1024
# Postfix's default message_size_limit is 10,240,000 (postconf(5)): a preset must fit into a server as installed.
POSTFIX_LIMIT = 10_240_000


@dataclass(frozen=True)
class Preset:
    """A named distribution of sizes; `profile` names the structure that messages of this kind have."""

    name: str
    source: str
    words: str
    profile: str
    make: Callable[[str], Sizes]

    @cached_property
    def sizes(self) -> Sizes:
        """The distribution, made when first asked for."""
        return self.make(self.name)


def _mix(*pairs: tuple[int, float]) -> Callable[[str], Sizes]:
    return lambda name: Mix(name, tuple(size for size, _ in pairs), tuple(weight for _, weight in pairs))


def _quantiles(cap: int, *pairs: tuple[str, int]) -> Callable[[str], Sizes]:
    return lambda name: with_tail(name, pairs, cap)


def _histogram(shift: int, *pairs: tuple[str, int]) -> Callable[[str], Sizes]:
    """Make a table of cumulative percent and upper ends, log-linear inside a bucket, `shift` octets added."""

    def make(name: str) -> Sizes:
        from mboxgen.recipe.distributions import between_quantiles

        knots = between_quantiles(pairs)
        return QuantileTable(name, tuple(Knot(knot.chance, knot.octets + shift) for knot in knots))

    return make


def _b2c(name: str) -> Sizes:
    # Median 38 kB and p95 100 kB: sigma = ln(100 / 38) / 1.6449.
    return lognormal(name, 38_000, Decimal("0.588"), least=4_000, cap=300_000)


_ALL = (
    Preset(
        "spec2001",
        "SPECmail2001 Architecture White Paper v1.00 (16 Jan 2001), 4.2.1.1; no attachments: its FAQ, Q7",
        "consumer mail of 2001 as plain text, ten exact sizes from 1 to 2,675 kB, mean 24.5 kB (kB taken as 1,000)",
        "plain",
        _mix(
            (1_000, 10.20), (2_000, 30.71), (3_000, 20.59), (4_000, 10.78), (5_000, 5.88), (6_000, 3.74),
            (10_000, 7.44), (100_000, 9.79), (1_000_000, 0.69), (2_675_000, 0.18),
        ),
    ),
    Preset(
        "dovecot-sample",
        "the sample script of Dovecot's imaptest documentation",
        "10, 80, 150 and 250 KiB, equally often: the classic load-test corpus",
        "plain",
        _mix((10 * KIB, 5), (80 * KIB, 5), (150 * KIB, 5), (250 * KIB, 5)),
    ),
    Preset(
        "kumo-60k",
        "KumoMTA documentation, examples of its traffic-gen",
        "every message 60,000 octets",
        "plain",
        _mix((60_000, 1)),
    ),
    Preset(
        "kumo-100k",
        "KumoMTA documentation, published rates",
        "every message 100,000 octets",
        "plain",
        _mix((100_000, 1)),
    ),
    Preset(
        "loadsim-mmb",
        "Compaq white paper ECG082/0898 (1998), table 4: LoadSim 5.5, MMB",
        "office mail of 1998, 1 to 43 KiB; one row of weight 4 is missing in the source",
        "plain",
        _mix(
            (1 * KIB, 60), (2 * KIB, 16), (4 * KIB, 4), (10 * KIB, 6),
            (15 * KIB, 4), (16 * KIB, 4), (43 * KIB, 2),
        ),
    ),
    Preset(
        "loadsim-light",
        'Microsoft MSDN, "Using Load Simulator"',
        "light user: 1 and 10 KiB",
        "plain",
        _mix((1 * KIB, 9), (10 * KIB, 1)),
    ),
    Preset(
        "loadsim-medium",
        'Microsoft MSDN, "Using Load Simulator"',
        "medium user: 1, 2 and 10 KiB",
        "plain",
        _mix((1 * KIB, 7), (2 * KIB, 2), (10 * KIB, 1)),
    ),
    Preset(
        "loadsim-heavy",
        'Microsoft MSDN, "Using Load Simulator"',
        "heavy user: 1, 2, 4 and 10 KiB",
        "plain",
        _mix((1 * KIB, 6), (2 * KIB, 2), (4 * KIB, 1), (10 * KIB, 1)),
    ),
    Preset(
        "sa-ham",
        "measured: SpamAssassin public corpus 2002-2005, ham, 4,150 messages",
        "wanted mail of 2002, median 3.4 kB, up to 305 kB",
        "personal-2002",
        _quantiles(
            304_681, ("0", 850), ("1", 977), ("5", 1_082), ("10", 1_199), ("25", 2_572), ("50", 3_411),
            ("75", 4_500), ("90", 6_607), ("95", 13_257), ("99", 33_779),
        ),
    ),
    Preset(
        "sa-hardham",
        "measured: SpamAssassin public corpus 2002-2005, hard ham, 250 messages",
        "newsletters of 2002, median 25 kB, up to 305 kB",
        "newsletter-2002",
        _quantiles(
            304_681, ("0", 1_600), ("1", 2_196), ("5", 3_468), ("10", 4_155), ("25", 9_151), ("50", 24_699),
            ("75", 31_793), ("90", 34_356), ("95", 38_712), ("99", 105_810),
        ),
    ),
    Preset(
        "sa-spam",
        "measured: SpamAssassin public corpus 2002-2005, spam, 1,896 messages",
        "spam of 2002, median 4.2 kB, up to 235 kB",
        "spam",
        _quantiles(
            235_403, ("0", 1_000), ("1", 1_290), ("5", 1_609), ("10", 1_849), ("25", 2_548), ("50", 4_151),
            ("75", 7_254), ("90", 12_471), ("95", 18_273), ("99", 41_654),
        ),
    ),
    Preset(
        "list-all",
        "measured: linux-mips list archive 1994-2019, 6,007 of 84,099 messages",
        "a developers' list, dated from 2001 on, median 4.1 kB, up to 1.4 MB",
        "list-archive",
        _quantiles(
            1_396_834, ("0", 1_100), ("1", 1_449), ("5", 1_817), ("10", 2_057), ("25", 2_714), ("50", 4_059),
            ("75", 6_176), ("90", 10_656), ("95", 15_956), ("99", 47_598),
        ),
    ),
    Preset(
        "list-2017",
        "measured: linux-mips list archive 2017-2019, 6,012 of 18,034 messages",
        "a developers' list with long headers and many in Cc, median 6.0 kB, up to 1.4 MB",
        "list",
        _quantiles(
            1_396_814, ("0", 1_900), ("1", 2_555), ("5", 3_215), ("10", 3_667), ("25", 4_596), ("50", 6_030),
            ("75", 8_810), ("90", 13_317), ("95", 19_987), ("99", 54_247),
        ),
    ),
    Preset(
        "corp",
        "G. Watson, size analysis of 18.6 million corporate mails (256stuff.com)",
        "sizes of body parts of corporate mail with 2,000 octets of header added, up to 8 MiB",
        "corporate",
        _histogram(
            2_000, ("0", 32), ("1.05", 64), ("4.26", 128), ("9.21", 256), ("18.73", 512), ("33.68", 1 * KIB),
            ("49.53", 2 * KIB), ("65.14", 4 * KIB), ("76.74", 8 * KIB), ("83.93", 16 * KIB), ("89.06", 32 * KIB),
            ("93.10", 64 * KIB), ("95.60", 128 * KIB), ("97.37", 256 * KIB), ("98.41", 512 * KIB),
            ("99.17", 1024 * KIB), ("99.65", 2048 * KIB), ("99.87", 4096 * KIB), ("100", 8192 * KIB),
        ),
    ),
    Preset(
        "freebsdnet-2002",
        "freebsd-net list, October 2002, message 203: a mail server's size histogram",
        "cumulative sizes by powers of two up to 4 MiB; the first bucket starts at 900 octets",
        "personal-2002",
        _histogram(
            0, ("0", 900), ("23.53", 2 * KIB), ("49.17", 4 * KIB), ("67.60", 8 * KIB), ("79.58", 16 * KIB),
            ("85.36", 32 * KIB), ("90.47", 64 * KIB), ("93.30", 128 * KIB), ("95.74", 256 * KIB),
            ("97.24", 512 * KIB), ("98.49", 1024 * KIB), ("99.96", 2048 * KIB), ("100", 4096 * KIB),
        ),
    ),
    Preset(
        "b2c-html",
        "an engineering choice, no public histogram: Gmail clips at 102 kB, senders keep to 100 kB",
        "HTML marketing mail, log-normal, median 38 kB, p95 100 kB, up to 300 kB",
        "newsletter",
        _b2c,
    ),
)  # fmt: skip

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
