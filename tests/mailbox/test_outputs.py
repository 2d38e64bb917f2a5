"""What is made of the results of a mailbox run: comparison, page, JUnit, the file again."""

import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mailbox.faulty_run import PROFILE, run
from tests.mailbox.store import ImapSession, LmtpSession, Store, listening
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.mailbox.operations import PHASES
from trafficgen.measure.results import Results, read_results
from trafficgen.outcomes import StoppedBy
from trafficgen.report.tables import to_junit
from trafficgen.report.to_html import to_html
from trafficgen.verdict.comparing import compare_runs
from trafficgen.verdict.thresholds import judge_all, parse_threshold


@pytest.fixture(scope="module")
def results() -> Results:
    return run(Store())


def test_comparison_has_commands_and_the_time_to_see(results: Results):
    compared = {one.name: one for one in compare_runs([results], [results]).quantities}
    for name in ("command{login}.p50", "command{fetch}.p99", "seen.p95", "p99"):
        assert compared[name].ratio == 1.0
    assert (compared["delivery.lost"].a, compared["delivery.lost"].b) == (0, 0)
    assert "command{retr}.p99" not in compared
    only_mail = compare_runs([replace(results, mailboxes=None)], [results])
    assert not any(one.name.startswith(("command", "seen")) for one in only_mail.quantities)


def test_the_command_compares_files(results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(results.to_json())
    assert call(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) is ExitCode.DONE
    assert "command{login}.p50" in capsys.readouterr().out


def test_the_page_has_the_account_and_the_commands(results: Results):
    page = to_html([results])
    assert results.mailboxes is not None
    assert f"{results.mailboxes.delivered:,} delivered" in page
    assert "0 missing, 0 doubled, 0 damaged, 0 misplaced" in page
    assert '"fetch"' in page


def test_junit_has_a_case_for_each_threshold(results: Results):
    texts = ("delivery.lost==0", "command{login}.p99<1ns")
    judged = replace(results, thresholds=judge_all([parse_threshold(text, PHASES) for text in texts], results))
    cases = {case.get("name"): case for case in ElementTree.fromstring(to_junit([judged])).iter("testcase")}
    assert cases[texts[0]].find("failure") is None
    assert cases[texts[1]].find("failure") is not None


def test_the_file_is_read_again_as_it_was(results: Results, tmp_path: Path):
    (tmp_path / "run.json").write_text(results.to_json())
    again = read_results(tmp_path / "run.json")
    assert again.mailboxes == results.mailboxes
    assert again.commands == results.commands
    assert again.to_json() == results.to_json()


def test_rows_that_find_no_room_cost_neither_the_run_nor_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    profile = tmp_path / "office.conf"
    profile.write_text(PROFILE.format(protocol="imap", settings=""))
    store = Store()
    with ExitStack() as stack:
        imap, lmtp = (
            stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer)))  # type: ignore[misc]
            for kind in (ImapSession, LmtpSession)
        )
        servers = ["--imap", f"127.0.0.1:{imap}", "--lmtp", f"127.0.0.1:{lmtp}"]
        rows = [f"profile={profile}", "output=/dev/full", "clients=4", "--duration", "1s", "--keep-going"]
        code = call(["mailbox", *rows, *servers, "--json", str(tmp_path / "run.json")])
    assert code is ExitCode.FAILED
    assert read_results(tmp_path / "run.json").stopped_by is StoppedBy.DEADLINE
    err = capsys.readouterr().err
    assert err.endswith('traffic-gen: cannot write rows to "/dev/full": no space left on device\n')
