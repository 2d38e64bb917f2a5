"""Certificates and keys from files in PEM, for either side of TLS.

Takes     a context and the files
Gives     the context with the certificate, never asking the terminal for a passphrase
Fails     OSError or ValueError; `reason` says in a few words what to do about it
"""

import ssl
from pathlib import Path


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Show this certificate; the key may be in the same file."""
    context.load_cert_chain(certificate, key, password=_no_passphrase)


def reason(error: Exception) -> str:
    """Why files cannot be used; OpenSSL's own words name a line of its source."""
    if isinstance(error, ssl.SSLError):
        return f"expected PEM, with a key that belongs to it ({error.reason or 'no certificate in it'})"
    return getattr(error, "strerror", None) or str(error)


def _no_passphrase() -> str:
    raise ValueError("its key has a passphrase; write one without: openssl pkey -in KEY -out PLAIN")
