"""What looks at a mailbox run while it goes on, by the same code as at one that sends: pages, thresholds, windows."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.http.test_observers import get
from tests.mailbox.faulty_run import PROFILE, S, plan_of
from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store, listening
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.mailbox.operations import PHASES
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.journal import Journal
from trafficgen.measure.results import Results, read_results
from trafficgen.outcomes import StoppedBy
from trafficgen.publish.live_page import LivePage
from trafficgen.publish.prometheus import Prometheus
from trafficgen.runs.mailbox import run_mailbox_monitored
from trafficgen.runs.monitor import MonitorOptions
from trafficgen.runs.observation import LOCAL, Observation, options_of
from trafficgen.verdict.thresholds import parse_threshold

USERS = 4


@pytest.fixture
def plan() -> Iterator[MailboxPlan]:
    store = Store()
    text = PROFILE.format(protocol="imap", settings="mail_inbox_delete_percentage = 100")
    text = text.replace("total_user_count = 2", f"total_user_count = {USERS}")
    with ExitStack() as stack:
        kinds = (ImapSession, Pop3Session, LmtpSession)
        ports = [stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer))) for kind in kinds]  # type: ignore[misc]
        yield plan_of(parse_profile(text).profile, ports, duration_ns=3 * S, final_ns=30 * S, connections=USERS)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_page_the_metrics_and_the_file_show_the_run_so_far(tmp_path: Path, plan: MailboxPlan, workers: int):
    unfinished: list[Results] = []
    kept: list[Results] = []
    said: list[str] = []

    def look(results: Results) -> None:
        if not results.complete:
            unfinished.append(results)
            kept.append(read_results(tmp_path / "run.json"))

    with LivePage(0) as page, Prometheus(0) as metrics:
        results = run_mailbox_monitored(
            replace(plan, workers=workers),
            MonitorOptions(),
            journal=Journal(tmp_path / "run.json"),
            observers=[page, metrics, look],
            say=said.append,
        )
        assert len(json.loads(get(page.port, "/runs.json")[2])) == 1
        body = get(metrics.port, "/metrics")[2].decode()
    accepted = results.messages.accepted
    assert f'traffic_gen_messages_total{{outcome="accepted"}} {accepted}.0\n' in body
    assert f'traffic_gen_commands_total{{command="login",outcome="done"}} {USERS}.0\n' in body
    assert f'traffic_gen_mailbox_messages{{state="delivered"}} {accepted}.0\n' in body
    assert 'traffic_gen_mailbox_messages{state="missing"} 0.0\n' in body
    assert not said  # such as an observer that was left out
    assert unfinished
    for so_far in (*unfinished, *kept):
        assert so_far.stopped_by is StoppedBy.UNFINISHED
        assert so_far.mailboxes is not None
        assert so_far.mailboxes.adds_up
        assert so_far.mailboxes.delivered == so_far.messages.accepted <= accepted


def test_a_threshold_that_fails_ends_the_run_where_that_was_asked_for(plan: MailboxPlan):
    never = parse_threshold("command{login}.p99<1ns", PHASES)
    results = run_mailbox_monitored(
        replace(plan, duration_ns=600 * S), MonitorOptions(thresholds=[never], abort_after_ns=S)
    )
    assert results.stopped_by is StoppedBy.THRESHOLD
    limited = results.generator.limited  # on a machine that is busy with other things
    assert results.exit_code(keep_going=False) is (ExitCode.NOT_VALID if limited else ExitCode.VERDICT_FAILED)
    assert results.commands["logout"].count == results.commands["login"].count > 0, "they leave in good order"
    assert results.mailboxes is not None
    assert results.mailboxes.clean


@pytest.mark.parametrize("workers", [1, 2])
def test_a_warm_up_is_left_out_of_verdicts_and_not_out_of_the_account(plan: MailboxPlan, workers: int):
    thresholds = [parse_threshold(text, PHASES) for text in ("command{login}.count==0", "delivery.lost==0")]
    results = run_mailbox_monitored(replace(plan, workers=workers), MonitorOptions(thresholds=thresholds, from_ns=S))
    assert results.window is not None
    assert results.window.from_s >= 1
    assert 0 < results.window.messages.accepted <= results.messages.accepted  # none in a busy machine's first second
    assert results.commands["login"].count == USERS
    assert [verdict.passed for verdict in results.thresholds] == [True, True]


def test_an_observer_looks_at_the_server_meanwhile(plan: MailboxPlan, tmp_path: Path):
    (tmp_path / "maildrop").mkdir()
    with Observation(LOCAL, options_of(str(tmp_path), None, (), every="100ms")) as observation:
        results = run_mailbox_monitored(replace(plan, duration_ns=S), MonitorOptions(), observation=observation)
    assert results.server is not None
    (tmp_path / "run.json").write_text(results.to_json())
    assert read_results(tmp_path / "run.json").server == results.server


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--abort-on-fail"], "expected a threshold that can fail (--abort-on-fail)"),
        (["--warm-up", "5s"], "expected a warm-up shorter than the run (--warm-up)"),
        (["--live-port", "65536"], "--live-port"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "p.conf").write_text(PROFILE.format(protocol="imap", settings=""))
    assert call(["mailbox", "secs=5", f"profile={tmp_path / 'p.conf'}", *words]) is ExitCode.USAGE
    assert text in capsys.readouterr().err
