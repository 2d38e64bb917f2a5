"""The verdict on what arrived: missing, double with and without a reason, damaged, late."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sink.verify.conftest import RUN_ID, handed, message, take
from trafficgen import Plan, Workload
from trafficgen.cli.program import call
from trafficgen.clock import now_ns
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.proof import ledger_reader, trace_header
from trafficgen.proof.comparison import verify
from trafficgen.proof.ledger_reader import Copies
from trafficgen.proof.sent import Manifest, SentRecords, read
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import parse
from trafficgen.sink.policy.policy import Policy, PolicyConfig
from trafficgen.sink.store.ledger import Ledger, SessionReceiver
from trafficgen.workload import Messages

Write = Callable[..., Path]


def test_everything_there_once_is_clean(
    manifest_file: Write, ledger_file: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = manifest_file([0, 1, 2], began_ns=now_ns())
    ledger = ledger_file(message(2), message(0), message(1))
    assert call(["verify", str(manifest), str(ledger)]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "3 accepted: 3 delivered, 0 missing" in out
    assert "from start to arrival: min" in out


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([0], "1 delivered, 1 missing"),
        ([0, 1, 1], "1 duplicated: 0 explained by a lost reply, 1 not"),
        ([0, 1, 5], "1 arrived although never accepted"),
    ],
)
def test_anything_else_fails(
    manifest_file: Write,
    ledger_file: Write,
    capsys: pytest.CaptureFixture[str],
    messages: list[int],
    words: str,
) -> None:
    ledger = ledger_file(*map(message, messages))
    assert call(["verify", str(manifest_file([0, 1])), str(ledger)]) is ExitCode.VERDICT_FAILED
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(("kept", "words"), [("-1", "1 corrupted"), ("20", "1 missing")])
def test_a_truncated_message_fails(
    manifest_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: str, words: str
) -> None:
    octets = message(0)
    fault = parse(FaultKind.TRUNCATE, f"data:{len(octets) - 1 if kept == '-1' else kept}")
    ledger = Ledger(tmp_path / "sink.ledger")
    session = ServerSession(SessionReceiver(ledger), Policy(PolicyConfig(faults=(fault,))).session(b"192.0.2.1"))
    session.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
    assert session.feed(octets + b".\r\n").startswith(b"250 ")
    ledger.close()
    assert call(["verify", str(manifest_file([0])), str(tmp_path / "sink.ledger")]) is ExitCode.VERDICT_FAILED
    assert words in capsys.readouterr().out


def test_a_damaged_body_fails(manifest_file: Write, ledger_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = ledger_file(message(0, b"hullo\r\n", claimed=b"hello\r\n"))
    assert call(["verify", str(manifest_file([0])), str(ledger)]) is ExitCode.VERDICT_FAILED
    assert "1 corrupted" in capsys.readouterr().out


def test_a_lost_reply_is_that_of_its_own_session_and_message(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    first, second = SessionReceiver(ledger), SessionReceiver(ledger)
    take(first, message(0))
    receipt = first.receipt
    take(second, message(1))
    take(second, message(0))
    first.unanswered(receipt)
    ledger.close()
    copies = ledger_reader.read([tmp_path / "ledger"], RUN_ID).copies
    assert (copies.numbers.tolist(), copies.unanswered.tolist()) == ([0, 1, 0], [1, 0, 0])


def test_a_lost_reply_explains_a_second_copy(
    manifest_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    receiver = SessionReceiver(ledger)
    take(receiver, message(0))
    receiver.unanswered(receiver.receipt)
    take(SessionReceiver(ledger), message(0))
    assert ledger.arrivals(RUN_ID).unanswered == {0: 1}
    ledger.close()
    assert call(["verify", str(manifest_file([0])), str(tmp_path / "ledger")]) is ExitCode.DONE
    assert "1 duplicated: 1 explained by a lost reply, 0 not" in capsys.readouterr().out


def test_a_message_in_doubt_may_arrive_or_not_but_not_twice(manifest_file: Write, ledger_file: Write) -> None:
    manifest = str(manifest_file([], in_doubt=(0, 1)))
    assert call(["verify", manifest, str(ledger_file(message(0), name="once"))]) is ExitCode.DONE
    twice = ledger_file(message(0), message(0), name="twice")
    assert call(["verify", manifest, str(twice)]) is ExitCode.VERDICT_FAILED


def test_late_ones_are_counted(manifest_file: Write, ledger_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = manifest_file([0, 1], began_ns=now_ns() - 60 * 10**9)
    ledger = ledger_file(message(0), message(1))
    assert call(["verify", str(manifest), str(ledger), "--late-after", "30s"]) is ExitCode.DONE
    assert "2 later than 30s" in capsys.readouterr().out


def test_times_of_different_clocks_are_never_compared(
    tmp_path: Path, ledger_file: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "elsewhere.manifest"
    Manifest(RUN_ID, 1, handed((0, 1, 5)), SentRecords.none(), "0123456789abcdef", 0).write(path)
    assert call(["verify", str(path), str(ledger_file(message(0)))]) is ExitCode.DONE
    assert "no latency" in capsys.readouterr().out


def test_maildir_and_mbox_prove_delivery_whatever_their_line_ends(
    manifest_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maildir = tmp_path / "box"
    for folder in ("new", "cur", ".Junk/cur"):
        (maildir / folder).mkdir(parents=True)
    (maildir / "new/1").write_bytes(message(0).replace(b"\r\n", b"\n"))
    (maildir / ".Junk/cur/2:2,S").write_bytes(b"Delivered-To: b\r\n" + message(1))
    (maildir / "new/3").write_bytes(b"Subject: a stranger's\n\nhello\n")
    mbox = tmp_path / "mbox"
    quoted = message(2, b"hi\r\n\r\n>From me\r\n", claimed=b"hi\r\n\r\nFrom me\r\n")
    mbox.write_bytes(b"From a@b Thu Jan  1 00:00:00 1970\n" + quoted.replace(b"\r\n", b"\n") + b"\n")
    manifest = str(manifest_file([0, 1, 2]))
    code = call(["verify", manifest, "--maildir", str(maildir), "--mbox", str(mbox)])
    assert code is ExitCode.DONE, capsys.readouterr()
    out = capsys.readouterr().out
    assert "3 accepted: 3 delivered, 0 missing" in out
    assert "1 message there is not of this run" in out


def test_a_pipe_is_refused_and_not_waited_for(
    tmp_path: Path, manifest_file: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    manifest, pipe = str(manifest_file([0])), str(tmp_path / "pipe")
    for files in ([manifest, pipe], [pipe, manifest]):
        assert call(["verify", *files]) is ExitCode.NOT_COMPARABLE
        assert f'cannot read "{pipe}": expected a file, found a pipe or device' in capsys.readouterr().err


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest.here(RUN_ID, 9, handed((3, 2, 10**18), (999_999_999_999, 1000, 0)), handed((4, 1, 7)))
    manifest.write(tmp_path / "m")
    back = read(tmp_path / "m")
    assert (back.run_id, back.planned, back.boot_id, back.wall_offset_ns) == (
        RUN_ID, 9, manifest.boot_id, manifest.wall_offset_ns,
    )  # fmt: skip
    assert back.accepted.numbers.tolist() == [3, 999_999_999_999]
    assert back.accepted.recipients.tolist() == [2, 1000]
    assert back.accepted.began_ns.tolist() == [10**18, 0]
    assert back.in_doubt.numbers.tolist() == [4]


def test_digests_come_back_as_they_were_written(tmp_path: Path) -> None:
    sent = handed((0, 1, 1), (1, 1, 1), (2, 1, 1))
    sent.digests[:] = [0, -1, 0xFFFFFFFF]
    Manifest.here(RUN_ID, 3, sent, SentRecords.none()).write(tmp_path / "m")
    assert read(tmp_path / "m").accepted.digests.tolist() == [0, -1, 0xFFFFFFFF]


@pytest.mark.parametrize("octet", [b"/", b":", b"x"])
def test_a_line_with_any_octet_damaged_is_refused(tmp_path: Path, octet: bytes) -> None:
    path = tmp_path / "m"
    sent = handed((7, 1, 1))
    for digest in (0xABC, -1):
        sent.digests[:] = digest
        Manifest.here(RUN_ID, 9, sent, SentRecords.none()).write(path)
        whole = path.read_bytes()
        begin, end = whole.index(b"000000000007 a"), whole.index(b"# end")
        for at in range(begin, end):
            path.write_bytes(whole[:at] + octet + whole[at + 1 :])
            with pytest.raises(ResultsError, match="is damaged"):
                read(path)


@pytest.mark.parametrize("keep", [0, 10, 60, -1, -41])
def test_a_manifest_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    Manifest.here(RUN_ID, 2, handed((1, 1, 1), (2, 1, 1)), SentRecords.none()).write(tmp_path / "m")
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:keep])
    with pytest.raises(ResultsError):
        read(tmp_path / "m")


copies = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=20)


@given(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)), copies)
def test_the_account_adds_up_message_by_message(
    accepted: set[int], in_doubt: set[int], arrived: list[tuple[int, bool, bool]]
) -> None:
    in_doubt -= accepted

    def sent(numbers: set[int]) -> SentRecords:
        return SentRecords(
            np.array(sorted(numbers), np.int64),
            np.ones(len(numbers), np.int64),
            np.zeros(len(numbers), np.int64),
            np.full(len(numbers), -1, np.int64),
        )

    got = Copies(
        np.array([number for number, _, _ in arrived], np.int64),
        np.ones(len(arrived), np.int64),
        np.ones(len(arrived), np.int64),
        np.array([damaged for _, damaged, _ in arrived], np.bool_),
        np.array([int(lost) for _, _, lost in arrived], np.int64),
        np.full(len(arrived), -1, np.int64),
    )
    delivery = verify(sent(accepted), sent(in_doubt), got, one_clock=True)
    count = {n: sum(1 for number, _, _ in arrived if number == n) for n in range(6)}
    lost = {n: sum(1 for number, _, unanswered in arrived if number == n and unanswered) for n in range(6)}
    assert delivery.expected == len(accepted) == delivery.delivered + delivery.missing
    assert delivery.missing == sum(count[n] == 0 for n in accepted)
    assert delivery.in_doubt_delivered == sum(count[n] > 0 for n in in_doubt)
    assert delivery.unexpected == sum(count[n] > 0 for n in set(range(6)) - accepted - in_doubt)
    double = {n for n in accepted | in_doubt if count[n] > 1}
    assert delivery.unexplained == sum(count[n] - lost[n] > 1 for n in double)
    assert delivery.explained == len(double) - delivery.unexplained


# -- who got what ---------------------------------------------------------------------------------------

A, B, C = b"a@a.test", b"B@b.test", b"c@c.test"


def delivered_to(ledger: Path, *copies: list[bytes], api: bool = False) -> Ledger:
    """A sink's ledger of message 7, handed over for A and B, in these transactions."""
    written = Ledger(None if api else ledger, names=True)
    for recipients in copies:
        receiver = SessionReceiver(written)
        session = ServerSession(receiver)
        receiver.envelope = session
        rcpt = b"".join(b"RCPT TO:<" + recipient + b">\r\n" for recipient in recipients)
        session.feed(b"EHLO me\r\nMAIL FROM:<x@x.test>\r\n" + rcpt + b"DATA\r\n")
        session.feed(message(7))
        session.feed(b".\r\n")
    return written


