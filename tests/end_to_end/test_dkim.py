"""Signed mail, verified from what a server got: by OpenDKIM; what is signed with Ed25519 by dkimpy and cryptography."""

import email
import re
from pathlib import Path
from typing import Any

import dkim
import pytest

import trafficgen
from tests.peers.asgi_injector import asgi_injector
from tests.peers.dkim_verifier import ed25519_holds, make_ed25519_key, make_key, verdicts
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import collecting_sink
from tests.peers.running import Counts, counts, plan_for
from tests.sink.sink_process import sink_process
from trafficgen import BodyFile, DkimKey, PlanError, SizedBodies, TcpTarget, WeightedDomain, parse_target
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.plan import Header, WeightedAddress
from trafficgen.proof.waiting import DeliveryWait

DOMAINS = {"domains": (WeightedDomain("signed.com"), WeightedDomain("plain.com")), "senders": 6}
SUFFIX = "traffic-gen.test"


def senders(message: bytes) -> str:
    parsed = email.message_from_bytes(message)
    return str(parsed["From"]).partition("@")[2].rstrip(">")


@pytest.mark.parametrize("session", [{}, {"chunks": 4}], ids=["DATA", "BDAT"])
def test_mail_of_a_keys_senders_is_signed_and_other_mail_is_not(tmp_path: Path, session: dict[str, Any]) -> None:
    record = make_key(tmp_path / "key.pem")
    keys = (DkimKey(f"signed.com.{SUFFIX}", "s1", tmp_path / "key.pem"),)
    with collecting_sink() as (port, messages):
        results = trafficgen.run(
            plan_for(
                port, messages=40, body="3kb", sessions=2, session=session, workload={**DOMAINS, "dkim_keys": keys}
            )
        )
    assert counts(results) == Counts(accepted=40)
    found = verdicts(tmp_path, messages, {f"s1._domainkey.signed.com.{SUFFIX}": record})
    expected = {f"signed.com.{SUFFIX}": f"s1 of signed.com.{SUFFIX}", f"plain.com.{SUFFIX}": "unsigned"}
    assert found == [expected[senders(message)] for message in messages]
    assert len(set(found)) == 2
    for name in ("Message-ID", "To"):
        assert len({email.message_from_bytes(message)[name] for message in messages}) == 40
    bodies = [message.partition(b"\r\n\r\n")[2] for message in messages]
    assert {len(body) for body in bodies} == {3_000}


def test_rsa_and_ed25519_sign_the_same_message_and_both_hold(tmp_path: Path) -> None:
    record = make_key(tmp_path / "rsa.pem")
    public = make_ed25519_key(tmp_path / "ed25519.pem")
    records = {f"r._domainkey.{SUFFIX}": record, f"e._domainkey.{SUFFIX}": f"v=DKIM1; k=ed25519; p={public}"}
    keys = (DkimKey(SUFFIX, "r", tmp_path / "rsa.pem"), DkimKey(SUFFIX, "e", tmp_path / "ed25519.pem"))
    with collecting_sink() as (port, messages):
        results = trafficgen.run(plan_for(port, messages=10, workload={"dkim_keys": keys, "senders": 2}))
    assert counts(results) == Counts(accepted=10)

    def answer(name: bytes, timeout: float = 0) -> bytes:
        return records[name.decode().rstrip(".")].encode()

    for message in messages:
        algorithms = re.findall(rb"DKIM-Signature: v=1; a=([a-z0-9-]+);", message)
        assert algorithms == [b"rsa-sha256", b"ed25519-sha256"]
        verifiers = [dkim.DKIM(message), dkim.DKIM(message)]
        assert [one.verify(idx=at, dnsfunc=answer) for at, one in enumerate(verifiers)] == [True, True]
        assert ed25519_holds(message, public)
        changed = message.replace(b"\r\nSubject: ", b"\r\nSubject: Re: ")
        assert not ed25519_holds(changed, public)
        assert not ed25519_holds(message + b"more\r\n", public)
    # OpenDKIM looks at the first signature that it knows.
    assert verdicts(tmp_path, messages, records) == [f"r of {SUFFIX}"] * 10


def test_a_message_that_was_changed_fails(tmp_path: Path) -> None:
    record = make_key(tmp_path / "key.pem")
    workload = {"dkim_keys": (DkimKey(SUFFIX, "s1", tmp_path / "key.pem"),), "senders": 3}
    with collecting_sink() as (port, messages):
        trafficgen.run(plan_for(port, messages=1, workload=workload))
    (message,) = messages
    subject = message.replace(b"\r\nSubject: ", b"\r\nSubject: Re: ")
    found = verdicts(tmp_path, [message, subject, message + b"more\r\n"], {f"s1._domainkey.{SUFFIX}": record})
    assert found[0] == f"s1 of {SUFFIX}"
    assert found[1].startswith("failed: signature verification failed")
    assert found[2].startswith("failed: ")


