"""Mail that was taken comes back as bounces and complaints, to one server and to nobody else."""

import asyncio
import smtplib
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import Message
from typing import Any

import pytest

from tests.peers.independent import Mailbox, aiosmtpd_server
from tests.peers.postfix import private_postfix
from tests.peers.running import send
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.guard import Route
from trafficgen.plan import TcpTarget
from trafficgen.proof.remote_sink import RemoteSink
from trafficgen.sink.bounces.bounce_sender import MAX_WAITING, MAX_WAITING_OCTETS, BounceSender, OutgoingReport
from trafficgen.sink.bounces.bounces import BouncePlan, Bounces
from trafficgen.sink.policy.destinations import Destinations
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.responses import DEFAULT_PROFILE, read

MAIL = "From: <me@a.test>\r\nSubject: x\r\n\r\nhello\r\n"
ALL = ("--bounce-share", "100%")


def api_of(sink: SinkProcess) -> RemoteSink:
    return RemoteSink(TcpTarget("127.0.0.1", int(sink.wait_for(r"API on http://127\.0\.0\.1:(\d+)/")[1])))


def tally(api: RemoteSink, enough: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """What the sink says of its reports, as soon as it is enough."""
    while not enough(counts := api.totals()["reports"]):
        pass
    return dict(counts)


def returning(port: int, *options: str) -> tuple[str, ...]:
    return ("127.0.0.1:0", "--api", "127.0.0.1:0", "--bounce-to", f"127.0.0.1:{port}", *options)


def kinds(mailbox: Mailbox) -> list[Any]:
    return [message_from_bytes(octets).get_param("report-type") for octets in mailbox.messages]


def recipient_blocks(octets: bytes) -> list[Message]:
    message = message_from_bytes(octets, policy=policy.SMTP)
    return list(message.get_payload()[1].get_payload()[1:])  # type: ignore[arg-type]


def submit(sink: SinkProcess, sender: str, recipients: list[str], mail: str = MAIL, **options: list[str]) -> None:
    with smtplib.SMTP("127.0.0.1", sink.port, timeout=60) as client:
        assert client.sendmail(sender, recipients, mail, **options) == {}


def test_a_share_of_a_run_comes_back_to_its_senders() -> None:
    with (
        aiosmtpd_server() as (port, mailbox),
        sink_process(*returning(port, "--bounce-share", "10%", "--complaint-share", "5%", "--seed", "3")) as sink,
    ):
        api = api_of(sink)
        send(sink.port, messages=400, sessions=4)
        counts = tally(api, lambda now: not now["waiting"] and now["sent"] == now["bounces"] + now["complaints"])
        assert (counts["refused"], counts["dropped"]) == (0, 0)
        # 400 draws at 10 % and 5 %: what the seed gives, within five standard deviations of 40 and 20.
        assert 10 <= counts["bounces"] <= 70
        assert 1 <= counts["complaints"] <= 42
        assert kinds(mailbox).count("delivery-status") == counts["bounces"]
        assert kinds(mailbox).count("feedback-report") == counts["complaints"]
        last = f"{counts['bounces']} bounces and {counts['complaints']} complaints: {counts['sent']} sent, 0 refused"
        assert last in sink.end()
    for octets, recipients in zip(mailbox.messages, mailbox.recipients, strict=True):
        about = message_from_bytes(octets, policy=policy.SMTP)
        header = message_from_bytes(about.get_payload()[2].get_payload().encode())
        assert recipients == [about["To"]]
        assert recipients[0] in header["From"]
        assert header["X-Traffic-Gen"]


def test_the_words_are_those_of_the_recipients_domain() -> None:
    with aiosmtpd_server() as (port, mailbox), sink_process(*returning(port, *ALL)) as sink:
        api = api_of(sink)
        submit(sink, "me@a.test", ["x@gmail.com", "y@nobody.test"])
        tally(api, lambda now: now["sent"] == 1)
        gmail, other = recipient_blocks(mailbox.messages[0])
        assert gmail["Final-Recipient"] == "rfc822; x@gmail.com"
        assert gmail["Status"].startswith("5.")
        assert gmail["Status"] in gmail["Diagnostic-Code"]
        assert other["Final-Recipient"] == "rfc822; y@nobody.test"
        assert other["Action"] == "failed"


def test_a_message_in_pieces_comes_back_as_one_in_a_piece() -> None:
    with aiosmtpd_server() as (port, mailbox), sink_process(*returning(port, *ALL)) as sink:
        api = api_of(sink)
        submit(sink, "me@a.test", ["x@b.test"], MAIL + "line\r\n" * 100_000)
        submit(sink, "me@a.test", ["x@b.test"])
        tally(api, lambda now: now["sent"] == 2)
        large, small = (message_from_bytes(octets).get_payload()[2].get_payload() for octets in mailbox.messages)
        assert large == small == "From: <me@a.test>\r\nSubject: x\r\n"


def test_what_must_not_be_answered_is_not() -> None:
    report = "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x--\r\n"
    with aiosmtpd_server() as (port, mailbox), sink_process(*returning(port, *ALL)) as sink:
        api = api_of(sink)
        submit(sink, "", ["x@b.test"])
        submit(sink, "me@a.test", ["x@b.test"], report)
        submit(sink, "me@a.test", ["x@b.test"], rcpt_options=["NOTIFY=NEVER"])
        submit(sink, "me@somebodys.com", ["x@b.test"])
        submit(sink, "last@a.test", ["x@b.test"])
        counts = tally(api, lambda now: now["sent"] == 1)
        assert (counts["bounces"], counts["dropped"]) == (1, 1)
        assert mailbox.recipients == [["last@a.test"]]
        assert '"somebodys.com" may be a real domain' in sink.end()


def test_what_a_sender_asked_for_holds_for_its_message_alone() -> None:
    with aiosmtpd_server() as (port, mailbox), sink_process(*returning(port, *ALL)) as sink:
        api = api_of(sink)
        asked = {"mail_options": ["ENVID=first"], "rcpt_options": ["ORCPT=rfc822;early@b.test"]}
        with smtplib.SMTP("127.0.0.1", sink.port, timeout=60) as client:
            assert client.sendmail("me@a.test", ["x@b.test"], MAIL, **asked) == {}
            assert client.sendmail("me@a.test", ["x@b.test"], MAIL) == {}
        tally(api, lambda now: now["sent"] == 2)
        first, second = mailbox.messages
        assert b"Original-Envelope-Id: first\r\n" in first
        assert b"Original-Recipient: rfc822;early@b.test\r\n" in first
        assert b"Original-" not in second


def test_a_server_that_takes_no_reports_is_counted() -> None:
    with sink_process("127.0.0.1:0", "--reject", "rcpt:550") as wall, sink_process(*returning(wall.port, *ALL)) as sink:
        api = api_of(sink)
        submit(sink, "me@a.test", ["x@b.test"])
        submit(sink, "me@a.test", ["x@b.test"])
        counts = tally(api, lambda now: now["refused"] == 2)
        assert (counts["sent"], counts["dropped"]) == (0, 0)


def test_a_server_that_is_not_there_holds_nobody_up() -> None:
    with sink_process(*returning(1, *ALL)) as sink:
        api = api_of(sink)
        for _ in range(3):
            submit(sink, "me@a.test", ["x@b.test"])
        assert api.totals()["messages"] == 3
        assert tally(api, lambda now: now["dropped"] > 0)["sent"] == 0
        assert "cannot send reports to 127.0.0.1:1" in sink.end()


@pytest.mark.parametrize(("octets", "most"), [(1, MAX_WAITING), (MAX_WAITING_OCTETS // 10, 10)])
def test_what_waits_has_a_limit(octets: int, most: int) -> None:
    async def fill() -> BounceSender:
        bounce_sender = BounceSender(Route("nobody", ()), said.append)
        for _ in range(most + 7):
            bounce_sender.post(OutgoingReport(b"me@a.test", bytes, octets))
        return bounce_sender

    said: list[str] = []
    bounce_sender = asyncio.run(fill())
    assert (bounce_sender.waiting, bounce_sender.counts.dropped, len(said)) == (most, 7, 1)


def test_a_report_counts_with_all_that_it_holds() -> None:
    shipped = Destinations(read(DEFAULT_PROFILE), (), 1, kumo=False, limits=Limits())

    async def answer() -> OutgoingReport:
        bounce_sender = BounceSender(Route("nobody", ()), print)
        bounces = Bounces(BouncePlan(TcpTarget("127.0.0.1", 25), 1.0), bounce_sender, lambda: shipped, 1)
        recipient, words = b"x@b.test", b"ORCPT=rfc822;" + b"y" * 1900
        bounces.answer(bounces.draw([recipient]), b"me@a.test", b"Subject: x\r\n", {recipient: words})
        return bounce_sender._queue.get_nowait()

    assert asyncio.run(answer()).octets > 1900


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bounce-to", "192.0.2.1:25", "--bounce-share", "1%"], "not a loopback, private or link-local address"),
        (["--bounce-to", "127.0.0.1:25"], "expected --bounce-to and a share together"),
        (["--bounce-share", "1%"], "expected --bounce-to and a share together"),
        (["--bounce-to", "127.0.0.1:25", "--bounce-share", "101%"], "expected odds of 100 % at most"),
        (
            ["--bounce-to", "127.0.0.1:25", "--bounce-share", "60%", "--complaint-share", "0.5"],
            "100 % at most together",
        ),
    ],
)
def test_wrong_orders_are_refused_before_anything_listens(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["sink", "127.0.0.1:0", *options]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_a_real_postfix_takes_bounces_and_delivers_them_to_the_sender() -> None:
    with (
        aiosmtpd_server() as (home, mailbox),
        private_postfix(home) as postfix,
        sink_process(*returning(postfix.port, *ALL)) as sink,
    ):
        api = api_of(sink)
        submit(sink, "me@a.test", ["x@b.test"])
        assert tally(api, lambda now: now["sent"] == 1)["refused"] == 0
        while "status=sent" not in postfix.log:
            pass
        assert "from=<>" in postfix.log
    assert mailbox.recipients == [["me@a.test"]]
    assert kinds(mailbox) == ["delivery-status"]
    assert [block["Action"] for block in recipient_blocks(mailbox.messages[0])] == ["failed"]
