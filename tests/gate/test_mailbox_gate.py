"""A gate whose load is users of mailboxes, against stores that keep all mail or lose some."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mailbox.faulty_run import PROFILE, Doubles, Loses
from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store, listening
from tests.peers.certificates import make_certificate
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.gate.builds import answers
from trafficgen.measure.results import read_results
from trafficgen.plan import TcpTarget
from trafficgen.verdict.gating import PlannedRun, Purpose, Side
from trafficgen.verdict.reading import harm_of, parse_metric, trial_of

NO_MORE = ["--looks", "6", "--control", "0"]
SETTINGS = "mail_inbox_delete_percentage = 100"


@contextmanager
def serving(store: Store) -> Iterator[str]:
    """Where its servers are, as --a and --b take it."""
    with ExitStack() as stack:
        kinds = {"imap": ImapSession, "pop3": Pop3Session, "lmtp": LmtpSession}
        ports = {
            name: stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer)))  # type: ignore[misc]
            for name, kind in kinds.items()
        }
        yield " ".join(f"--{name} 127.0.0.1:{port}" for name, port in ports.items())


@pytest.fixture
def profile(tmp_path: Path) -> str:
    (tmp_path / "users.conf").write_text(PROFILE.format(protocol="imap", settings=SETTINGS))
    return str(tmp_path / "users.conf")


@pytest.mark.parametrize(("kind", "words"), [(Loses, "missing"), (Doubles, "doubled")])
def test_a_store_that_loses_or_doubles_mail_fails_at_once(
    kind: type[Store], words: str, profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    with serving(Store()) as a, serving(kind()) as b:
        arguments = ["gate", "--a", a, "--b", b, *NO_MORE, "--metric", "delivery.lost", "--keep", str(kept)]
        load = ["--", "mailbox", f"profile={profile}", "--duration", "300ms", "--seed", "3"]
        code = call([*arguments, "--metric", "command{login}.p99", "--json", str(tmp_path / "gate.json"), *load])
    assert code is ExitCode.VERDICT_FAILED
    out, err = capsys.readouterr()
    assert words in out
    assert "delivery.lost must be zero in every run of B, named or not" in err
    assert json.loads((tmp_path / "gate.json").read_text())["verdict"] == "fail"
    runs = [read_results(path) for path in sorted(kept.iterdir())]
    assert 1 <= len(runs) <= 2  # B's first run is the first or the second
    assert len({run.run.id for run in runs}) == len(runs)
    assert not runs[-1].mailboxes.clean


def test_what_a_run_of_users_says_to_a_gate(profile: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with serving(Store()) as where:
        arguments = ["mailbox", f"profile={profile}", "--duration", "500ms", "--json", str(path), "--quiet"]
        assert call([*arguments, *where.split()]) is ExitCode.DONE
    results = read_results(path)
    metrics = [parse_metric(text) for text in ("command{login}.p99:10%", "seen.p95:10%+2ms", "p95")]
    trial = trial_of(PlannedRun(0, Purpose.COMPARE, 0, Side.B, True), results, metrics, {})
    assert trial.harm is None
    assert trial.spoiled is None or trial.spoiled.startswith("the generator, not the server"), trial.spoiled
    assert all(trial.values[metric.name] > 0 for metric in metrics)
    of_logins = results.commands["login"]
    refused = replace(results, commands={**results.commands, "login": replace(of_logins, refused=1)})
    assert harm_of(refused, tolerate_refusals=False) == f"of {of_logins.count} login 1 refused or not answered"
    assert harm_of(refused, tolerate_refusals=True) is None
    assert results.mailboxes is not None
    for name, words in (("missing", "missing"), ("doubled", "doubled"), ("damaged", "damaged")):
        lost = replace(results, mailboxes=replace(results.mailboxes, **{name: 2}))
        assert harm_of(lost, tolerate_refusals=True) == f"of {results.messages.started} messages 2 {words}"
    elsewhere = replace(results, mailboxes=replace(results.mailboxes, misplaced=1))
    assert "1 in somebody else's mailbox" in str(harm_of(elsewhere, tolerate_refusals=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--", "mailbox", "profile={profile}"], "expected how long each run lasts (--duration)"),
        (["--rate", "half", "--", "mailbox", "profile={profile}", "secs=1"], "(--rate)"),
        (["--html", "x", "--", "mailbox", "profile={profile}", "secs=1"], "(--html)"),
        (["--", "mailbox", "profile={profile}", "secs=1", "host=127.0.0.1"], "named by --a and --b"),
        (["--", "mailbox", "profile={profile}", "secs=1", "rawlog"], "same names"),
        (["--", "mailbox", "profile={profile}", "secs=1", "output=x"], "with --keep"),
        (["--", "mailbox", "profile={profile}", "secs=1", "--threshold", "p99<1s"], "margins in place of thresholds"),
        (["--", "mailbox", "profile={profile}", "secs=1", "--json", "x"], "with --keep"),
        (["--", "mailbox", "profile={profile}", "secs=1", "--run-id", "a" * 16], "an id of its own"),
        (["--a", "127.0.0.1:143", "--", "mailbox", "profile={profile}", "secs=1"], "expected a host alone"),
        (["--a", "'", "--", "mailbox", "profile={profile}", "secs=1"], "options of mailbox in quotes"),
        (["--metric", "command{login}.p99"], "this gate sends mail"),
        (["--a", "8.8.8.8", "--", "mailbox", "profile={profile}", "secs=1"], "--allow-public-target"),
    ],
)
def test_a_gate_of_users_that_makes_no_sense(
    arguments: list[str], words: str, profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(profile=profile) if word.startswith("profile=") else word for word in arguments]
    assert call(["gate", "--a", "127.0.0.1", "--b", "8.8.8.8", *given]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_all_servers_of_a_build_must_greet(tmp_path: Path) -> None:
    context = make_certificate(tmp_path).server_context()
    with serving(Store()) as where:
        for place in where.split()[1::2]:
            assert answers(TcpTarget("127.0.0.1", int(place.rpartition(":")[2])))
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = TcpTarget("127.0.0.1", server.getsockname()[1])

        def greet() -> None:
            peer, _ = server.accept()
            with peer, context.wrap_socket(peer, server_side=True) as inside:
                inside.sendall(b"* OK imap\r\n")
                inside.recv(100)

        thread = threading.Thread(target=greet)
        thread.start()
        assert answers(target, tls=True)
        thread.join(10)
    with serving(Store()) as where:
        target = TcpTarget("127.0.0.1", int(where.rpartition(":")[2]))
        assert not answers(target, tls=True)
