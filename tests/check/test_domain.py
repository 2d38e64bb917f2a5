"""What the DNS says of a domain: both verdicts of every case, from a name server of our own."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.check.lab import services
from tests.check.name_server import Zone, name_server
from tests.check.scripted import SMTP, serving
from tests.peers.certificates import Certificate, make_certificate
from tests.peers.ports import free_ports
from trafficgen.check import transport_policy
from trafficgen.check.sender_policy import read_policy
from trafficgen.check.transport_policy import PolicyRefused, parse_policy
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.host.lookups import Lookups

POLICY: Final = "version: STSv1\r\nmode: enforce\r\nmx: *.lab.test\r\nmax_age: 86400\r\n"

RIGHT: Final[dict[tuple[str, str], str | list[str]]] = {
    ("1.0.0.127.in-addr.arpa", "PTR"): "mail.lab.test.",
    ("mail.lab.test", "A"): "127.0.0.1",
    ("lab.test", "MX"): ["20 mail.lab.test.", "10 mail.lab.test."],
    ("lab.test", "TXT"): ['"google-site-verification=x"', '"v=spf1 mx include:_spf.lab.test" " -all"'],
    ("_spf.lab.test", "TXT"): '"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all"',
    ("_dmarc.lab.test", "TXT"): '"v=DMARC1; p=reject; rua=mailto:dmarc@lab.test"',
    ("_mta-sts.lab.test", "TXT"): '"v=STSv1; id=20261127T000000;"',
    ("mta-sts.lab.test", "A"): "127.0.0.1",
    ("_smtp._tls.lab.test", "TXT"): '"v=TLSRPTv1; rua=mailto:tls@lab.test,https://lab.test/tls"',
}

WRONG: Final[list[tuple[str, Zone, str, str]]] = [
    ("dns.ptr", {("1.0.0.127.in-addr.arpa", "PTR"): []}, "fail", "127.0.0.1 has no name"),
    ("dns.ptr", {("mail.lab.test", "A"): "192.0.2.1"}, "fail", "does not lead back"),
    ("dns.host", {("mail.lab.test", "A"): []}, "fail", "greets as mail.lab.test, which has no address"),
    ("dns.host", {("mail.lab.test", "A"): "192.0.2.1"}, "warn", "at 192.0.2.1 and not at 127.0.0.1"),
    ("dns.mx", {("lab.test", "MX"): []}, "fail", "neither MX nor an address"),
    ("dns.mx", {("lab.test", "MX"): [], ("lab.test", "A"): "127.0.0.1"}, "warn", "no MX"),
    ("dns.mx", {("lab.test", "MX"): "0 ."}, "fail", "takes no mail"),
    ("dns.mx", {("lab.test", "MX"): "10 127.0.0.1."}, "fail", "is an address, not a name"),
    ("dns.mx", {("lab.test", "MX"): "10 gone.lab.test."}, "fail", "gone.lab.test has no address"),
    ("dns.mx", {("mail.lab.test", "CNAME"): "other.lab.test."}, "fail", "is an alias"),
    ("dns.mx", {("mail.lab.test", "A"): "192.0.2.1"}, "warn", "none of them is this server"),
    ("dns.mx", {("lab.test", "MX"): "SERVFAIL"}, "inconclusive", "MX of lab.test"),
    ("dns.spf", {("lab.test", "TXT"): []}, "fail", "no record"),
    ("dns.spf", {("lab.test", "TXT"): ['"v=spf1 -all"', '"v=spf1 mx"']}, "fail", "2 records"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 +all"'}, "fail", "everybody may send"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 mx ?all"'}, "warn", "nothing is said of others"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 mx"'}, "warn", "nothing is said of others"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 ptr -all"'}, "warn", "ptr is slow"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 include:none.lab.test -all"'}, "fail", "has no record"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 include:lab.test -all"'}, "fail", "more than 10 lookups"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 a:x.test a:y.test a:z.test -all"'}, "fail", "3 lookups without"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 ip4:300.0.0.1 -all"'}, "fail", "is no network"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 what? -all"'}, "fail", "is no term"),
    ("dns.spf", {("lab.test", "TXT"): '"v=spf1 redirect=_spf.lab.test"'}, "warn", "1 lookups; nothing is said"),
    ("dns.dmarc", {("_dmarc.lab.test", "TXT"): []}, "fail", "no record"),
    ("dns.dmarc", {("_dmarc.lab.test", "TXT"): '"v=DMARC1; p=none; rua=mailto:x@lab.test"'}, "warn", "p=none"),
    ("dns.dmarc", {("_dmarc.lab.test", "TXT"): '"v=DMARC1; rua=mailto:x@lab.test"'}, "fail", "no policy"),
    ("dns.dmarc", {("_dmarc.lab.test", "TXT"): '"v=DMARC1; p=reject"'}, "warn", "nobody is told"),
    ("dns.dmarc", {("_dmarc.lab.test", "TXT"): '"v=DMARC1; p=reject; pct=10; rua=mailto:x@y"'}, "warn", "for 10%"),
    ("dns.mta-sts", {("_mta-sts.lab.test", "TXT"): []}, "warn", "no record"),
    ("dns.mta-sts", {("_mta-sts.lab.test", "TXT"): '"v=STSv1;"'}, "fail", "no id"),
    ("dns.mta-sts", {("mta-sts.lab.test", "A"): []}, "fail", "mta-sts.lab.test has no address"),
    ("dns.mta-sts", {("mta-sts.lab.test", "A"): "8.8.8.8"}, "inconclusive", "--allow-public-target"),
    ("dns.mta-sts", {("lab.test", "MX"): "10 mail.other.test."}, "fail", "does not name mail.other.test"),
    ("dns.tls-rpt", {("_smtp._tls.lab.test", "TXT"): []}, "warn", "no record"),
    ("dns.tls-rpt", {("_smtp._tls.lab.test", "TXT"): '"v=TLSRPTv1; rua=me"'}, "fail", "no address to report to"),
    ("dns.tlsa", {("_25._tcp.mail.lab.test", "TLSA"): f"3 1 1 {'00' * 32}"}, "fail", "has not verified"),
]
"""Case, what the zone has in place of the right records, outcome and words."""


def found_by(capsys: pytest.CaptureFixture[str], port: int, zone: Zone, *more: str, verified: bool = False) -> Any:
    """Findings by id."""
    capsys.readouterr()
    with name_server(zone, verified=verified) as names:
        call(
            ["check", "127.0.0.1", *services({"smtp": port}), "--name", "mail.lab.test", "--dns", "lab.test",
             "--resolver", f"127.0.0.1:{names}", "--format", "json", "--timeout", "5s", *more]
        )  # fmt: skip
    out, err = capsys.readouterr()
    assert not err
    return {one["id"]: one for one in json.loads(out)["findings"]}


class _Policy(BaseHTTPRequestHandler):
    answer = (200, POLICY)

    def do_GET(self) -> None:
        status, text = self.answer
        self.send_response(status if self.path == transport_policy.PATH else 404)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing to stderr."""


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Serve the policy of lab.test over HTTPS; the file of the certificate to trust."""
    made = make_certificate(tmp_path, host="mta-sts.lab.test")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Policy)
    server.socket = made.server_context().wrap_socket(server.socket, server_side=True)
    monkeypatch.setattr(transport_policy, "HTTPS_PORT", server.server_address[1])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield str(made.certificate)
    server.shutdown()
    server.server_close()
    thread.join(20)


def key_record(public: Any, kind: str) -> str:
    """As a zone file has it, in strings of 200 octets."""
    form = (Encoding.Raw, PublicFormat.Raw) if kind == "ed25519" else (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = f"v=DKIM1; k={kind}; p={base64.b64encode(public.public_bytes(*form)).decode()}"
    return " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))


def test_a_domain_that_is_set_up_right(authority: str, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {
        ("old._domainkey.lab.test", "TXT"): key_record(rsa.generate_private_key(65537, 2048).public_key(), "rsa"),
        ("new._domainkey.lab.test", "TXT"): key_record(ed25519.Ed25519PrivateKey.generate().public_key(), "ed25519"),
    }
    selectors = ("--dkim-selector", "old", "--dkim-selector", "new", "--tls-ca", authority, "--only", "dns.*")
    with serving(SMTP) as port:
        found = found_by(capsys, port, {**RIGHT, **keys}, *selectors)
    outcomes = {case: one["outcome"] for case, one in found.items()}
    assert outcomes == {
        "dns.ptr": "pass", "dns.host": "pass", "dns.tlsa": "skipped", "dns.mx": "pass", "dns.spf": "pass",
        "dns.dkim": "pass", "dns.dmarc": "pass", "dns.mta-sts": "pass", "dns.tls-rpt": "pass",
    }, found  # fmt: skip
    assert found["dns.dkim"]["found"] == "old: RSA 2048; new: Ed25519"
    assert found["dns.spf"]["found"].endswith("2 lookups")
    assert (found["dns.spf"]["service"], found["dns.ptr"]["service"]) == ("lab.test", "127.0.0.1")


@pytest.mark.parametrize(("case", "changed", "outcome", "words"), WRONG)
def test_a_domain_that_is_set_up_wrong(
    case: str, changed: Zone, outcome: str, words: str, authority: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(SMTP) as port:
        found = found_by(capsys, port, {**RIGHT, **changed}, "--only", case, "--tls-ca", authority)
    assert (found[case]["outcome"], words in found[case]["found"]) == (outcome, True), found[case]


def test_keys_that_nobody_should_trust(capsys: pytest.CaptureFixture[str]) -> None:
    revoked, nothing = '"v=DKIM1; p="', '"v=DKIM1; p=AAAA"'
    weak = base64.b64encode(
        rsa.generate_private_key(65537, 1024).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    for text, outcome, words in (
        (revoked, "fail", "revoked"), (nothing, "fail", "no key"), (f'"p={weak}"', "warn", "RSA 1024"),
        ('"v=DKIM9; p=AAAA"', "fail", "version DKIM9"), ('"v=DKIM1; k=ed25519; p=AAAA"', "fail", "3 octets"),
    ):  # fmt: skip
        zone = {**RIGHT, ("s._domainkey.lab.test", "TXT"): text}
        with serving(SMTP) as port:
            found = found_by(capsys, port, zone, "--only", "dns.dkim", "--dkim-selector", "s")["dns.dkim"]
        assert (found["outcome"], words in found["found"]) == (outcome, True), found


def test_a_policy_is_inherited(capsys: pytest.CaptureFixture[str]) -> None:
    above = {
        ("_dmarc.test", "TXT"): '"v=DMARC1; p=reject"',
        ("_dmarc.lab.test", "TXT"): '"v=DMARC1; p=none; sp=reject"',
    }
    with serving(SMTP) as port:
        zone = {**RIGHT, **above}
        found = found_by(capsys, port, zone, "--only", "dns.dmarc", "--dns", "sub.lab.test")
    assert (found["dns.dmarc"]["service"], found["dns.dmarc"]["outcome"]) == ("sub.lab.test", "warn")
    assert "nobody is told" in found["dns.dmarc"]["found"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, ""), "status 404"),
        ((200, "x" * 70_000), "larger than 65536"),
        ((200, POLICY.replace("enforce", "enforced")), 'mode "enforced"'),
        ((200, POLICY.replace("86400", "soon")), "max_age"),
        ((200, POLICY.replace("mx: *.lab.test\r\n", "")), "names no mx"),
        ((200, ""), "in place of STSv1"),
    ],
)
def test_a_policy_that_no_sender_takes(
    answer: tuple[int, str], words: str, authority: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(_Policy, "answer", answer)
    with serving(SMTP) as port:
        found = found_by(capsys, port, RIGHT, "--only", "dns.mta-sts", "--tls-ca", authority)["dns.mta-sts"]
    assert (found["outcome"], words in found["found"]) == ("fail", True), found


def test_a_policy_host_with_a_certificate_of_nobody(authority: str, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(SMTP) as port:
        found = found_by(capsys, port, RIGHT, "--only", "dns.mta-sts")["dns.mta-sts"]
    assert (found["outcome"], "certificate" in found["found"]) == ("fail", True), found


@pytest.mark.parametrize(("selector", "good"), [(0, True), (1, True), (0, False)])
def test_the_certificate_is_held_to_its_tlsa_records(
    selector: int, good: bool, certificate: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    der = leaf.public_bytes(Encoding.DER)
    if selector:
        der = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(der if good else b"").hexdigest()
    zone = {**RIGHT, ("_25._tcp.mail.lab.test", "TLSA"): f"3 {selector} 1 {digest}"}
    with serving(SMTP, certificate.server_context()) as port:
        found = found_by(capsys, port, zone, "--only", "dns.tlsa", verified=True)["dns.tlsa"]
    assert found["outcome"] == ("pass" if good else "fail"), found


def test_a_resolver_that_is_not_there_leaves_all_of_it_open(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    with serving(SMTP) as port:
        code = call(
            ["check", "127.0.0.1", *services({"smtp": port}), "--dns", "lab.test", "--only", "dns.*", "--timeout",
             "0.2s", "--resolver", f"127.0.0.1:{free_ports(1)[0]}", "--format", "json"]
        )  # fmt: skip
    found = {one["id"]: one["outcome"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert code is ExitCode.INCONCLUSIVE
    assert found.pop("dns.dkim") == "skipped"
    assert set(found.values()) == {"inconclusive"}


@pytest.mark.parametrize(
    "options",
    [
        ["--dkim-selector", "x"], ["--resolver", "127.0.0.1"], ["--dns", "a b"], ["--dns", "x", "--resolver", "names"],
        ["--dns", "x", "--resolver", "unix:/x"], ["--dns", "x", "--dkim-selector", "a/b"],
    ],
)  # fmt: skip
def test_mistakes(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check", "127.0.0.1", *options]) is ExitCode.USAGE
    assert "--dns" in (err := capsys.readouterr().err) or "--resolver" in err


@given(
    st.lists(
        st.sampled_from(
            ["a", "mx:x.test", "include:l.test", "ip4:1.2.3.4", "?all", "exists:%{i}.x", "~", "redirect=l.test"]
        )
    )
)
def test_any_record_of_spf_is_read_within_its_limits(terms: list[str]) -> None:
    class Canned(Lookups):
        def __init__(self) -> None:
            self.asked = 0

        def texts(self, name: str, begin: str) -> list[str]:
            return [" ".join(["v=spf1", *terms])]

        def records(self, name: str, kind: str) -> list[Any]:
            self.asked += 1
            return []

    canned = Canned()
    policy = read_policy("l.test", canned)
    assert policy.lookups <= 11
    assert (policy.lookups > 10) <= any("more than 10" in problem for problem in policy.problems)
    assert canned.asked <= 2 * 10


@given(st.text(alphabet="versionmdax_g: STS1enforc*.\r\n0123456789", max_size=200))
def test_any_policy_is_read_or_refused(text: str) -> None:
    try:
        policy = parse_policy(text)
    except PolicyRefused:
        pass
    else:
        assert policy.mode in ("enforce", "testing", "none")
        assert not policy.covers("") or "" in policy.names or "*." in policy.names