def test_signatures_hold_after_postfix_has_relayed_the_mail_and_the_trace_header_too(tmp_path: Path) -> None:
    record = make_key(tmp_path / "key.pem")
    capture = tmp_path / "captured"
    workload = {
        "dkim_keys": (DkimKey("lab.test", "2026.a", tmp_path / "key.pem"),),
        "from_addresses": (WeightedAddress("ann@lab.test"), WeightedAddress("bob@news.lab.test")),
        "headers": (Header("Subject", (("one", 1.0), ("two of them", 1.0))), Header("X-Tenant", (("a", 1.0),))),
        "content": SizedBodies(("2kb", "9kb")),
    }
    with (
        sink_process("127.0.0.1:0", "--capture", f"files:{capture}", "--api", "127.0.0.1:0") as sink,
        private_postfix(sink.port) as postfix,
    ):
        api = TcpTarget("127.0.0.1", int(sink.wait_for(r"API on http://127\.0\.0\.1:(\d+)/")[1]))
        plan = plan_for(postfix.port, messages=30, workload=workload)
        results = trafficgen.run(plan, delivery_wait=DeliveryWait(api, 60_000_000_000))
    assert counts(results) == Counts(accepted=30)
    assert results.ledger is not None
    assert (results.ledger.received, results.ledger.missing, results.ledger.corrupted) == (30, 0, 0)
    messages = [path.read_bytes() for path in sorted(capture.iterdir())]
    assert len(messages) == 30
    assert all(b"\r\nReceived: " in message for message in messages)
    found = verdicts(tmp_path, messages, {"2026.a._domainkey.lab.test": record})
    assert found == ["2026.a of lab.test"] * 30


def test_the_body_of_a_file_is_signed_with_its_dots(tmp_path: Path) -> None:
    record = make_key(tmp_path / "key.pem")
    body = tmp_path / "body.txt"
    body.write_bytes("a line\n.one that begins with a dot\n..two dots\ngrüße  \n\n\n".encode())
    workload = {"dkim_keys": (DkimKey(SUFFIX, "s1", tmp_path / "key.pem"),), "senders": 2, "content": BodyFile(body)}
    with collecting_sink() as (port, messages):
        results = trafficgen.run(plan_for(port, messages=10, workers=2, sessions=2, workload=workload))
    assert counts(results) == Counts(accepted=10)
    assert verdicts(tmp_path, messages, {f"s1._domainkey.{SUFFIX}": record}) == [f"s1 of {SUFFIX}"] * 10


def test_what_is_injected_by_http_is_signed_for_all_its_recipients(tmp_path: Path) -> None:
    record = make_key(tmp_path / "key.pem")
    workload = {
        "dkim_keys": (DkimKey(SUFFIX, "s1", tmp_path / "key.pem"),), "senders": 2,
        "recipients_per_message": ((3, 1.0),),
    }  # fmt: skip
    with asgi_injector() as (port, injector):
        target = parse_target(f"http://127.0.0.1:{port}/api/inject/v1")
        results = trafficgen.run(plan_for(target, messages=10, workload=workload))
    assert counts(results) == Counts(accepted=10)
    messages = [request["content"].encode() for request in injector.requests]
    assert verdicts(tmp_path, messages, {f"s1._domainkey.{SUFFIX}": record}) == [f"s1 of {SUFFIX}"] * 10


# -- the command ----------------------------------------------------------------------------------------


def test_a_dry_run_shows_what_is_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_key(tmp_path / "key.pem")
    options = ["--dkim-key", f"{SUFFIX}=s1:{tmp_path}/key.pem", "--senders", "2", "--message-count", "2", "--dry-run"]
    assert call(options) is ExitCode.DONE
    out = capsys.readouterr().out
    assert f"signed      {SUFFIX} by s1 (DKIM)" in out
    assert out.count("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=traffic-gen.test;") == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--dkim-key", "lab.test"], 'expected DOMAIN=SELECTOR:FILE, got "lab.test"'),
        (["--dkim-key", "lab.test=s 1:key.pem"], "expected a selector such as s1"),
        (["--dkim-key", "-=s1:key.pem"], "expected a domain name"),
        (["--dkim-key", "lab.test=s1:key.pem"], "expected a sender at lab.test or below, found none; --from ADDRESS"),
        (["--dkim-key", "traffic-gen.test=s1:/nowhere/key.pem"], 'the key "/nowhere/key.pem": No such file'),
        (["--dkim-key", f"traffic-gen.test=s1:{__file__}"], "expected a private key of RSA or Ed25519 in PEM"),
        (["--dkim-key", "traffic-gen.test=s1:k", "--mbox", "m"], "expected generated messages"),
        (["--dkim-key", "traffic-gen.test=s1:k", "--senders", "5000"], "expected at most 4096 senders"),
        (["--dkim-key", "traffic-gen.test=s1:k", "--dkim-key", "Traffic-Gen.test=S1:k"], "one key for each selector"),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_used_are_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*options, "--message-count", "1", "--dry-run"]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_a_file_that_brings_its_own_header_is_not_signed(tmp_path: Path) -> None:
    message = tmp_path / "message.eml"
    message.write_bytes(b"From: a@lab.test\nSubject: x\n\nhello\n")
    workload = {"dkim_keys": (DkimKey(SUFFIX, "s1", tmp_path / "key.pem"),), "content": BodyFile(message)}
    with pytest.raises(PlanError, match="expected generated messages: one that brings its own header block"):
        trafficgen.run(plan_for(25, messages=1, workload=workload))
