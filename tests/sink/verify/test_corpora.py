"""Corpora sent and found again: whatever is in them, what is called damage is damage by the server."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trafficgen
from tests.peers.postfix import private_postfix
from tests.peers.running import plan_for
from tests.sink.sink_process import sink_process
from tests.sink.verify.conftest import RUN_ID, message
from tests.sink.verify.test_end_to_end import IMPATIENT, verdict, wait_until_all_came
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.plan import Corpus
from trafficgen.proof import mailboxes
from trafficgen.proof.comparison import verify
from trafficgen.proof.ledger_reader import Copies
from trafficgen.proof.sent import Manifest, SentRecords, read

FROM = b"From ann@example.org Fri Nov 21 22:55:00 2025\n"
HEADER = b"Subject: n\nFrom: ann@example.org\nDate: Thu, 01 Jan 1998 00:00:00 +0000\n"
SOUND = HEADER + b"\nbody\n"
MENDABLE = [
    b">From - Sat Apr 12 2025 15:59:28\n" + SOUND,
    HEADER + b".\nContent-Type: text/plain\n\nbody\n",
    b"Subject: n\nhello there\nsecond line\n",
]
QUOTED = HEADER + b"\nFrom a\n>From b\n>>From c\nFrom what\n.dot\n"


def written(path: Path, *messages: bytes) -> Path:
    path.write_bytes(b"".join(FROM + octets + b"\n" for octets in messages))
    return path


@pytest.mark.parametrize("form", ["mbox", "maildir", "files"])
def test_our_own_capture_is_read_as_it_was_written(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, manifest, kept = written(tmp_path / "a.mbox", QUOTED, SOUND), tmp_path / "m", tmp_path / "kept"
    with sink_process("127.0.0.1:0", "--capture", f"{form}:{kept}") as sink:
        results = trafficgen.run(
            plan_for(sink.port, messages=6, workload={"content": Corpus(corpus)}), manifest=manifest
        )
        sink.end()
    assert results.messages.accepted == 6
    option = "--mbox" if form == "mbox" else "--maildir"
    code = call(["verify", str(manifest), option, str(kept)])
    said = capsys.readouterr().out
    assert code is ExitCode.DONE, said
    assert "6 accepted: 6 delivered, 0 missing" in said
    assert "0 corrupted" in said


@pytest.mark.parametrize(
    ("written_as", "was"),
    [
        (b"From a\r\n>From b\r\n", b"From a\r\n>From b\r\n"),  # mboxcl2 quotes nothing
        (b">From a\r\n>>From b\r\n>>>From c\r\n", b"From a\r\n>From b\r\n>>From c\r\n"),  # mboxrd
        (b">>From a\r\n", b">From a\r\n"),  # mboxrd, and nothing quoted once only
        (b">From a\r\n>From b\r\n>>From c\r\n", b"From a\r\n>From b\r\n>>From c\r\n"),  # mboxo
        (b"x\r\n" + b">From a\r\n" * 20, b"x\r\n" + b"From a\r\n" * 20),
    ],
)
def test_a_body_quoted_in_any_form_of_mbox_is_whole(tmp_path: Path, written_as: bytes, was: bytes) -> None:
    box = written(tmp_path / "box", message(0, b"begin\r\n" + written_as, claimed=b"begin\r\n" + was))
    copies = mailboxes.read_mboxes([box], RUN_ID).copies
    assert copies.numbers.tolist() == [0]
    assert not copies.damaged.any()


def test_a_changed_body_with_quoted_lines_is_damaged(tmp_path: Path) -> None:
    box = written(tmp_path / "box", message(0, b"a\r\n>From b\r\n", claimed=b"A\r\nFrom b\r\n"))
    assert mailboxes.read_mboxes([box], RUN_ID).copies.damaged.all()


def test_through_postfix_headers_that_it_mends_are_said_before_and_are_no_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = written(tmp_path / "a.mbox", SOUND, *MENDABLE)
    manifest, ledger = tmp_path / "manifest", tmp_path / "ledger"
    notices: list[str] = []
    with (
        sink_process("127.0.0.1:0", "--ledger", str(ledger)) as sink,
        private_postfix(sink.port, IMPATIENT) as postfix,
    ):
        plan = plan_for(postfix.port, messages=8, workload={"content": Corpus(corpus, shuffle=True)})
        trafficgen.run(plan, manifest=manifest, notice=notices.append)
        wait_until_all_came(sink, ledger, plan.run_id, 8)
        postfix.stop()
        sink.end()
    said = [line for line in notices if "neither a field" in line]
    words = "3 messages have a header line that is neither a field nor continues one, which servers may mend"
    assert said == [f'{corpus}: {words}: message 1, ">From - Sat Apr 12 2025 15:59:28"']
    accepted = read(manifest).accepted
    assert accepted.mendable is not None
    assert int(accepted.mendable.sum()) == 6
    code, found = verdict(capsys, manifest, ledger)
    assert (found["corrupted"], found["mended"]) == (0, 6)
    assert code is ExitCode.DONE


def test_damage_is_still_damage_where_no_header_excuses_it(tmp_path: Path) -> None:
    numbers, ones = np.arange(3), np.ones(3, np.int64)
    sent = SentRecords(numbers, ones, ones, -ones, np.array([True, False, False]))
    nothing = SentRecords.none()
    damaged = np.array([True, True, False])
    found = verify(sent, nothing, Copies(numbers, ones, ones, damaged, 0 * ones, -ones), one_clock=False)
    assert (found.corrupted, found.mended, found.clean) == (1, 1, False)


@pytest.mark.parametrize(
    ("header_rest", "body", "intact"),
    [
        (b">From - Sat Apr 12 2025 15:59:28\r\nSubject: a\r\n\r\n", b"text\r\n\r\nmore\r\n", True),
        (b".\r\n\r\n", b"", True),
        (b".\r\nSubject: a\r\n\r\n", b">From here\r\n", True),  # quoted by the mbox
        (b">From - Sat\r\n\r\n", b"another text\r\n\r\nmore\r\n", False),
        (b">From - Sat\r\nmore\r\n\r\n\r\n", b"text\r\n\r\nmore\r\n", False),
        (b"Subject: a field ends no header\r\n\r\n", b"text\r\n\r\nmore\r\n", False),
        (b" nor does its continuation\r\n\r\n", b"text\r\n\r\nmore\r\n", False),
    ],
)
def test_in_a_mailbox_a_mended_header_is_told_from_a_damaged_body(
    tmp_path: Path, header_rest: bytes, body: bytes, intact: bool
) -> None:
    claimed = {b"": b"", b">From here\r\n": b"From here\r\n"}.get(body, b"text\r\n\r\nmore\r\n")
    box = written(tmp_path / "box", message(0, header_rest + body, claimed=claimed))
    copies = mailboxes.read_mboxes([box], RUN_ID).copies
    assert copies.intact is not None
    assert (copies.damaged.tolist(), copies.intact.tolist()) == ([True], [intact])


def test_a_message_is_mended_only_when_all_of_its_damaged_copies_are(tmp_path: Path) -> None:
    numbers, ones = np.arange(4), np.ones(4, np.int64)
    sent = SentRecords(numbers, ones, ones, -ones, np.array([True, True, True, False]))
    nothing = SentRecords.none()
    copies = np.array([0, 1, 2, 2, 3])
    damaged, intact = np.ones(5, np.bool_), np.array([True, False, True, False, True])
    many = np.ones(5, np.int64)
    found = verify(sent, nothing, Copies(copies, many, many, damaged, 0 * many, -many, intact), one_clock=False)
    assert (found.corrupted, found.mended) == (3, 1)


def test_a_manifest_says_which_headers_may_be_mended(tmp_path: Path) -> None:
    numbers, ones = np.arange(3), np.ones(3, np.int64)
    mendable = np.array([False, True, True])
    Manifest.here(RUN_ID, 3, SentRecords(numbers, ones, ones, -ones, mendable), SentRecords.none()).write(
        tmp_path / "m"
    )
    back = read(tmp_path / "m").accepted
    assert back.numbers.tolist() == [0, 1, 2]
    assert back.mendable is not None
    assert back.mendable.tolist() == [False, True, True]
    assert (tmp_path / "m").read_bytes().startswith(b"# traffic-gen manifest 3\n")


@pytest.mark.parametrize("kind", ["packed", "pipe", "maildir", "folder"])
def test_any_kind_of_corpus_is_sent_by_several_workers(tmp_path: Path, kind: str) -> None:
    octets = written(tmp_path / "plain", *(b"Subject: %d\n\nbody %d\n" % (n, n) for n in range(5))).read_bytes()
    corpus = tmp_path / "corpus"
    if kind == "packed":
        corpus.write_bytes(gzip.compress(octets))
    elif kind != "pipe":
        inside = corpus / "new" if kind == "maildir" else corpus
        for name in ("cur", "new", "tmp") if kind == "maildir" else ("",):
            (corpus / name).mkdir(parents=True)
        for number, text in enumerate(octets.split(FROM)[1:]):
            (inside / f"{number}.eml").write_bytes(text)
    command = [sys.executable, "-m", "trafficgen", "--mbox", "-" if kind == "pipe" else str(corpus), "--workers", "2"]
    command += ["--message-count", "40", "--concurrency", "2", "--json", "-"]
    done = subprocess.run(command, input=octets, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    nothing = {"missing": 0, "duplicated": 0, "corrupted": 0, "mended": 0, "explained": 0}
    assert results["ledger"] == {"expected": 40, "received": 40, **nothing}
    assert results["plan"]["workload"]["content"]["path"] == ("-" if kind == "pipe" else str(corpus))


def test_a_corpus_leaves_nothing_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    corpus = written(tmp_path / "a.mbox", SOUND)
    trafficgen.run(plan_for(None, messages=3, workload={"content": Corpus(corpus)}))
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mbox", "temporary"]


def test_lines_that_were_taken_for_text_are_said_before_the_run(tmp_path: Path) -> None:
    notices: list[str] = []
    corpus = written(tmp_path / "a.mbox", HEADER + b"\nFrom Berlin\nwe went\n", SOUND)
    trafficgen.run(plan_for(None, messages=2, workload={"content": Corpus(corpus)}), notice=notices.append)
    assert [line for line in notices if re.search(r'a\.mbox: 1 line begins with "From " .*"From Berlin"$', line)]
