"""The client's side of a TLS handshake.

Takes     the session plan
Gives     a context for all handshakes of a worker, which may offer an earlier session again; a reason in a few words
          for a handshake that failed
Fails     PlanError that names the field: a file that cannot be used, a cipher list that names nothing
Not here  when TLS begins (greeting)
"""

import ssl
import warnings
from typing import Any, Final

from mboxgen.enums import table_of
from trafficgen.errors import PlanError
from trafficgen.host.certificate_files import load_chain, reason
from trafficgen.plan import SessionPlan, TlsVersion

_VERSIONS: Final = table_of(TlsVersion, {
    TlsVersion.TLS_1_0: ssl.TLSVersion.TLSv1,
    TlsVersion.TLS_1_1: ssl.TLSVersion.TLSv1_1,
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
})  # fmt: skip

_CERTIFICATE: Final = {
    9: "certificate not yet valid", 10: "certificate expired", 18: "certificate self-signed",
    62: "certificate for another name", 64: "certificate for another name",
}  # fmt: skip
"""Results of verifying, X509_V_ERR_… of OpenSSL (x509_vfy.h), that deserve a name of their own."""


class ClientContext(ssl.SSLContext):
    """A context that remembers the last session of a server and offers it again (RFC 8446 2.2, RFC 5077).

    Event loops make the TLS object themselves, and none of them can be told which session to offer.
    """

    resume = False
    _last: ssl.SSLSession | None = None
    _waiting: ssl.SSLObject | None = None

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        if self._waiting is not None:
            self.remember(self._waiting)
        return super().wrap_bio(*given, **{**named, "session": self._last})

    def remember(self, protected: ssl.SSLObject) -> None:
        """Keep the session for the handshakes to come. With TLS 1.3 its ticket comes with the first octets received:
        where that is later, it is looked for before the next handshake."""
        if not self.resume:
            return
        # Up to TLS 1.2 a ticket is good again and again (RFC 5077); 1.3 wants a new one each time (RFC 8446 C.4).
        # Reading one takes 149 µs, a resumed handshake 108 (medians of 300, 2026-11-27, 2-core AMD EPYC machine).
        if self._last is not None and protected.session_reused and protected.version() != "TLSv1.3":
            return
        session = protected.session
        if session is not None and session.has_ticket:
            self._last, self._waiting = session, None
        else:
            self._waiting = protected


def client_context(plan: SessionPlan) -> ClientContext:
    """The context of all sessions. Raises PlanError."""
    options = plan.tls
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.resume = options.resume
    if not plan.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.authority is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(options.authority)
        except OSError as error:
            raise _unusable("certificates of authorities in", str(options.authority), error, "--tls-ca") from error
    if options.certificate is not None:
        try:
            load_chain(context, options.certificate, options.key)
        except (OSError, ValueError) as error:
            raise _unusable("client certificate", str(options.certificate), error, "--tls-cert") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 1.0 and 1.1, which whoever asks for knows
        if options.least is not None:
            context.minimum_version = _VERSIONS[options.least]
        if options.most is not None:
            context.maximum_version = _VERSIONS[options.most]
    if options.ciphers:
        try:
            context.set_ciphers(options.ciphers)
        except (ssl.SSLError, ValueError) as error:
            text = f"expected an OpenSSL cipher list, such as ECDHE+AESGCM, got {ascii(options.ciphers)[:80]}"
            raise PlanError(text, field="tls", flag="--tls-ciphers") from error
    return context


def why_failed(error: ssl.SSLError) -> tuple[str, str]:
    """What happened in a few words, and OpenSSL's own."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(error.verify_code, "certificate not trusted"), error.verify_message
    return "TLS handshake failed", str(error.reason or error)


def _unusable(what: str, path: str, error: Exception, flag: str) -> PlanError:
    return PlanError(f'cannot use the {what} "{path}": {reason(error)}', field="tls", flag=flag)
