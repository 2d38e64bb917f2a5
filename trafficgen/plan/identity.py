"""Who the client is: the addresses and names that a run's sessions come from, or say that they come from.

Gives     a frozen `ClientPlan`: source addresses, names for EHLO, clients for the PROXY protocol, XCLIENT and XFORWARD
Refuses   names that EHLO cannot carry, ranges that run backwards, too many addresses to send from, with PlanError
Not here  which session is given which of them (engine)
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from trafficgen.plan.refusals import check_types, check_weight, shown, wrong

MAX_SOURCES: Final = 65_536
"""Addresses to send from, each of which is tried before the run."""

_NAME: Final = re.compile(r"[!-~]{1,255}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_.*-]{1,200}")
_VALUE: Final = re.compile(r"[ -~]{1,255}")
_RANGE_FORM: Final = "an IP address, FIRST-LAST, or a network such as 192.0.2.0/24"
_UNKNOWN: Final = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")

XCLIENT: Final = ("NAME", "REVERSE_NAME", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
"""What XCLIENT says besides ADDR, which comes from ranges (Postfix 3.7: XCLIENT_README, and its reply to EHLO)."""

XFORWARD: Final = ("NAME", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
"""The same of XFORWARD (Postfix's XFORWARD_README)."""

_FEW: Final = {"PROTO": ("SMTP", "ESMTP"), "SOURCE": ("LOCAL", "REMOTE")}
"""Attributes that have few values."""


class ProxyProtocol(Enum):
    """The header that a connection begins with (HAProxy's PROXY protocol, sections 2.1 and 2.2)."""

    NONE = "none"
    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class WeightedName:
    """What EHLO may say, and how often. Weights are relative."""

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        check_ehlo_name(self.name)
        check_weight(self.weight, f'the weight of "{self.name}"', "--ehlo-name")


@dataclass(frozen=True, slots=True)
class AddressRange:
    """IP addresses from `first` to `last`, both among them, of which each is as likely.

    `name` is the host name that goes with one; `*` in it stands for the address, with dashes: 192-0-2-7. "" = none.
    """

    first: str
    last: str
    name: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        try:
            first, last = ipaddress.ip_address(self.first), ipaddress.ip_address(self.last)
        except ValueError:
            raise wrong("first", f'expected {_RANGE_FORM}, got "{shown(self._written)}"', "range") from None
        if first.version != last.version or int(first) > int(last):
            text = f'expected a range from a lower to a higher address, got "{shown(self._written)}"'
            raise wrong("first", text, "range")
        if self.name and not _HOST_NAME.fullmatch(self.name):
            raise wrong("name", f'expected a host name, * for the address, got "{shown(self.name)}"', "range")
        check_weight(self.weight, f"the weight of {self._written}", "range")

    @property
    def _written(self) -> str:
        return self.first if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return int(ipaddress.ip_address(self.last)) - int(ipaddress.ip_address(self.first)) + 1

    def address(self, index: int) -> str:
        """One of them, from 0."""
        return str(ipaddress.ip_address(self.first) + index)

    def host_name(self, address: str) -> str:
        """The name that goes with an address of it; "" for none."""
        return self.name.replace("*", re.sub("[.:]+", "-", address))


@dataclass(frozen=True, slots=True)
class ClientAttribute:
    """A value that an attribute of XCLIENT or XFORWARD may have, and how often among all that it may have.

    `value`: as it is meant, in printable ASCII; [UNAVAILABLE] and [TEMPUNAVAIL] say that there is none.
    """

    name: str
    value: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        expected = "1 to 255 printable ASCII characters"
        right = _VALUE.fullmatch(self.value) is not None
        if right and self.value.upper() not in _UNKNOWN:
            if self.name in ("PORT", "DESTPORT"):
                expected = "a port from 1 to 65535"
                right = self.value.isdecimal() and len(self.value) < 6 and 0 < int(self.value) < 65536
            elif self.name == "DESTADDR":
                expected, right = "an IP address", _is_address(self.value)
            elif self.name in _FEW:
                expected, right = " or ".join(_FEW[self.name]), self.value.upper() in _FEW[self.name]
        if not right:
            raise wrong("client", f'expected {expected} as {shown(self.name)}, got "{shown(self.value)}"', "attribute")
        check_weight(self.weight, f"the weight of {self.name}={self.value}", "attribute")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """Who the client is. Whatever is empty is not said.

    `sources`: addresses of this machine to connect from, in turn when all weights are alike, else drawn by weight.
    `ehlo_names`: in place of `SessionPlan.ehlo_name`. `proxy`: the header each connection begins with, with an address
    of `proxy_from`. `xclient_from`, `xforward_from`: the addresses that XCLIENT and XFORWARD name (Postfix's
    XCLIENT_README and XFORWARD_README); `xclient`, `xforward`: what else they say, of each attribute one of its values.
    What a session draws follows from the seed and the session's number in the run.
    """

    sources: tuple[AddressRange, ...] = ()
    ehlo_names: tuple[WeightedName, ...] = ()
    proxy: ProxyProtocol = ProxyProtocol.NONE
    proxy_from: tuple[AddressRange, ...] = ()
    xclient_from: tuple[AddressRange, ...] = ()
    xforward_from: tuple[AddressRange, ...] = ()
    xclient: tuple[ClientAttribute, ...] = ()
    xforward: tuple[ClientAttribute, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        if (self.proxy is ProxyProtocol.NONE) != (not self.proxy_from):
            missing, given = "--proxy-protocol v1 or v2", "--proxy-from"
            if not self.proxy_from:
                missing, given = given, "--proxy-protocol"
            raise wrong("proxy", f"expected a header and the addresses that it names: add {missing}", given)
        if (count := sum(one.size for one in self.sources)) > MAX_SOURCES:
            raise wrong("sources", f"expected {MAX_SOURCES} addresses to send from at most, got {count}", "--source-ip")
        if any(one.name for one in self.sources):
            raise wrong("sources", "expected addresses alone: a name comes from the DNS of the server", "--source-ip")
        for attributes, names, flag in ((self.xclient, XCLIENT, "--xclient"), (self.xforward, XFORWARD, "--xforward")):
            for attribute in attributes:
                if attribute.name == "ADDR":
                    raise wrong("client", f"expected addresses with {flag}-from", flag)
                if attribute.name not in names:
                    text = f'expected one of {", ".join(names)}, got "{shown(attribute.name)}"'
                    raise wrong("client", text, flag)

    @property
    def announced(self) -> str:
        """The option that asks for XCLIENT or XFORWARD; "" when neither is said."""
        asked = (
            ("--xclient-from", self.xclient_from), ("--xclient", self.xclient),
            ("--xforward-from", self.xforward_from), ("--xforward", self.xforward),
        )  # fmt: skip
        return next((flag for flag, given in asked if given), "")


def check_ehlo_name(name: str) -> None:
    """PlanError unless it can stand in EHLO."""
    if not _NAME.fullmatch(name):
        raise wrong("ehlo_name", f'expected a host name or [address], got "{shown(name)}"', "--ehlo-name")
