"""What the words of `traffic-gen check`'s options mean.

Takes     texts as they were typed
Gives     route, services and which of them answer, ports, names, reports, an account
Fails     PlanError, which names the option; SetupError when a service that was asked for does not answer
"""

import difflib
import ipaddress
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from trafficgen import guard, units
from trafficgen.check.cases import CASES
from trafficgen.check.conversation import ConnectionEnded, TextConnection
from trafficgen.check.service import STANDARD_PORTS, CheckedServer, CheckLogin, DomainNames, ServiceKind
from trafficgen.check.tls_scan import read_scan
from trafficgen.cli.flagged import parse_with
from trafficgen.cli.parsing import parse_resolver
from trafficgen.engine.password import read_password
from trafficgen.errors import PlanError, SetupError, reason_of
from trafficgen.guard import Route
from trafficgen.plan import Auth, Target, TcpTarget
from trafficgen.verdict.findings import TlsScan

MAX_PORTS: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")

# -- which services -----------------------------------------------------------------------------------------


def route_to(target: Target, *, allow_public: bool) -> Route:
    route = guard.resolve(target, "HOST")
    if not allow_public:
        guard.refuse_public(route, "HOST")
    return route


def services_of(target: Target, service: tuple[str, ...], *, port_given: bool) -> dict[ServiceKind, int]:
    """What is asked for; the standard ports when nothing is."""

    names = {one.value: one for one in ServiceKind}
    asked: dict[ServiceKind, int] = {}
    for text in service:
        name, _, port = text.partition("=")
        if name not in names or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            expected = f"expected NAME=PORT with a name of {', '.join(names)}"
            raise PlanError(f'{expected}, got "{text}"', field="service", flag="--service")
        asked[names[name]] = int(port)
    if port_given:
        asked.setdefault(ServiceKind.SMTP, target.port if isinstance(target, TcpTarget) else 25)
    return asked or dict(STANDARD_PORTS)


def answering(server: CheckedServer, *, all_must: bool, none_may: bool) -> CheckedServer:
    """The same server with the services that answer. SetupError when one that was asked for does not, or none does
    where that is no finding."""

    silent: list[str] = []
    for address in server.route.addresses:  # of a name with several, the first that answers is the one looked at
        there = replace(server, route=replace(server.route, addresses=(address,)))
        ports = {}
        for service, port in server.ports.items():
            try:
                with TextConnection(there.address(service), server.timeout_s, []):
                    ports[service] = port
            except ConnectionEnded as ended:
                silent.append(f"{service.value} at {there.address(service)}: {ended}")
        if ports and not (all_must and len(ports) < len(server.ports)):
            return replace(there, ports=ports)
    if all_must:
        raise SetupError(silent[0])
    if none_may:
        return replace(server, ports={})
    raise SetupError(f'none of the standard ports of "{server.route.name}" answers; name others with --service')


def port_list(text: str | None) -> tuple[int, ...]:
    parts = text.split(",") if text else []
    if not all(part.isascii() and part.isdigit() and 0 < int(part[:6]) < 65536 for part in parts):
        raise PlanError(f'expected ports such as 25,465,587,993, got "{text}"', field="expect", flag="--expect")
    if len(parts) > MAX_PORTS:
        raise PlanError(f"expected {MAX_PORTS} ports at most, got {len(parts)}", field="expect", flag="--expect")
    return tuple(map(int, parts))


# -- the other options ---------------------------------------------------------------------------------------


def domain_names(
    domains: tuple[str, ...], selectors: tuple[str, ...], resolver: str | None, *, allow_public: bool
) -> DomainNames | None:

    if not domains:
        if selectors or resolver:
            raise PlanError("expected a domain to ask for", field="dns", flag="--dns")
        return None
    for name in (*domains, *selectors):
        if not _NAME.fullmatch(name):
            raise PlanError(f'expected a name such as example.com, got "{name}"', field="dns", flag="--dns")
    where = None
    if resolver is not None:
        where = parse_resolver(resolver, "--resolver")
    names = tuple(name.rstrip(".").lower() for name in domains)
    return DomainNames(names, selectors, where, allow_public=allow_public)


def scans(files: tuple[Path, ...]) -> tuple[TlsScan, ...]:

    found: list[TlsScan] = []
    for file in files:
        try:
            found += read_scan(file.read_bytes())
        except (OSError, ValueError) as error:
            words = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
            raise PlanError(f'cannot read "{file}": {words}', field="tls_report", flag="--tls-report") from error
    return tuple(found)


def readable(log: Path | None) -> Path | None:
    if log is not None:
        try:
            with log.open("rb"):
                pass
        except OSError as error:
            raise PlanError(f'cannot read "{log}": {reason_of(error)}', field="log", flag="--log") from error
    return log


def seconds_of(text: str, flag: str) -> float:
    seconds = parse_with(units.parse_duration, text, flag[2:], flag) / 1e9
    if seconds <= 0:
        raise PlanError(f'expected a time above 0, got "{text}"', field=flag[2:], flag=flag)
    return seconds


def matches(case: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(case, pattern) for pattern in patterns)


def refuse_unknown_cases(patterns: tuple[str, ...], flag: str) -> None:

    for pattern in patterns:
        if not any(fnmatchcase(case, pattern) for case in CASES):
            near = difflib.get_close_matches(pattern, CASES, 1)
            hint = f"did you mean {near[0]}?" if near else "the ids are in docs/reference/check.md"
            raise PlanError(f'no case is called "{pattern}"; {hint}', field=flag[2:], flag=flag)


def account(user: str | None, password_file: Path | None) -> CheckLogin | None:

    if user is None and password_file is None:
        return None
    if user is None or password_file is None:
        text, flag = "expected both an account and its password file", "--login-user, --password-file"
        raise PlanError(text, field="login_user", flag=flag)
    return CheckLogin(user, read_password(Auth(user, password_file), "--password-file"))


def ip(text: str | None, flag: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text)) if text is not None else None
    except ValueError as error:
        raise PlanError(f'expected an IP address, got "{text}"', field=flag[2:], flag=flag) from error
