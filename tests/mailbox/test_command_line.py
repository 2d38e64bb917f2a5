"""The words of the command: imaptest's, ours, and what is refused before anything happens."""

from pathlib import Path

import click
import pytest

from tests.mailbox.profiles import ADVANCED, POP3
from trafficgen.cli.mailbox import command, without_overruled
from trafficgen.cli.mailbox_plan import make_plan, read_words
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.mailbox.operations import TableColumn
from trafficgen.mailbox.plan import Delivering, Protection
from trafficgen.mailbox.table import ConsoleTable, Second
from trafficgen.plan import Mechanism

NOT_GIVEN = {
    "host": None, "imap": None, "pop3": None, "lmtp": None, "smtp": None, "imap_tls": None, "pop3_tls": None,
    "lmtp_tls": None, "any_certificate": False, "allow_public_target": False,
    "allow_real_domains": False, "profile": None, "password": None,
    "password_file": None, "login": None, "mbox": None, "delete_foreign": False, "seed": None, "clients": None,
    "workers": None, "duration": None, "final": None, "timeout": None, "no_pipelining": False, "rawlog": False,
    "run_id": None, "start_at": None, "shard": None, "cluster": None,
}  # fmt: skip


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "pop3.conf"
    path.write_text(POP3)
    return path


def test_imaptests_words_make_the_plan(profile: Path):
    words = (
        "pass=testpass", "host=10.0.0.9", "port=1110", "mbox=testmbox", f"profile={profile}", "clients=100",
        "secs=20,5", "no_pipelining", "ssl=any-cert", "stalled_disconnect_timeout=7", "error_quit", "seed=9",
        "mech=plain",
    )  # fmt: skip
    said, _ = read_words(words)
    plan, notes = make_plan(said, NOT_GIVEN)
    assert (plan.password, plan.connections, plan.seed, plan.mbox) == ("testpass", 100, 9, Path("testmbox"))
    assert (plan.duration_ns, plan.final_ns, plan.timeout_ns) == (20 * 10**9, 5 * 10**9, 7 * 10**9)
    assert (str(plan.pop3.target), plan.pop3.protection) == ("10.0.0.9:1110", Protection.TLS)
    assert (str(plan.delivery.target), plan.delivery.protection) == ("10.0.0.9:24", Protection.NONE)
    assert (plan.pipelining, plan.verify_tls, plan.first_error_ends, plan.login) == (
        False,
        False,
        True,
        Mechanism.PLAIN,
    )
    assert any("rampup_time" in note for note in notes)


def test_our_options_say_the_same_and_win(profile: Path):
    said, _ = read_words(("clients=5", "host=10.0.0.1"))
    given = {"profile": str(profile), "clients": 7, "imap": "10.0.0.2", "smtp": "10.0.0.3:2525", "imap_tls": "tls"}
    plan, _ = make_plan(said, NOT_GIVEN | given)
    assert plan.connections == 7
    assert (str(plan.imap.target), str(plan.pop3.target)) == ("10.0.0.2:993", "10.0.0.1:110")
    assert (str(plan.delivery.target), plan.delivering) == ("10.0.0.3:2525", Delivering.SMTP)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["clients=ten"], 'expected a whole number, got "ten" (clients=)'),
        (["mech=gssapi"], 'got "gssapi" (mech=)'),
        (["checkpoint=5"], 'got "checkpoint=5"'),
        (["--clients", "1", "--workers", "2"], "expected no more workers than clients"),
        (["mbox=none.mbox"], "none.mbox"),
        (["--host", "192.0.2.1"], "load on somebody else's server is an attack"),
        (["--threshold", "command{fetsch}.p99<1s"], 'got "fetsch"'),
        (["--threshold", "sean.p95<1s"], 'did you mean "seen.p95"'),
        (["profile=missing.conf"], 'cannot read "missing.conf"'),
    ],
)
def test_what_makes_no_sense_is_refused_with_one_line(
    profile: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
):
    named = [] if any(word.startswith("profile=") for word in words) else [f"profile={profile}"]
    assert call(["mailbox", "secs=1", *named, *words]) is ExitCode.USAGE
    line = capsys.readouterr().err.splitlines()[-1]
    assert text in line


