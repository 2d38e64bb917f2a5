"""A server that does not keep to a mechanism: its part is not believed, and the reason is said."""

from base64 import b64encode

import pytest

from trafficgen.mailbox.sasl import SaslLogin
from trafficgen.plan import Mechanism


def test_who_cannot_show_that_it_knows_the_password_is_no_server_of_ours():
    login = SaslLogin(Mechanism.SCRAM_SHA_256, "u", "p")
    assert login.first is not None
    nonce = login.first.partition(b"r=")[2]
    assert login.answer(b64encode(b"r=" + nonce + b"more,s=" + b64encode(b"salt") + b",i=4096"))
    assert login.answer(b64encode(b"v=" + b64encode(b"guessed"))) == b""
    fault = login.fault(ok=True)
    assert fault is not None
    assert fault.reason == "server not authenticated"


@pytest.mark.parametrize(
    ("mechanism", "challenges", "reason"),
    [
        (Mechanism.SCRAM_SHA_256, [], "server not authenticated"),
        (Mechanism.CRAM_MD5, [], "accepted without credentials"),
        (Mechanism.CRAM_MD5, [b"not base64!"], "malformed challenge"),
        (Mechanism.SCRAM_SHA_256, [b64encode(b"x")], "malformed challenge"),
        (Mechanism.PLAIN, [b64encode(b"again?")], "a challenge too many"),
        (Mechanism.LOGIN, [b"", b"", b64encode(b"and?")], "a challenge too many"),
    ],
)
def test_what_a_mechanism_does_not_know_is_a_fault(mechanism: Mechanism, challenges: list[bytes], reason: str):
    login = SaslLogin(mechanism, "u", "p")
    for challenge in challenges:
        login.answer(challenge)
    fault = login.fault(ok=True)
    assert fault is not None
    assert fault.reason == reason


def test_a_refusal_is_no_fault():
    login = SaslLogin(Mechanism.CRAM_MD5, "u", "p")
    name, _, digest = login.answer(b64encode(b"<1@here>")).partition(b" ")
    assert (name, len(digest)) == (b"u", 32)
    assert login.fault(ok=False) is None
