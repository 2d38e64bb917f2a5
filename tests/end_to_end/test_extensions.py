"""Parameters of MAIL and RCPT: sent as asked for, taken by servers that offer them, refused by those that do not."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.end_to_end.test_embedded_sink import assert_proven
from tests.peers.independent import aiosmtpd_server
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, scripted
from tests.sink.bounces.test_bounces import api_of, recipient_blocks, tally
from tests.sink.sink_process import sink_process
from trafficgen import BodyFile, ExitCode, Pipelining, PlanError, Results
from trafficgen.cli.program import call
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.results import read_results
from trafficgen.outcomes import LARGER_THAN_SIZE
from trafficgen.plan import ByMode, DeliverBy, ExtensionPlan, Notify, Ret, Security, WeightedAddress

EVERYTHING = ExtensionPlan(
    declare_size=True, notify=(Notify.SUCCESS, Notify.DELAY), ret=Ret.HDRS, priority=-3,
    deliver_by=DeliverBy(7200, ByMode.RETURN, trace=True),
)  # fmt: skip
NAMED = replace(EVERYTHING, original_recipient=True)
PROVED: dict[str, Any] = {"messages": 60, "sessions": 3, "workload": {"recipients_per_message": ((1, 1.0), (3, 1.0))}}


class OffersEverything(Script):
    """Notes MAIL and RCPT."""

    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 100000", "DSN", "MT-PRIORITY MIXER", "DELIVERBY")
    lines_seen: ClassVar[list[str]]

    def mail(self, line: str) -> None:
        self.lines_seen.append(line)
        super().mail(line)

    def rcpt(self, line: str) -> None:
        self.lines_seen.append(line)
        super().rcpt(line)


def lines(*offered: str, **words: Any) -> list[str]:
    """What a server that offers these is told by one session of a run that it accepts whole; addresses left out."""

    class Own(OffersEverything):
        extensions = offered or OffersEverything.extensions
        lines_seen: ClassVar[list[str]] = []

    with scripted(Own) as server:
        results = send(server.port, run_id="0123456789abcdef", **words)
    assert counts(results) == Counts(accepted=words["messages"])
    return [re.sub(r"<[^>]*>", "<>", line) for line in Own.lines_seen]


@pytest.mark.parametrize("pipelining", list(Pipelining))
def test_parameters_stand_behind_every_address_and_each_message_has_an_envid(pipelining: Pipelining) -> None:
    session = {"extensions": EVERYTHING, "pipelining": pipelining}
    seen = lines(messages=2, session=session, workload={"recipients_per_message": ((2, 1.0),)})
    rcpt = "RCPT TO:<> NOTIFY=SUCCESS,DELAY"
    sizes = [re.search(r" SIZE=(\d+)$", line) for line in seen if line.startswith("MAIL")]
    assert all(size is not None and int(size[1]) > 400 for size in sizes)
    mail = "MAIL FROM:<> RET=HDRS MT-PRIORITY=-3 BY=7200;RT ENVID=0123456789abcdef.00000000000"
    assert [re.sub(r" SIZE=\d+$", "", line) for line in seen] == [f"{mail}0", rcpt, rcpt, f"{mail}1", rcpt, rcpt]


def test_the_declared_size_is_that_of_the_message_as_it_is_counted() -> None:
    size = r"MAIL FROM:<> SIZE=(\d+)"
    seen = lines(messages=20, session={"extensions": ExtensionPlan(declare_size=True)}, body="3kb", seed=7)
    declared = [int(found[1]) for line in seen if (found := re.fullmatch(size, line))]
    delivered = send(None, messages=20, body="3kb", seed=7, run_id="0123456789abcdef")
    assert sum(declared) == delivered.messages.bytes


@pytest.mark.parametrize("chunks", [0, 3])
def test_size_and_8bitmime_are_left_out_where_a_server_does_not_offer_them(tmp_path: Path, chunks: int) -> None:
    body = tmp_path / "body"
    body.write_text("Grüße\n")
    words: dict[str, Any] = {
        "messages": 3, "workload": {"content": BodyFile(body)},
        "session": {"extensions": ExtensionPlan(declare_size=True), "chunks": chunks},
    }  # fmt: skip
    bare, both = ["MAIL FROM:<>", "RCPT TO:<>"], ["MAIL FROM:<> BODY=8BITMIME SIZE=N", "RCPT TO:<>"]
    assert lines("PIPELINING", **words) == bare * 3
    assert lines("ENHANCEDSTATUSCODES", **words) == bare * 3
    seen = lines("PIPELINING", "SIZE", "8BITMIME", **words)
    assert [re.sub(r"SIZE=\d+", "SIZE=N", line) for line in seen] == both * 3


@pytest.mark.parametrize("options", [[], ["--declare-size"], ["--pipelining", "off"], ["--chunking", "4"]])
def test_messages_beyond_the_size_that_is_offered_are_counted(options: list[str], tmp_path: Path) -> None:
    with sink_process("127.0.0.1:0", "--max-size", "3kb") as sink:
        code = call([
            "--target", f"127.0.0.1:{sink.port}", "--message-count", "20", "--concurrency", "2", "--workers", "1",
            "--body-size", "1kb", "--body-size", "5kb", "--keep-going", "--quiet", "--seed", "3", *options,
            "--json", str(tmp_path / "results.json"),
        ])  # fmt: skip
    results = read_results(tmp_path / "results.json")
    rejected = results.messages.rejected_permanent
    assert code is ExitCode.DONE
    assert 0 < rejected < 20
    assert sum(one.count for one in results.failures if one.reason == LARGER_THAN_SIZE) == rejected
    (caveat,) = [one for one in results.caveats if one.kind is CaveatKind.LARGER_THAN_SIZE]
    assert "octets, and EHLO says SIZE 3000" in caveat.text


@pytest.mark.parametrize("session", [{}, {"chunks": 2}, {"pipelining": Pipelining.OFF}])
def test_each_recipient_is_named_once_more_as_it_was_first_written(session: dict[str, Any]) -> None:
    class Own(OffersEverything):
        extensions = (*OffersEverything.extensions, "CHUNKING", "SMTPUTF8")
        lines_seen: ClassVar[list[str]] = []

    asks = ExtensionPlan(notify=(Notify.DELAY,), original_recipient=True)
    to = tuple(map(WeightedAddress, ("a+b=c@lab.test", "grüße+1@bücher.test", "plain@lab.test")))
    workload = {"recipients": to, "recipients_per_message": ((3, 1.0),), "domain_suffix": ""}
    with scripted(Own) as server:
        send(server.port, messages=2, session={"extensions": asks, **session}, workload=workload)
    utf8 = "<grüße+1@bücher.test>".encode().decode("ascii", "backslashreplace")  # as scripted servers read
    named = {line.partition(" TO:")[2] for line in Own.lines_seen if line.startswith("RCPT")}
    assert named == {
        "<a+b=c@lab.test> NOTIFY=DELAY ORCPT=rfc822;a+2Bb+3Dc@lab.test",
        utf8 + " NOTIFY=DELAY ORCPT=utf-8;gr\\x{FC}\\x{DF}e\\x{2B}1@b\\x{FC}cher.test",
        "<plain@lab.test> NOTIFY=DELAY ORCPT=rfc822;plain@lab.test",
    }


@pytest.mark.parametrize("session", [{}, {"chunks": 3}, {"pipelining": Pipelining.OFF}])
def test_every_message_arrives_once_with_all_parameters(session: dict[str, Any]) -> None:
    results = send(None, session={"extensions": NAMED, **session}, **PROVED)
    assert_proven(results, 60)


@pytest.mark.parametrize("chunks", [1, 4])
def test_binary_bodies_arrive_as_they_are(tmp_path: Path, chunks: int) -> None:
    body = tmp_path / "body.bin"
    body.write_bytes(bytes(range(256)) * 40 + b"\n.\nno line end\r")
    session = {"extensions": ExtensionPlan(binary=True), "chunks": chunks}
    results = send(None, messages=40, session=session, workload={"content": BodyFile(body, binary=True)})
    assert_proven(results, 40)


def test_tls_on_the_whole_way_is_asked_for_in_protected_sessions() -> None:
    plan = {"security": Security.STARTTLS, "verify_certificate": False, "extensions": ExtensionPlan(require_tls=True)}
    with sink_process("127.0.0.1:0", "--starttls") as sink:
        assert counts(send(sink.port, messages=5, session=plan)) == Counts(accepted=5)
    with sink_process("127.0.0.1:0", "--tls") as sink:
        options = ["--target", f"127.0.0.1:{sink.port}", "--tls", "--requiretls", "--message-count", "5"]
        assert call(options) is ExitCode.DONE
        assert "5 messages accepted" in sink.end()
    with sink_process("127.0.0.1:0", "--starttls", "--hide", "REQUIRETLS") as sink:
        results = send(sink.port, messages=1, session=plan)
    assert why(results) == ("ehlo", "REQUIRETLS not offered")


def why(results: Results) -> tuple[str, str]:
    (found,) = results.failures
    assert found.example.startswith("the server offers ")
    return found.phase, found.reason


@pytest.mark.parametrize(
    ("keyword", "extensions"),
    [
        ("DSN", ExtensionPlan(notify=(Notify.NEVER,))),
        ("DSN", ExtensionPlan(ret=Ret.FULL)),
        ("DSN", ExtensionPlan(original_recipient=True)),
        ("MT-PRIORITY", ExtensionPlan(priority=9)),
        ("DELIVERBY", ExtensionPlan(deliver_by=DeliverBy(60))),
        ("BINARYMIME", ExtensionPlan(binary=True)),
    ],
)
def test_an_extension_that_is_not_offered_fails_the_session_with_its_name(
    keyword: str, extensions: ExtensionPlan
) -> None:
    session = {"extensions": extensions, "chunks": 2}
    with sink_process("127.0.0.1:0", "--hide", keyword) as sink:
        results = send(sink.port, messages=3, session=session)
    assert counts(results) == Counts(failed=3)
    assert why(results) == ("ehlo", f"{keyword} not offered")


def test_a_server_that_knows_helo_only_offers_nothing() -> None:
    class OnlyHelo(Script):
        def ehlo(self, line: str) -> None:
            self.unknown(line)

    with scripted(OnlyHelo) as server:
        results = send(server.port, messages=1, session={"extensions": ExtensionPlan(priority=1)})
    assert counts(results) == Counts(failed=1)
    assert results.failures[0].reason == "MT-PRIORITY not offered"
    assert results.failures[0].example == "the server offers no extensions"


# -- Postfix --------------------------------------------------------------------------------------------


def test_postfix_refuses_by_the_declared_size_before_it_reads_the_message() -> None:
    with private_sink() as sink, private_postfix(sink.port, "message_size_limit = 3000") as postfix:
        results = send(postfix.port, messages=5, session={"extensions": ExtensionPlan(declare_size=True)}, body="5kb")
        undeclared = send(postfix.port, messages=5, body="5kb")
    assert counts(results) == counts(undeclared) == Counts(rejected_permanent=5)
    assert ("mail", 552) in {(each.phase, each.code) for each in results.replies}
    assert ("end_of_data", 552) in {(each.phase, each.code) for each in undeclared.replies}


def test_reports_of_postfix_and_of_the_sink_repeat_the_recipient_as_it_was_written() -> None:
    """Postfix undoes the encoding and makes one of its own on the way to the sink; the sink's report undoes that."""
    asks = ExtensionPlan(notify=(Notify.FAILURE,), original_recipient=True)
    workload = {"recipients": (WeightedAddress("user+tag=1@lab.test"),), "domain_suffix": "traffic-gen.test"}
    with aiosmtpd_server() as (port, mailbox):
        options = ("127.0.0.1:0", "--api", "127.0.0.1:0", "--bounce-to", f"127.0.0.1:{port}", "--bounce-share", "100%")
        with sink_process(*options) as sink, private_postfix(sink.port) as postfix:
            assert counts(send(postfix.port, messages=2, session={"extensions": asks}, workload=workload)) == Counts(
                accepted=2
            )
            tally(api_of(sink), lambda now: now["sent"] == 2)
    for report in mailbox.messages:
        (block,) = recipient_blocks(report)
        assert block["Original-Recipient"] == "rfc822;user+tag=1@lab.test"


