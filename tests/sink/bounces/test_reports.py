"""Bounces and complaints are what their RFCs ask for; Python's own parser is the judge."""

from email import message_from_bytes, policy
from email.message import EmailMessage

from hypothesis import given
from hypothesis import strategies as st

from trafficgen.sink.bounces.reports import MAX_HEADER_OCTETS, Original, bounce, complaint, status

HEADER = b"Message-ID: <1@a.test>\r\nSubject: hello\r\nX-Long: a\r\n b\r\n"
NO_PARAMETERS: dict[bytes, bytes] = {}


def original(header: bytes = HEADER, parameters: dict[bytes, bytes] = NO_PARAMETERS) -> Original:
    return Original(7, b"me@a.test", header, 1_700_000_000.0, parameters)


def parsed(octets: bytes) -> EmailMessage:
    message = message_from_bytes(octets, policy=policy.SMTP)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert not part.defects
    return message


def test_a_bounce_has_the_three_parts_of_rfc_3464() -> None:
    replies = {b"you@b.test": b"550 5.1.1 nobody there\r\n", b"her@b.test": b"552-5.2.2 full\r\n552 5.2.2 sorry\r\n"}
    message = parsed(bounce(original(), replies))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["To"] == "me@a.test"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 -0000"
    words, machine, header = message.iter_parts()
    assert words.get_content_type() == "text/plain"
    assert "<you@b.test>" in words.get_content()
    assert machine.get_content_type() == "message/delivery-status"
    about_message, *about_recipients = machine.get_payload()
    assert about_message["Reporting-MTA"] == "dns; sink.traffic-gen.test"
    assert about_message["Arrival-Date"] == "Tue, 14 Nov 2023 22:13:20 -0000"
    assert [dict(block.items()) for block in about_recipients] == [
        {
            "Final-Recipient": "rfc822; you@b.test",
            "Action": "failed",
            "Status": "5.1.1",
            "Diagnostic-Code": "smtp; 550 5.1.1 nobody there",
        },
        {
            "Final-Recipient": "rfc822; her@b.test",
            "Action": "failed",
            "Status": "5.2.2",
            "Diagnostic-Code": "smtp; 552-5.2.2 full 552 5.2.2 sorry",
        },
    ]
    assert header.get_content_type() == "text/rfc822-headers"
    assert "Message-ID: <1@a.test>" in header.get_content()


def test_a_complaint_has_the_three_parts_of_rfc_5965() -> None:
    message = parsed(complaint(original(), b"you@b.test"))
    assert message.get_param("report-type") == "feedback-report"
    assert message["Auto-Submitted"] == "auto-generated"
    _, machine, header = message.iter_parts()
    assert machine.get_content_type() == "message/feedback-report"
    fields = message_from_bytes(machine.get_payload()[0].as_bytes())
    assert fields["Feedback-Type"] == "abuse"
    assert fields["Version"] == "1"
    assert fields["User-Agent"] == "traffic-gen/1"
    assert fields["Original-Mail-From"] == "<me@a.test>"
    assert fields["Original-Rcpt-To"] == "<you@b.test>"
    assert header.get_content_type() == "text/rfc822-headers"


def test_what_rfc_3461_lets_a_sender_ask_for_comes_back() -> None:
    parameters = {b"": b" RET=FULL ENVID=run+2B7", b"you@b.test": b" NOTIFY=FAILURE ORCPT=rfc822;first+40b.test"}
    message = parsed(bounce(original(parameters=parameters), {b"you@b.test": b"550 no\r\n"}))
    _, machine, _ = message.iter_parts()
    about_message, about_recipient = machine.get_payload()
    assert about_message["Original-Envelope-Id"] == "run+7"
    assert about_recipient["Original-Recipient"] == "rfc822;first@b.test"


def test_notify_says_who_wants_no_bounce() -> None:
    parameters = {b"a": b" NOTIFY=NEVER", b"b": b" notify=success,failure", b"c": b" NOTIFY=SUCCESS", b"d": b""}
    wanted = {who: original(parameters=parameters).wants_bounces(who) for who in (b"a", b"b", b"c", b"d", b"e")}
    assert wanted == {b"a": False, b"b": True, b"c": False, b"d": True, b"e": True}


def test_an_envelope_id_that_would_break_a_field_is_left_out() -> None:
    octets = bounce(original(parameters={b"": b" ENVID=x+0D+0AEvil: yes"}), {b"you@b.test": b"550 no\r\n"})
    assert b"Evil" not in octets


def test_reports_are_known_by_their_type() -> None:
    assert original(b"Subject: x\r\ncontent-type: Multipart/Report; report-type=x\r\n").is_report
    assert original(b"Content-Type:\r\n multipart/report;\r\n boundary=x\r\n").is_report
    assert not original(b"Subject: content-type: multipart/report\r\nContent-Type: text/plain\r\n").is_report


def test_a_reply_without_an_enhanced_code_has_its_class() -> None:
    assert status(b"550 boing!\r\n") == b"5.0.0"
    assert status(b"451 later\r\n") == b"4.0.0"
    assert status(b"421-4.7.28 slow\r\n421 4.7.28 down\r\n") == b"4.7.28"
    assert status(b"550 5.7.1\r\n") == b"5.7.1"


@given(st.binary(max_size=3000), st.lists(st.binary(max_size=80), max_size=3))
def test_whatever_came_in_what_goes_back_is_plain_mail(header: bytes, texts: list[bytes]) -> None:
    failed = {b"u%d@b.test" % n: b"550 " + text.translate(None, b"\r\n") + b"\r\n" for n, text in enumerate(texts)}
    for octets in (bounce(original(header), failed), complaint(original(header), b"you@b.test")):
        lines = octets.split(b"\r\n")
        assert max(map(len, lines)) <= 998
        assert octets.isascii()
        assert b"\n" not in octets.replace(b"\r\n", b"")
        assert [part.get_content_type() for part in message_from_bytes(octets, policy=policy.SMTP).get_payload()][
            2
        ] == "text/rfc822-headers"


def test_what_goes_back_of_a_header_has_an_end() -> None:
    assert MAX_HEADER_OCTETS == 16 * 1024
