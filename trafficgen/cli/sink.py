"""`traffic-gen sink`: receive mail, behave like the destinations it stands for, and keep account.

Takes     where to listen, how to behave, what to keep
Gives     the call of `trafficgen.sink.serve`; a line a second to stderr while mail comes
Not here  the sink itself (`trafficgen.sink`)
"""

import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mboxgen.console import Names, nearest_name
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.cli.sink_options import sink_options
from trafficgen.errors import ExitCode, PlanError
from trafficgen.plan import Target, TcpTarget, is_domain, parse_listen, parse_service
from trafficgen.plan.refusals import shown
from trafficgen.plan.targets import domain_wanted

if TYPE_CHECKING:
    from trafficgen.protocol.smtp.capabilities import Capabilities
    from trafficgen.sink.bounces.bounces import BouncePlan
    from trafficgen.sink.config import Behaviour, CapturePlan, SinkConfig, SinkSecurity
    from trafficgen.sink.policy.faults import SinkFault
    from trafficgen.sink.policy.limits import Limits

_STATUS: Final = "status"

EPILOG: Final = """\
Examples:

\b
  traffic-gen sink 127.0.0.1:2526
  traffic-gen sink 2526 --responses providers --domain-rate gmail.com=600/m --ledger sink.ledger
  traffic-gen sink 2526 --responses responses.toml --kumo-odds --drop dot:after:1% --tarpit uniform:10ms-200ms
  traffic-gen sink unix:/run/sink.sock --lmtp
  traffic-gen sink 2526 --bounce-to 127.0.0.1:2525 --bounce-share 2% --complaint-share 0.1%
  traffic-gen sink 2526 --api 8026
  traffic-gen sink status 8026

Faults are written STAGE:WHAT:ODDS, with the stages connect helo starttls auth mail rcpt data dot quit, and odds such as
10%, 0.1 or 1/10; without odds they happen every time.
"""


@click.command("sink", cls=GroupedCommand, epilog=EPILOG)
@click.argument("listen", metavar="[HOST:]PORT", type=Names(lambda: [_STATUS]))
@click.argument("api", metavar="", required=False)
@sink_options
def command(listen: str, api: str | None, **given: Any) -> ExitCode:
    """Receive mail on this address, for a server under test to deliver to, until Ctrl-C or --message-count.

    Relays nothing. A port alone listens on 127.0.0.1, HOST:0 on a free one; unix:/path listens on a UNIX socket.
    Without options everything is taken; with them the sink refuses, limits and fails the way real destinations do.
    """
    if listen == _STATUS:
        return _status(api)
    if api is not None:
        hint = f"; did you mean {_STATUS} {api}?" if nearest_name(listen, [_STATUS]) else ""
        raise PlanError(f'expected one address, got "{api}" too{hint}', field="listen", flag="[HOST:]PORT")
    address = parse_listen(listen)
    config = sink_config_of(address, given)
    if config.workers > 1:
        from trafficgen.sink.process_pool import serve_many as serve
    else:
        from trafficgen.sink.serve import serve
    serve(config, say=lambda line: click.echo(line, err=True))
    return ExitCode.DONE


def _status(text: str | None) -> ExitCode:
    """What the sink whose API is there says of itself."""
    import json

    from trafficgen.proof.remote_sink import RemoteSink

    if text is None:
        raise PlanError("expected the sink's --api address behind status", field="api", flag="[HOST:]PORT")
    sink = RemoteSink(_tcp(parse_service(text, "api", "[HOST:]PORT"), "[HOST:]PORT"))
    click.echo(json.dumps({**sink.totals(), "chaos": sink.chaos()}, indent=2))
    return ExitCode.DONE