def test_postfix_reports_success_for_who_asked_for_it() -> None:
    asks = ExtensionPlan(notify=(Notify.SUCCESS,), ret=Ret.HDRS, declare_size=True)
    with sink_process("127.0.0.1:0", "--hide", "DSN") as sink, private_postfix(sink.port) as postfix:
        results = send(postfix.port, messages=4, session={"extensions": asks}, sessions=2)
        postfix.stop()
        log = postfix.log
    assert counts(results) == Counts(accepted=4)
    # RFC 3461 section 5.2.2: a relay that hands over to a server without DSN reports "relayed" itself.
    assert len(re.findall(r"sender delivery status notification", log)) == 4


# -- the command line -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--notify", "NEVER,DELAY"], "expected NEVER, or some of SUCCESS,FAILURE,DELAY once"),
        (["--notify", "sometimes"], "expected NEVER, or some of SUCCESS,FAILURE,DELAY, got 'sometimes'"),
        (["--mt-priority", "10"], "expected a priority of -9 to 9"),
        (["--deliver-by", "2h:X"], "expected whole seconds and a mode N, R, NT or RT"),
        (["--deliver-by", "1500ms"], "expected whole seconds and a mode N, R, NT or RT"),
        (["--deliver-by", "0:R"], "expected 1 to 999999999 seconds with mode R, got 0"),
        (["--binarymime"], "add --chunking 1 or more"),
        (["--requiretls"], "add --starttls or --tls"),
        (["--target", "http://127.0.0.1/a", "--declare-size"], "expected no extensions of SMTP"),
    ],
)
def test_what_cannot_be_said_is_refused(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*options, "--message-count", "1"]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_a_binary_body_needs_binarymime(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="goes as BINARYMIME only"):
        plan_for(25, messages=1, workload={"content": BodyFile(tmp_path / "body", binary=True)})