@pytest.mark.parametrize(
    ("copies", "misdelivered"),
    [
        (([A, B],), 0), (([A], [B]), 0), (([B], [A]), 0), (([b"A@A.TEST", b"b@B.test"],), 0),
        (([A], [A]), 1), (([A], [C]), 1), (([C, B],), 1), (([A],), 0), (([A], [B], [B]), 0),
    ],
)  # fmt: skip
def test_a_message_that_one_recipient_got_twice_and_another_never_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], copies: tuple[list[bytes], ...], misdelivered: int
) -> None:
    path = tmp_path / "sink.ledger"
    delivered_to(path, *copies).close()
    digests = np.array([trace_header.digest([A, B])], np.int64)
    number, recipients, began_ns = (np.array([value], np.int64) for value in (7, 2, 1))
    accepted = SentRecords(number, recipients, began_ns, digests)
    Manifest.here(RUN_ID, 1, accepted, SentRecords.none()).write(tmp_path / "m")
    assert read(tmp_path / "m").accepted.digests.tolist() == digests.tolist()
    code = call(["verify", str(tmp_path / "m"), str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["misdelivered"] == misdelivered
    whole = sum(map(len, copies)) == 2
    assert found["delivered"] == (whole and not misdelivered) + (sum(map(len, copies)) > 2)
    if misdelivered:
        assert code is ExitCode.VERDICT_FAILED
        assert call(["verify", str(tmp_path / "m"), str(path)]) is ExitCode.VERDICT_FAILED
        assert "1 misdelivered: a recipient got more than one copy" in capsys.readouterr().out
        assert call(["verify", str(tmp_path / "m"), str(path), "--any-recipient"]) is ExitCode.DONE


def test_a_manifest_of_before_is_read(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(
        "# traffic-gen manifest 1\n"
        '{"run_id": "9f3a6c1e02b4d857", "boot_id": "x", "wall_offset_ns": 0, "planned": 1}\n'
        "000000000005 a 0002 0000005204807824782\n# end 1\n"
    )
    accepted = read(tmp_path / "m").accepted
    columns = (accepted.numbers, accepted.recipients, accepted.began_ns, accepted.digests)
    assert [column.tolist() for column in columns] == [[5], [2], [5204807824782], [-1]]


def test_in_memory_arrivals_tell_who_got_what_too(tmp_path: Path) -> None:
    arrivals = delivered_to(tmp_path / "none", [A], [B], api=True).arrivals(RUN_ID)
    assert arrivals.digests is not None
    assert (arrivals.numbers.tolist(), arrivals.digests.tolist()) == ([7], [trace_header.digest([A, B])])
    twice = delivered_to(tmp_path / "none", [A], [A], api=True).arrivals(RUN_ID)
    twice.add(arrivals)
    assert twice.digests is not None
    assert twice.digests.tolist() == [trace_header.digest([A, A, A, B])]


def test_the_sender_knows_who_its_recipients_are() -> None:
    plan = Plan(max_messages=9, workload=Workload(recipients_per_message=((1, 1), (3, 1))))
    messages = Messages(plan, date="")
    wanted = [trace_header.digest(one.envelope.split(b"\n")[1:]) for one in messages.block(3, 9)]
    assert messages.digests_of(3, 9).tolist() == wanted
