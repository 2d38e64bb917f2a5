"""Addresses and domains beyond ASCII: announced by SMTPUTF8, as A-labels without it, and never to a server without."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_embedded_sink import assert_proven
from tests.peers.independent import aiosmtpd_server
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, scripted
from trafficgen import ExitCode, Pipelining, PlanError, Users, WeightedDomain, Workload
from trafficgen.cli.program import call
from trafficgen.plan import ExtensionPlan, WeightedAddress
from trafficgen.plan.international import a_label
from trafficgen.protocol.smtp.dots import unstuff
from trafficgen.protocol.smtp.layout import layout_for
from trafficgen.workload import BuiltMessage, Messages

BUECHER = (WeightedDomain("bücher.test"), WeightedDomain("plain.test"))
SOME: dict[str, Any] = {"domains": BUECHER, "international": 0.4}
SEVERAL: dict[str, Any] = {**SOME, "recipients_per_message": ((1, 1.0), (3, 1.0))}
GIVEN: dict[str, Any] = {
    "recipients": (WeightedAddress("用户@例え.test", 1.0), WeightedAddress("ann@bücher.test", 3.0)),
    "from_addresses": (WeightedAddress("jörg@lab.test", 1.0), WeightedAddress("bob@bücher.test", 3.0)),
}


def built(count: int, **workload: Any) -> list[BuiltMessage]:
    plan = plan_for(None, messages=count, workload=workload, seed=5)
    return Messages(plan, date="x", layout=layout_for(0, ExtensionPlan(), "")).block(0, count)


def addresses(message: BuiltMessage) -> tuple[str, list[str]]:
    envelope = message.envelope.decode()
    return re.findall(r"^MAIL FROM:<(.*?)>", envelope)[0], re.findall(r"RCPT TO:<(.*?)>", envelope)


def announced(message: BuiltMessage) -> bool:
    return b"SMTPUTF8" in message.envelope.partition(b"\r\n")[0]


@pytest.mark.parametrize("workload", [SOME, SEVERAL, {**SOME, "international": 1.0}, GIVEN])
def test_what_is_beyond_ascii_is_announced_and_nothing_else(workload: dict[str, Any]) -> None:
    messages = built(400, **workload)
    for message in messages:
        sender, recipients = addresses(message)
        assert message.recipients == len(recipients) == len(set(recipients))
        locals_beyond = any(not one.rpartition("@")[0].isascii() for one in (sender, *recipients))
        assert announced(message) == locals_beyond == message.eight_bit == (b"BODY=8BITMIME" in message.envelope)
        assert message.envelope.isascii() or announced(message)
        to = message.head.decode().partition("\r\nTo: ")[2].partition("\r\nSubject")[0]
        assert re.findall(r"<(.*?)>", to) == recipients
        assert len(message.head) + len(unstuff(bytes(message.body))) == message.octets
    share = sum(map(announced, messages)) / 400
    # Of the given ones 1 - (3/4)² is 0.44; of 400 draws a standard deviation is 0.025.
    assert share == pytest.approx(workload.get("international", 0.4375), abs=0.1)


def test_domains_are_a_labels_without_smtputf8_and_as_they_are_with_it() -> None:
    found = Counter((announced(one), addresses(one)[1][0].rpartition("@")[2]) for one in built(400, **SOME))
    assert set(found) == {
        (False, "xn--bcher-kva.test.traffic-gen.test"), (True, "bücher.test.traffic-gen.test"),
        (False, "plain.test.traffic-gen.test"), (True, "plain.test.traffic-gen.test"),
    }  # fmt: skip


def test_a_user_has_one_international_name() -> None:
    users: dict[str, set[str]] = {}
    for one in built(2000, domains=BUECHER, international=1.0, users=Users(40)):
        name, _, number = addresses(one)[1][0].partition("@")[0].rpartition("-")
        users.setdefault(number, set()).add(name)
    assert len(users) == 40
    assert all(len(names) == 1 for names in users.values())
    assert set().union(*users.values()) == {"josé", "χρήστης", "почта", "用户", "ユーザー", "사용자"}


@pytest.mark.parametrize("workload", [SOME, SEVERAL, GIVEN, {**SEVERAL, "users": Users(10)}])
@pytest.mark.parametrize("session", [{}, {"chunks": 4}, {"pipelining": Pipelining.OFF}])
def test_every_message_arrives_once_and_at_its_recipients(workload: dict[str, Any], session: dict[str, Any]) -> None:
    assert_proven(send(None, messages=80, sessions=3, workload=workload, session=session), 80)


def test_a_server_without_smtputf8_gets_no_message() -> None:
    with scripted(Script) as server:
        results = send(server.port, messages=2, workload=SOME)
    assert counts(results) == Counts(failed=2)
    (found,) = results.failures
    assert (found.phase, found.reason) == ("ehlo", "SMTPUTF8 not offered")


def test_postfix_relays_every_message_with_its_addresses() -> None:
    with private_sink() as sink, private_postfix(sink.port, "smtputf8_enable = yes") as postfix:
        results = send(postfix.port, messages=60, sessions=4, workload=SEVERAL)
        assert counts(results) == Counts(accepted=60)
        sink.wait_for(60)
        postfix.stop()
        arrivals = sink.arrivals(results.run.id)
        assert arrivals.damaged == []
        assert arrivals.messages == 60


def test_aiosmtpd_takes_them_when_it_offers_smtputf8() -> None:
    with aiosmtpd_server(smtputf8=True) as (port, mailbox):
        results = send(port, messages=40, sessions=2, workload=GIVEN)
        assert {"用户@例え.test"} < {one for recipients in mailbox.recipients for one in recipients}
    assert counts(results) == Counts(accepted=40)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("bücher.test", "xn--bcher-kva.test"), ("straße.test", "xn--strae-oqa.test"), ("例え.test", "xn--r8jz45g.test"),
        ("plain.test", "plain.test"),
    ],
)  # fmt: skip
def test_a_labels_are_those_of_idna_2008(name: str, wire: str) -> None:
    assert a_label(name) == wire


@pytest.mark.parametrize("name", ["Bücher.test", "bü cher.test", "\u0301a.test", "a\u200b.test", "ü" * 64 + ".test"])
def test_a_domain_that_idna_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="expected a domain name"):
        WeightedDomain(name)
    with pytest.raises(PlanError, match="expected an address"):
        WeightedAddress(f"ann@{name}")


@pytest.mark.parametrize("local_part", ["用" * 22, "a\u200eb", "\ud800", "a b", "ü..ü"])
def test_a_local_part_that_no_server_would_take_is_refused(local_part: str) -> None:
    with pytest.raises(PlanError, match="expected an address"):
        WeightedAddress(f"{local_part}@lab.test")


def test_a_share_is_for_users_that_are_drawn() -> None:
    with pytest.raises(PlanError, match="international or not as they are written"):
        Workload(**GIVEN, international=0.5)
    with pytest.raises(PlanError, match="expected a share of messages"):
        Workload(international=1.5)


def test_the_command_line_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--message-count",
        "20",
        "--domain",
        "bücher.test",
        "--smtputf8-share",
        "100%",
        "--quiet",
        "--workers",
        "1",
    ]
    assert call([*options, "--json", str(tmp_path / "results.json"), "--run-id", "0" * 16]) is ExitCode.DONE
    assert "bücher.test" in capsys.readouterr().out + (tmp_path / "results.json").read_text(encoding="utf-8")
