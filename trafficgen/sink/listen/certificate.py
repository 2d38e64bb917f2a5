"""A certificate for the sink: the user's, or one made on the spot.

Takes     files of a certificate chain and its key, or nothing
Gives     a TLS context for a server
Limits    a certificate of our own is valid for a week and for this sink's name, localhost and the loopback addresses
Fails     with SetupError when the files are wrong
Not here  when TLS begins (link)
"""

import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path
from typing import Final

from trafficgen.errors import SetupError
from trafficgen.host.certificate_files import load_chain, reason
from trafficgen.protocol.smtp.capabilities import NAME

_VALID: Final = datetime.timedelta(days=7)
_MAX_COMMON_NAME: Final = 64  # RFC 5280, appendix A.1


def context_from(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """From files in PEM; the key may be in the same file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_chain(context, certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SetupError(f'cannot use the certificate "{certificate}": {reason(error)}') from error
    return context


def context_made_here(name: bytes = NAME) -> ssl.SSLContext:
    """Self-signed, for a sink of this name, and not seen before. Its key never outlives this call on the disk."""
    return self_signed(name)[0]


def self_signed(name: bytes = NAME) -> tuple[ssl.SSLContext, str]:
    """The same, and the certificate in PEM, for clients that are to trust it."""
    certificate, key = _make(name.decode("ascii"))
    with tempfile.TemporaryDirectory() as folder:  # load_cert_chain reads files only
        chain = Path(folder) / "sink.pem"
        chain.touch(0o600)
        chain.write_bytes(certificate + key)
        return context_from(chain, None), certificate.decode("ascii")


def _make(own_name: str) -> tuple[bytes, bytes]:
    # Imported here: nobody who does without TLS should wait for it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, own_name[:_MAX_COMMON_NAME])])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [
            *([] if own_name.startswith("[") else [x509.DNSName(own_name)]),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _VALID)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        # Clients that hold certificates to RFC 5280 word by word, as Python 3.13 does, want both of an issuer.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
