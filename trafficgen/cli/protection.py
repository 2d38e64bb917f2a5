"""Options of `send` that say how sessions are protected and who logs in.

Takes     the options as they were typed, the plan of a session without them, and the targets
Gives     the plan of a session with them; a notice where no certificate is verified
Refuses   options that do not go together, with a `PlanError` that names one of them
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trafficgen.errors import PlanError
from trafficgen.plan import Auth, AuthUsers, Dialect, Mechanism, Security, SessionPlan, Target, TcpTarget, TlsOptions
from trafficgen.plan.tls import TlsVersion

if TYPE_CHECKING:
    from trafficgen.cli.options import SendOptions

_UNVERIFIED: Final = "certificates are not verified, as the server is on this machine; --tls-ca FILE verifies them"


def protected(
    options: "SendOptions", session: SessionPlan, targets: Sequence[Target], notices: list[str]
) -> SessionPlan:
    """`session` with how it is protected."""
    security = session.security
    if any(target.dialect is Dialect.HTTPS for target in targets) and security is Security.PLAIN:
        security = Security.TLS
    tls = _tls(options)
    if security is Security.PLAIN and (options.insecure or tls != TlsOptions()):
        given = next(flag for flag, value in _flags(options) if value)
        text = "expected a session with a certificate to accept: add --starttls or --tls"
        raise PlanError(text, field="security", flag=given)
    if options.insecure and tls.authority:
        raise PlanError("expected one of --tls-ca and --insecure", field="security", flag="--insecure")
    verify = not options.insecure
    if security is not Security.PLAIN and verify and tls.authority is None and _on_this_machine(options, targets):
        verify = False
        notices.append(_UNVERIFIED)
    return replace(session, security=security, verify_certificate=verify, tls=tls, auth=_auth(options))


def _on_this_machine(options: "SendOptions", targets: Sequence[Target]) -> bool:
    """Whether all servers surely are; where MX records lead is not known yet."""
    return not options.mx and all(map(_is_loopback, targets))


def asked(options: "SendOptions") -> Security:
    """How sessions are to be protected, where not by their target."""
    asked = (
        (Security.STARTTLS, options.starttls),
        (Security.STARTTLS_IF_OFFERED, options.starttls_if_offered),
        (Security.TLS, options.tls),
    )
    chosen = [security for security, given in asked if given]
    if len(chosen) > 1:
        text = "expected one of --starttls (TLS after EHLO), --starttls-if-offered and --tls (TLS from the first octet)"
        raise PlanError(text, field="security", flag="--tls" if options.tls else "--starttls")
    return chosen[0] if chosen else Security.PLAIN


def _flags(options: "SendOptions") -> list[tuple[str, object]]:
    return [
        ("--insecure", options.insecure), ("--tls-share", options.tls_share), ("--tls-ca", options.tls_ca),
        ("--tls-cert", options.tls_cert), ("--tls-key", options.tls_key), ("--sni", options.sni),
        ("--tls-min", options.tls_min), ("--tls-max", options.tls_max), ("--tls-ciphers", options.tls_ciphers),
        ("--tls-resume", options.tls_resume),
    ]  # fmt: skip


def _tls(options: "SendOptions") -> TlsOptions:
    return TlsOptions(
        share=1.0 if options.tls_share is None else _share(options.tls_share),
        authority=_file(options.tls_ca, "--tls-ca"),
        certificate=_file(options.tls_cert, "--tls-cert"),
        key=_file(options.tls_key, "--tls-key"),
        server_name=options.sni or "",
        least=TlsVersion(options.tls_min) if options.tls_min else None,
        most=TlsVersion(options.tls_max) if options.tls_max else None,
        ciphers=options.tls_ciphers or "",
        resume=options.tls_resume,
    )


def _share(text: str) -> float:
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if rest or not 0 < share <= 1:
        text = f"expected a share of sessions, such as 60% or 0.6, got {ascii(text)[:80]}"
        raise PlanError(text, field="tls", flag="--tls-share")
    return share


def _auth(options: "SendOptions") -> Auth | AuthUsers | None:
    mechanism = Mechanism(options.auth_mechanism) if options.auth_mechanism else None
    if (options.auth_user is None) != (options.auth_password_file is None):
        missing = "--auth-password-file" if options.auth_password_file is None else "--auth-user"
        text = f"expected a user and a password file together: add {missing}"
        raise PlanError(text, field="auth", flag="--auth-user")
    users, password = (
        _file(options.auth_users, "--auth-users"),
        _file(options.auth_password_file, "--auth-password-file"),
    )
    if users is not None:
        if options.auth_user is not None:
            raise PlanError("expected one of --auth-user and --auth-users", field="auth", flag="--auth-users")
        return AuthUsers(users, mechanism)
    if options.auth_user is None or password is None:
        if mechanism is not None:
            text = "expected somebody who logs in: add --auth-user or --auth-users"
            raise PlanError(text, field="auth", flag="--auth-mechanism")
        return None
    if not options.auth_user or not options.auth_user.isprintable():
        raise PlanError("expected a user name without control characters", field="auth", flag="--auth-user")
    return Auth(options.auth_user, password, mechanism)


def _file(text: str | None, flag: str) -> Path | None:
    if text is None:
        return None
    if not text or any(c in text for c in "\r\n\0"):
        raise PlanError("expected the path of a file", field="tls", flag=flag)
    return Path(text)


def _is_loopback(target: Target) -> bool:
    """Whether a server is on this machine by the way it is written; no name is looked up."""
    if not isinstance(target, TcpTarget):
        return True
    try:
        return ipaddress.ip_address(target.host).is_loopback
    except ValueError:
        return target.host.lower().rstrip(".") == "localhost"