def test_fewer_connections_than_users_who_stay_is_said_with_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "imap.conf").write_text(ADVANCED.replace("lmtp_port = 24", "lmtp_port = 1"))
    words = [f"profile={tmp_path / 'imap.conf'}", "clients=3", "secs=1,1", "--imap", "127.0.0.1:1", "--keep-going"]
    call(["mailbox", *words])
    said = capsys.readouterr().err
    assert said.count("500 users to stay connected have 3 connections (clients=)") == 1


def test_the_table_has_imaptests_form():
    table = ConsoleTable(10)
    second = Second(connections=7, speaking=5, most=8, stalled=2, errors=1)
    for elapsed_ms in (10, 21):
        second.count(TableColumn.LOGIN, elapsed_ms * 1_000_000)
    rows = list(table.row(second))
    assert rows == [
        "Logi List Stat Sele Fetc Fet2 Stor Dele Expu Appe Logo LMTP Errs",
        "   2    0    0    0    0    0    0    0    0    0    0    0    1   5/  7 (2 stalled >3s) [80%]",
    ]
    for _ in range(9):
        assert len(list(table.row(Second(most=10)))) == 1
    averages, header, row = table.row(Second(most=10))
    assert averages == "  15" + "    0" * 11 + "      ms/cmd avg"
    assert header == rows[0]
    assert row.endswith("  0/  0")
    assert list(table.totals())[-1] == "   2" + "    0" * 11 + "    1 "


def test_what_open_files_do_not_suffice_for_is_refused_with_numbers(
    profile: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("trafficgen.runs.mailbox.raise_open_files", lambda _needed: 100)
    assert call(["mailbox", "secs=1", f"profile={profile}", "clients=126", "--workers", "3"]) is ExitCode.FAILED
    said = capsys.readouterr().err.splitlines()[-1]
    assert "cannot hold 126 sessions and 175 deliveries at a time: a process may have 100 connections, and 3" in said
    assert "would need 101 each" in said


def test_a_scenario_has_the_options_and_loses_against_words_and_options(profile: Path, tmp_path: Path):
    context = click.Context(command)
    scenario = tmp_path / "s.toml"
    scenario.write_text(f'profile = "{profile}"\nclients = 5\nduration = "9s"\nseed = 3\nhost = "10.0.0.8"\n')
    with context.scope():
        command.parse_args(context, ["--scenario", str(scenario), "--seed", "4", "secs=2"])
        said, _ = read_words(("secs=2",))
        plan, _ = make_plan(said, without_overruled(context.params, said))
    assert (plan.connections, plan.duration_ns, plan.seed) == (5, 2 * 10**9, 4)
    assert str(plan.imap.target) == "10.0.0.8:143"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cleints = 5", 'unknown key "cleints"; did you mean "clients"?'),
        ('[[phase]]\nkind = "steady"\nduration = "5s"', "this command has no phases"),
    ],
)
def test_a_scenario_that_makes_no_sense(text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "s.toml").write_text(text)
    assert call(["mailbox", "--scenario", str(tmp_path / "s.toml")]) is ExitCode.USAGE
    assert expected in capsys.readouterr().err


def test_hooks_run_before_and_after_and_a_failing_one_ends_the_command(profile: Path, tmp_path: Path):
    before, after = tmp_path / "before", tmp_path / "after"
    words = ["mailbox", f"profile={profile}", "secs=1", "--quiet", "--after", f"touch {after}"]
    assert call([*words, "--before", "false"]) is ExitCode.FAILED
    assert not after.exists()
    # mbox= is looked at when the run begins, between the two
    assert call([*words, "--before", f"touch {before}", f"mbox={tmp_path / 'none'}"]) is ExitCode.USAGE
    assert before.exists()
    assert after.exists()


def test_a_threshold_on_the_server_needs_somebody_who_looks_at_it(profile: Path, capsys: pytest.CaptureFixture[str]):
    words = ["mailbox", f"profile={profile}", "secs=1"]
    assert call([*words, "--threshold", "queue.depth<10"]) is ExitCode.USAGE
    assert "(--observe)" in capsys.readouterr().err
    assert call([*words, "--threshold", "queue.undelivered<10"]) is ExitCode.USAGE
    assert "counted at a sink" in capsys.readouterr().err
    assert call([*words, "--observe-queue", "/tmp"]) is ExitCode.USAGE
    assert "expected --observe local or ssh:HOST with it (--observe-queue)" in capsys.readouterr().err
