"""Questions to the DNS, with dnspython: the extra "dns".

Takes     the address of a resolver, else the system's; a name and a type
Gives     records, [] where there are none; each answer is a line of the transcript
Fails     SetupError without dnspython or any resolver; `NoAnswer` where the resolver did not tell: it may be there
Not here  what the records should be (check.domain), where mail for a domain goes (engine.exchangers)
"""

from typing import Any, Final

from trafficgen.errors import SetupError, reason_of
from trafficgen.host.extras import advice
from trafficgen.plan import TcpTarget
from trafficgen.printable import printable

_SHOWN: Final = 200


class NoAnswer(Exception):  # noqa: N818  (what a resolver did, not an error of ours)
    """The resolver did not tell: SERVFAIL, a refusal, or nothing in time."""


class Lookups:
    """Asks one resolver, each question once. `flags`: the options that want it and that name the resolver."""

    def __init__(
        self,
        resolver: TcpTarget | None,
        timeout_s: float,
        transcript: list[str],
        flags: tuple[str, str] = ("--dns", "--resolver"),
    ) -> None:
        try:
            import dns.resolver
        except ImportError as error:
            raise SetupError(f"{flags[0]} needs dnspython: {advice('dns')}") from error
        try:
            self._resolver = dns.resolver.Resolver(configure=resolver is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise SetupError(f"this machine has no resolver: {error}; name one with {flags[1]}") from error
        if resolver is not None:
            self._resolver.nameservers = [resolver.host]
            self._resolver.port = resolver.port
        self._resolver.lifetime = timeout_s
        # The resolver is asked whether it has verified the answer (RFC 6840 5.7).
        self._resolver.use_edns(0, 0, 1232)
        self._resolver.set_flags(dns.flags.RD | dns.flags.AD)
        self._transcript = transcript
        self._answers: dict[tuple[str, str], tuple[list[Any], bool]] = {}

    def records(self, name: str, kind: str) -> list[Any]:
        """As dnspython has them, aliases followed."""
        return self._ask(name, kind)[0]

    def verified(self, name: str, kind: str) -> bool:
        """Whether the resolver says that DNSSEC covers the answer (RFC 4035 3.2.3)."""
        return self._ask(name, kind)[1]

    def texts(self, name: str, begin: str) -> list[str]:
        """TXT records that begin so, in any case; the strings of one joined without blanks (RFC 7208 3.3)."""
        joined = [b"".join(record.strings).decode("utf-8", "replace") for record in self.records(name, "TXT")]
        return [text for text in joined if text.lower().startswith(begin.lower())]

    def addresses(self, name: str) -> list[str]:
        """A and AAAA."""
        return [str(record.address) for kind in ("A", "AAAA") for record in self.records(name, kind)]

    def names_of(self, address: str) -> list[str]:
        """PTR."""
        import dns.reversename

        return [bare(record.target) for record in self.records(str(dns.reversename.from_address(address)), "PTR")]

    def _ask(self, name: str, kind: str) -> tuple[list[Any], bool]:
        import dns.exception
        import dns.flags
        import dns.resolver

        key = (name.lower(), kind)
        if key not in self._answers:
            try:
                answer = self._resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                found: tuple[list[Any], bool] = ([], False)
            except (dns.exception.DNSException, OSError, UnicodeError) as error:
                self._note(name, kind, f"no answer ({reason_of(error)})")
                raise NoAnswer(f"{kind} of {name}: {reason_of(error)}") from error
            else:
                records = list(answer.rrset or ())
                found = (records, bool(answer.response.flags & dns.flags.AD))
            self._answers[key] = found
            self._note(name, kind, "; ".join(record.to_text() for record in found[0]) or "none")
        return self._answers[key]

    def _note(self, name: str, kind: str, words: str) -> None:
        self._transcript.append(f"   {kind} of {printable(name)}: {printable(words[:_SHOWN])}")


def bare(name: object) -> str:
    """A name as people write it: without the dot at its end, in small letters."""
    return str(name).rstrip(".").lower()