def sink_config_of(address: Target, given: dict[str, Any]) -> "SinkConfig":
    """The options understood, as the sink takes them."""
    from trafficgen.sink.config import SinkConfig
    from trafficgen.units import parse_duration

    if given["ledger"] is not None and given["no_ledger"]:
        raise PlanError("expected a ledger or none", field="ledger", flag="--no-ledger")
    _refuse_idle_options(given)
    idle_ns = _parsed(parse_duration, given["idle_timeout"], "--idle-timeout")
    if not idle_ns:
        raise PlanError("expected a time above zero", field="idle_timeout", flag="--idle-timeout")
    return SinkConfig(
        address,
        capabilities=_capabilities(given),
        security=_security(given),
        behaviour=_behaviour(given),
        ledger=not given["no_ledger"],
        ledger_file=given["ledger"],
        workers=given["workers"],
        messages=given["message_count"],
        proxied=_proxied(given),
        api=_tcp(parse_listen(given["serve_api"], "api", "--api"), "--api") if given["serve_api"] is not None else None,
        capture=_capture(given),
        bounces=_bounces(given),
        idle_s=idle_ns / 1e9,
    )


_NEEDS: Final = {
    "certificate": ("starttls", "tls"),
    "key": ("certificate",),
    "require_tls": ("starttls", "tls"),
    "kumo_odds": ("responses",),
    "allow_public_target": ("bounce_to",),
    "allow_real_domains": ("bounce_to",),
    "capture_limit": ("capture",),
}
"""Options that would do nothing without one of others."""


def _refuse_idle_options(given: dict[str, Any]) -> None:
    for name, others in _NEEDS.items():
        if given[name] and not any(given[other] for other in others):
            raise PlanError(f"expected {' or '.join(map(_flag, others))} with it", field=name, flag=_flag(name))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _proxied(given: dict[str, Any]) -> bool:
    if given["proxy_protocol"] and given["tls"]:
        raise PlanError("expected TLS by --starttls behind a proxy", field="proxied", flag="--proxy-protocol")
    return bool(given["proxy_protocol"])


def _tcp(address: Target, flag: str) -> TcpTarget:
    if not isinstance(address, TcpTarget):
        raise PlanError(f'expected [HOST:]PORT, got "{address}"', field="api", flag=flag)
    return address


def _capture(given: dict[str, Any]) -> "CapturePlan | None":
    from trafficgen.sink.config import CapturePlan
    from trafficgen.sink.store.capture import CaptureFormat

    if given["capture"] is None:
        return None
    form, colon, path = given["capture"].partition(":")
    known = {form.value: form for form in CaptureFormat}
    if form not in known or not colon or not path:
        names = ", ".join(f"{name}:PATH" for name in known)
        raise PlanError(f"expected one of {names}", field="capture", flag="--capture")
    limit = given["capture_limit"]
    return CapturePlan(known[form], Path(path), _parsed(_size, limit, "--capture-limit") if limit else None)


def _size(text: str) -> int:
    from mboxgen.recipe.sizes import parse_size

    return parse_size(text)


def _capabilities(given: dict[str, Any]) -> "Capabilities":
    from trafficgen.protocol.smtp.capabilities import NAME, Capabilities, extension

    return Capabilities(
        lmtp=given["lmtp"],
        starttls=given["starttls"],
        auth=given["auth"] or given["require_auth"] or given["auth_password_file"] is not None,
        password=_password(given["auth_password_file"]),
        xclient=given["xclient"],
        xforward=given["xforward"],
        require_tls=given["require_tls"],
        require_auth=given["require_auth"],
        max_octets=_octets(given["max_size"]) or 0,
        hidden=frozenset(_parsed(extension, name, "--hide") for name in given["hide"]),
        name=_parsed(_hostname, given["hostname"], "--hostname") if given["hostname"] is not None else NAME,
    )


def _hostname(text: str) -> bytes:
    """A domain or an address literal (RFC 5321 sections 4.1.2 and 4.1.3), as it stands in a greeting."""
    bare = text.replace(".", "").isdecimal()
    if bare or not (is_domain(text) or _is_address_literal(text)):
        form = f"{domain_wanted(text)} or an address in brackets, such as [192.0.2.1]"
        raise ValueError(f'expected {form}, got "{shown(text)}"')
    return text.encode("ascii")


