"""How messages lie in memory, for each way of handing over, and laid out again for a server that offers less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.conversation import Notebook, Queue, letter
from trafficgen.plan import ExtensionPlan
from trafficgen.plan.extensions import ByMode, DeliverBy, Notify, Ret
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import Extensions, SessionOptions, WireMessage
from trafficgen.protocol.smtp.layout import (
    BY_DATA,
    AdaptedSource,
    Lacking,
    WireLayout,
    adapted,
    layout_for,
)
from trafficgen.protocol.smtp.reply_cache import ReplyCache

BY_CHUNKS = layout_for(4, ExtensionPlan(), "")


def laid_out(layout: WireLayout, *, body: bytes = b".a\r\nb\r\n", eight_bit: bool = False) -> WireMessage:
    """A message as workload makes it with this layout: two recipients, a head of two lines."""
    made = letter(3, body=body)
    octets = len(made.head) + len(body)
    addresses = (
        layout.sender
        + b"a@a.test"
        + layout.after_sender
        + layout.first_recipient
        + b"b@b.test"
        + layout.recipient
        + b"c@b.test"
    )
    [envelope] = layout.envelopes([addresses + layout.end_of_addresses], [octets], [eight_bit])
    return made._replace(
        recipients=2, envelope=envelope, body=layout.content(body), tail=layout.end_of_data,
        octets=octets, eight_bit=eight_bit,
    )  # fmt: skip


def wire(message: WireMessage) -> tuple[bytes, bytes]:
    return message.envelope, b"".join((message.head, message.body, message.tail))


def test_each_way_has_its_commands_and_its_content() -> None:
    addresses = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\n"
    head = letter(3, body=b".a\r\nb\r\n").head
    assert wire(laid_out(BY_DATA)) == (addresses + b"DATA\r\n", head + b"..a\r\nb\r\n.\r\n")
    chunk = b"BDAT %d LAST\r\n" % (len(head) + 7)
    assert wire(laid_out(BY_CHUNKS)) == (addresses + chunk, head + b".a\r\nb\r\n")


@pytest.mark.parametrize("layout", [BY_DATA, BY_CHUNKS])
def test_mail_says_so_of_a_message_that_is_not_all_ascii(layout: WireLayout) -> None:
    plain, wide = laid_out(layout), laid_out(layout, eight_bit=True)
    assert wide.envelope == plain.envelope.replace(b"<a@a.test>", b"<a@a.test> BODY=8BITMIME")


@given(
    asked=st.builds(
        SessionOptions, chunks=st.sampled_from([0, 4]), pipelining=st.booleans(), declares_size=st.booleans()
    ),
    offered=st.builds(Extensions, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    eight_bit=st.booleans(),
    body=st.binary(max_size=20),
)
def test_adapted_is_what_would_have_been_laid_out_for_what_is_offered(
    asked: SessionOptions, offered: Extensions, eight_bit: bool, body: bytes
) -> None:
    def best(chunks: int, *, sized: bool, eight_bit: bool) -> WireMessage:
        layout = layout_for(chunks, ExtensionPlan(declare_size=sized), "")
        return laid_out(layout, body=crlf, eight_bit=eight_bit)

    crlf = body.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
    chunks = asked.chunks * asked.pipelining
    message = best(chunks, sized=asked.declares_size, eight_bit=eight_bit)
    again = adapted(message, Lacking.of(asked, offered))
    assert wire(again) == wire(
        best(
            chunks * offered.chunking * offered.pipelining, sized=asked.declares_size and offered.size,
            eight_bit=eight_bit and offered.eight_bit,
        )
    )  # fmt: skip
    assert (again.number, again.recipients, again.octets) == (3, 2, message.octets)


@pytest.mark.parametrize("chunks", [0, 4])
def test_an_idle_session_is_given_messages_that_its_server_understands(chunks: int) -> None:
    queue = Queue([letter(0), letter(1, eight_bit=True)], chunks)
    waiting = queue.waiting.pop(0)
    session = ClientSession(queue, Notebook(), SessionOptions(chunks=chunks), ReplyCache())
    work = queue.take(0)
    assert work is not None
    session.greet(work, 0)
    session.connected(0)
    for said in (b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n", b"250 x\r\n"):
        session.feed(said, 1)
    assert not session.busy
    wrote = [b"".join(session.start(waiting, 2))]
    wrote += [b"".join(session.feed(said, 3)) for said in (b"250 x\r\n", b"250 x\r\n")]
    assert wrote == [b"MAIL FROM:<1@a.test>\r\n", b"RCPT TO:<r0@b.test>\r\n", b"DATA\r\n"]


def test_what_is_given_back_is_as_it_was_taken() -> None:
    letters = [letter(0, eight_bit=True), letter(1)]
    queue = Queue(letters)
    source = AdaptedSource(queue, Lacking(chunks=False, size=False, eight_bit=True))
    taken = [source.take(0), source.take(0)]
    assert source.take(0) is None
    for work in taken:
        assert work is not None
        assert b"BODY" not in work[0].envelope
        source.give_back(work)
    assert queue.waiting == [(each, -1) for each in letters]


BY = DeliverBy(120, ByMode.RETURN, trace=True)


@pytest.mark.parametrize(
    ("extensions", "mail", "rcpt"),
    [
        (ExtensionPlan(), b"", b""),
        (ExtensionPlan(require_tls=True), b" REQUIRETLS", b""),
        (ExtensionPlan(binary=True), b" BODY=BINARYMIME", b""),
        (ExtensionPlan(ret=Ret.HDRS), b" RET=HDRS", b""),
        (ExtensionPlan(priority=0), b" MT-PRIORITY=0", b""),
        (ExtensionPlan(priority=-9), b" MT-PRIORITY=-9", b""),
        (ExtensionPlan(deliver_by=BY), b" BY=120;RT", b""),
        (ExtensionPlan(deliver_by=DeliverBy(-5)), b" BY=-5;N", b""),
        (ExtensionPlan(notify=(Notify.NEVER,)), b"", b" NOTIFY=NEVER"),
        (ExtensionPlan(notify=(Notify.DELAY, Notify.FAILURE)), b"", b" NOTIFY=DELAY,FAILURE"),
        (
            ExtensionPlan(False, (Notify.SUCCESS,), Ret.FULL, False, True, True, 4, DeliverBy(9)),
            b" RET=FULL BODY=BINARYMIME REQUIRETLS MT-PRIORITY=4 BY=9;N",
            b" NOTIFY=SUCCESS",
        ),
    ],
)
def test_every_extension_stands_behind_mail_or_rcpt_and_none_unasked(
    extensions: ExtensionPlan, mail: bytes, rcpt: bytes
) -> None:
    layout = layout_for(0, extensions, "00112233aabbccdd")
    assert layout.after_sender == b">" + mail
    assert layout.recipient == b">" + rcpt + b"\r\nRCPT TO:<"
    assert layout.end_of_addresses == b">" + rcpt + b"\r\nDATA\r\n"
    assert layout.numbered == (b" ENVID=00112233aabbccdd." if extensions.dsn else b"")
