"""A mail server for checks to look at: a private Postfix and a private Dovecot, set up right or wrong.

Postfix takes mail for lab.test and hands it to Dovecot by LMTP, asks Dovecot for logins, and relays other mail of users
to one port of the test's. Everything is on free loopback ports under a temporary folder, and is stopped at the end.
"""

import datetime
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.conftest import program
from tests.peers.dovecot_config import in_its_words
from tests.peers.ports import free_ports
from tests.peers.postfix import Postfix, private_postfix

_NAMES: Final = ("submission", "smtps", "imap", "imaps", "pop3", "pop3s")
NAME: Final = "mail.lab.test"
USER, PASSWORD = "ann@lab.test", "a word that nobody knows"

_DOVECOT: Final = """\
base_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1, 127.0.0.2
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_min_protocol = {least_tls}
disable_plaintext_auth = {no_plain}
login_trusted_networks =
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
first_valid_uid = 1
mail_location = maildir:{folder}/mail/%u
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u
}}
haproxy_trusted_networks = 127.0.0.0/8
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imap_proxied {{
    port = {imap_proxied}
    haproxy = yes
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3_proxied {{
    port = {pop3_proxied}
    haproxy = yes
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service lmtp {{
  unix_listener {folder}/queue-lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener {folder}/queue-auth {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""

_POSTFIX: Final = """\
myhostname = {name}
virtual_mailbox_domains = lab.test
virtual_mailbox_maps = inline:{{ ann@lab.test=x postmaster@lab.test=x }}
virtual_alias_maps = inline:{{ postmaster=ann@lab.test postmaster@mail.lab.test=ann@lab.test }}
virtual_transport = lmtp:unix:{folder}/queue-lmtp
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/queue-auth
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_protocols = {tls_protocols}
smtpd_tls_mandatory_protocols = {tls_protocols}
smtpd_tls_security_level = may
smtpd_tls_exclude_ciphers = aNULL, kRSA, 3DES, RC4
message_size_limit = 1000000
smtpd_soft_error_limit = 100
{settings}
"""

_SERVICES: Final = """\
127.0.0.1:{submission} inet n - n - - smtpd
  -o syslog_name=postfix/submission -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_security_level={submission_tls} -o smtpd_tls_auth_only={auth_only}
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,{or_else}
  -o smtpd_relay_restrictions=permit_sasl_authenticated,{or_else}
tlsmgr unix - - n 1000? 1 tlsmgr
127.0.0.1:{smtps} inet n - n - - smtpd
  -o syslog_name=postfix/smtps -o smtpd_sasl_auth_enable=yes -o smtpd_tls_wrappermode=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
"""

_RIGHT: Final = """\
mynetworks =
disable_vrfy_command = yes
smtpd_banner = $myhostname ESMTP
smtpd_forbid_bare_newline = normalize
smtpd_forbid_unauth_pipelining = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
"""

_WRONG: Final = """\
smtpd_banner = $myhostname ESMTP $mail_name 3.7.11
smtpd_forbid_bare_newline = no
smtpd_forbid_unauth_pipelining = no
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_hard_error_limit = 1000
virtual_mailbox_maps =
smtpd_tls_exclude_ciphers =
"""


@dataclass(frozen=True)
class Lab:
    """What a check is told. `ports` of services; `proxied`: where they want to hear PROXY first."""

    postfix: Postfix
    ports: dict[str, int]
    proxied: dict[str, int]
    authority: Path
    password_file: Path

    @property
    def account(self) -> list[str]:
        return ["--login-user", USER, "--password-file", str(self.password_file)]


@contextmanager
def lab(outside_port: int, *, right: bool, mechanisms: str = "plain login") -> Iterator[Lab]:
    """A server set up right, or with everything wrong that can be. `mechanisms` of AUTH, as Dovecot names them."""
    dovecot = program("dovecot", "dovecot-imapd")
    folder = Path(tempfile.mkdtemp(prefix="traffic-gen-lab-"))
    folder.chmod(0o755)
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", "nobody")
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    (folder / "password").write_text(f"{PASSWORD}\n")
    authority, certificate, key = _certificates(folder, right=right)
    ports = dict(zip((*_NAMES, "imap_proxied", "pop3_proxied"), free_ports(8), strict=True))
    (folder / "dovecot.conf").write_text(
        in_its_words(_DOVECOT.format(
            folder=folder, certificate=certificate, key=key, least_tls="TLSv1.2" if right else "TLSv1",
            no_plain="yes" if right else "no", mechanisms=mechanisms, **ports,
        ))
    )  # fmt: skip
    if not right:
        with (folder / "dovecot.conf").open("a") as more:
            more.write("ssl_cipher_list = ALL:@SECLEVEL=0\n")
    # In the foreground: a daemon would keep pipes of ours open.
    running = subprocess.Popen([dovecot, "-F", "-c", str(folder / "dovecot.conf")])
    try:
        for name in ("imap", "pop3"):
            _wait_for(ports[name])
        main = _POSTFIX.format(
            name=NAME, folder=folder, certificate=certificate, key=key,
            tls_protocols=">=TLSv1.2" if right else ">=TLSv1", settings=_RIGHT if right else _WRONG,
        )  # fmt: skip
        services = _SERVICES.format(
            submission_tls="encrypt" if right else "may", auth_only="yes" if right else "no",
            or_else="reject" if right else "permit_mynetworks,reject_unauth_destination", **ports,
        )  # fmt: skip
        with private_postfix(outside_port, main, services) as postfix:
            named = {"smtp": postfix.port, **{name: ports[name] for name in _NAMES}}
            proxied = {name: ports[f"{name}_proxied"] for name in ("imap", "pop3")}
            yield Lab(postfix, named, proxied, authority, folder / "password")
    finally:
        running.terminate()
        running.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def services(ports: dict[str, int]) -> list[str]:
    """The options that name them."""
    return [word for name, port in ports.items() for word in ("--service", f"{name}={port}")]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
        else:
            return


def _certificates(folder: Path, *, right: bool) -> tuple[Path, Path, Path]:
    """An authority, a certificate and its key. The wrong one signs itself, is for another name, and over."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab authority")])
    name = NAME if right else "elsewhere.test"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day = datetime.timedelta(days=1)

    def signed(subject: x509.Name, public: rsa.RSAPublicKey, until: datetime.datetime, *, ca: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * day)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )

    ca = signed(ca_name, ca_key.public_key(), now + 365 * day, ca=True)
    leaf = signed(subject, key.public_key(), now + (365 * day if right else -day), ca=False)
    files = folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files[2].chmod(0o600)
    return files
