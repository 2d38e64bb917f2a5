"""Users on several machines: each has its part of them, and together they are those of one machine."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.mailbox.faulty_run import PROFILE, S, plan_of
from tests.mailbox.profiles import ADVANCED
from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store, listening
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, PlanError, ResultsError, SetupError
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.mailbox.population import populate
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.merging_shards import merge_shards
from trafficgen.measure.results import read_results
from trafficgen.plan import Shard
from trafficgen.runs.mailbox import run_mailbox

RUN_ID = "9f3a6c1e02b4d857"
USERS = 7
TEXT = PROFILE.format(protocol="imap", settings="mail_inbox_delete_percentage = 100").replace("= 2\n", f"= {USERS}\n")


@pytest.fixture
def store() -> Iterator[tuple[Store, list[int]]]:
    here = Store()
    with ExitStack() as stack:
        kinds = (ImapSession, Pop3Session, LmtpSession)
        yield (
            here,
            [stack.enter_context(listening(lambda peer, kind=kind: kind(here, peer))) for kind in kinds],  # type: ignore[misc]
        )


def shards_of(plan: MailboxPlan, of: int) -> list[MailboxPlan]:
    return [replace(plan, shard=Shard(number, of, plan.shard.start_at_ns)) for number in range(1, of + 1)]


def a_plan(ports: list[int], **given: Any) -> MailboxPlan:
    words = {"duration_ns": 2 * S, "final_ns": 30 * S, "connections": USERS, "run_id": RUN_ID, **given}
    return plan_of(parse_profile(TEXT).profile, ports, **words)


@pytest.mark.parametrize(("of", "workers"), [(1, 3), (3, 1), (4, 3)])
def test_every_user_is_one_shards(of: int, workers: int):
    profile = parse_profile(ADVANCED).profile
    lanes = [Shard(number, of).lane(worker, workers) for number in range(1, of + 1) for worker in range(workers)]
    dealt = [populate(profile, 5).of_worker(*lane) for lane in lanes]
    assert sorted(user.index for users in dealt for user in users) == list(range(500))


def test_limits_are_those_of_all_shards_together():
    plan = a_plan([1, 1, 1], connections=20, workers=2)
    for whole in (20, 175, 6):
        parts = [one.share(whole, worker) for one in shards_of(plan, 3) for worker in range(2)]
        assert sum(parts) == whole
        assert max(parts) - min(parts) <= 2


def test_shards_and_their_files_are_one_run(store: tuple[Store, list[int]], tmp_path: Path):
    there, ports = store
    plan = a_plan(ports, shard=Shard(1, 1, time.time_ns() + 2 * S), mbox=tmp_path / "mail.mbox")
    (tmp_path / "mail.mbox").write_bytes(b"From a@b Thu Jan  1 00:00:00 1970\nSubject: x\n\nhello\n")
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(run_mailbox, shards_of(plan, 3)))
    for number, part in enumerate(parts):
        (tmp_path / f"{number}.json").write_text(part.to_json())
    files = [str(tmp_path / f"{number}.json") for number in range(3)]
    assert call(["merge", *files, "-o", str(tmp_path / "all.json")]) == ExitCode.DONE
    merged = read_results(tmp_path / "all.json")
    assert merged.mailboxes is not None
    assert merged.mailboxes.clean
    assert merged.mailboxes.adds_up
    assert merged.messages.accepted == merged.mailboxes.delivered == sum(part.messages.accepted for part in parts)
    assert merged.commands["login"].count == USERS
    for name, counts in merged.commands.items():
        assert counts.bytes == sum(part.commands[name].bytes for part in parts)
        assert counts.count == sum(part.commands[name].count for part in parts)
    timed = merged.commands["fetch"].latency_ns
    assert timed is not None
    assert timed.count == merged.commands["fetch"].count
    assert [one.number for one in merged.shards] == [1, 2, 3]
    alone = run_mailbox(replace(plan, shard=Shard()))  # the same seed in one process: the same users, the same times
    assert alone.messages.planned == merged.messages.planned
    assert alone.messages.accepted == merged.messages.accepted
    assert alone.commands["login"].count == merged.commands["login"].count
    assert set(there.mail) == {f"u{number}@example.com" for number in range(1, USERS + 1)}
    changed = replace(parts[1], shards=(replace(parts[1].shards[0], files={str(plan.mbox): "00"}),))
    with pytest.raises(ResultsError, match="shards 1 and 2 have different files"):
        merge_shards([parts[0], changed, parts[2]])
    assert call(["merge", *files[:2], "-o", str(tmp_path / "all.json")]) == ExitCode.NOT_VALID


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shard": Shard(1, 2), "run_id": ""}, "expected the id of the run, the same for all of its shards"),
        ({"shard": Shard(1, 8)}, "expected no more workers than clients, got 8 on all machines and 7"),
        ({"run_id": "x"}, 'expected 16 hexadecimal digits, got "x"'),
    ],
)
def test_a_run_too_small_for_its_shards_is_refused(given: dict[str, Any], words: str):
    with pytest.raises(PlanError, match=words):
        a_plan([1, 1, 1], **given)


def test_a_limit_of_deliveries_has_a_place_for_each_process():
    """One for two would be none for the second, and none is no limit."""
    profile = parse_profile(TEXT.replace("total_user", "lmtp_max_parallel_count = 1\ntotal_user")).profile
    with pytest.raises(PlanError, match="expected lmtp_max_parallel_count to be 2 or more"):
        replace(a_plan([1, 1, 1]), profile=profile, workers=2)


def test_more_shards_than_mailboxes_and_a_start_that_is_past_are_refused():
    plan = a_plan([1, 1, 1], connections=40)
    with pytest.raises(PlanError, match="expected a mailbox for each of 9 shards, got 7"):
        run_mailbox(replace(plan, shard=Shard(1, 9)))
    with pytest.raises(PlanError, match="expected a start in the future"):
        run_mailbox(replace(plan, shard=Shard(1, 2, time.time_ns() - S)))
    with pytest.raises(SetupError, match=r"the start was .* ago when all was ready"):
        replace(plan, shard=Shard(1, 2, time.time_ns() - S)).time_zero_ns()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--shard", "1/2", "--run-id", RUN_ID], "expected --start-at, the same for all shards"),
        (["--shard", "1/2", "--start-at", "2099-12-01T10:00:00Z"], "expected --run-id, the same for all shards"),
        (
            ["--cluster", "local:2", "--shard", "1/2", "--run-id", RUN_ID, "--start-at", "2099-12-01T10:00:00Z"],
            "neither",
        ),
        (["--cluster", "local:2", "--password", "x"], "a password would go through the cluster's scheduler"),
        (["--cluster", "local:2", "--rawlog"], "expected neither rawlog nor output="),
    ],
)
def test_options_that_make_no_sense_are_refused(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "profile.conf").write_text(TEXT)
    assert call(["mailbox", "--profile", str(tmp_path / "profile.conf"), *more]) == ExitCode.USAGE
    assert words in capsys.readouterr().err