def _suffixes(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(_parsed(_domain, text, "--domain-suffix") for text in texts if text)


def _domain(text: str) -> str:
    if not is_domain(text):
        raise ValueError(f'expected {domain_wanted(text)}, got "{shown(text)}"')
    return text.lower()


def _is_address_literal(text: str) -> bool:
    if not (text.startswith("[") and text.endswith("]")):
        return False
    inner = text[1:-1]
    version, address = (6, inner[5:]) if inner.lower().startswith("ipv6:") else (4, inner)
    try:
        return ipaddress.ip_address(address).version == version and "%" not in address
    except ValueError:
        return False


def _password(path: Path | None) -> bytes:
    from trafficgen.engine.password import read_password
    from trafficgen.plan import Auth

    return read_password(Auth("", path)).encode() if path is not None else b""


def _security(given: dict[str, Any]) -> "SinkSecurity | None":
    from trafficgen.sink.config import SinkSecurity

    if given["tls"] and given["starttls"]:
        raise PlanError("expected one of --starttls and --tls", field="security", flag="--tls")
    if not (given["tls"] or given["starttls"]):
        return None
    return SinkSecurity(given["tls"], given["certificate"], given["key"])


def _behaviour(given: dict[str, Any]) -> "Behaviour":
    from trafficgen.sink.config import Behaviour
    from trafficgen.sink.policy.responses import DEFAULT_PROFILE

    responses = given["responses"]
    return Behaviour(
        responses=DEFAULT_PROFILE if responses == "providers" else Path(responses) if responses else None,
        kumo_odds=given["kumo_odds"],
        suffixes=_suffixes(given["domain_suffix"]),
        limits=_limits(given),
        faults=_faults(given),
        seed=given["seed"],
    )


def _limits(given: dict[str, Any]) -> "Limits":
    from trafficgen.sink.policy.limits import Limits, RateLimit

    everyone: RateLimit | None = None
    named: list[tuple[str, RateLimit]] = []
    for text in given["domain_rate"]:
        domain, equals, rate = text.rpartition("=")
        parsed = _parsed(RateLimit.parse, rate, "--domain-rate")
        if equals:
            named.append((_parsed(_domain, domain, "--domain-rate"), parsed))
        else:
            everyone = parsed
    client_rate = given["client_rate"]
    return Limits(
        connections_per_client=given["connections_per_client"],
        client_rate=_parsed(RateLimit.parse, client_rate, "--client-rate") if client_rate else None,
        messages_per_session=given["messages_per_session"],
        recipients_per_message=given["max_recipients"],
        domain_rate=everyone,
        domain_rates=tuple(named),
        max_octets=_octets(given["max_size"]),
    )


def _faults(given: dict[str, Any]) -> "tuple[SinkFault, ...]":
    from trafficgen.sink.policy.fault_kinds import FaultKind
    from trafficgen.sink.policy.faults import parse, tarpit

    faults = [parse(kind, text) for kind in FaultKind for text in given[kind.word]]
    return tuple(faults + (tarpit(given["tarpit"]) if given["tarpit"] else []))


def _bounces(given: dict[str, Any]) -> "BouncePlan | None":
    from trafficgen.sink.bounces.bounces import BouncePlan
    from trafficgen.sink.policy.faults import parse_share

    to, bounce_text, complaint_text = given["bounce_to"], given["bounce_share"], given["complaint_share"]
    if to is None or not (bounce_text or complaint_text):
        if to or bounce_text or complaint_text:
            raise PlanError("expected --bounce-to and a share together", field="bounce_to", flag="--bounce-to")
        return None
    bounce_share, complaint_share = (
        parse_share(text, flag) if text else 0.0
        for text, flag in ((bounce_text, "--bounce-share"), (complaint_text, "--complaint-share"))
    )
    if bounce_share + complaint_share > 1:
        raise PlanError("expected shares of 100 % at most together", field="bounce_share", flag="--bounce-share")
    return BouncePlan(
        parse_service(to, "bounce_to", "--bounce-to"),
        bounce_share,
        complaint_share,
        allow_public_target=given["allow_public_target"],
        allow_real_domains=given["allow_real_domains"],
        suffixes=_suffixes(given["domain_suffix"]),
    )


def _octets(text: str | None) -> int | None:
    return _parsed(_size, text, "--max-size") if text else None


_T = TypeVar("_T")


def _parsed(parse: Callable[[str], _T], text: str, flag: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise PlanError(str(error), field=flag[2:].replace("-", "_"), flag=flag) from error
