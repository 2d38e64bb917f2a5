"""One shard of a run: when it begins, which files it is made from, and what its results say of it.

Takes     the shard of a plan: a part of a run, or the whole of one
Gives     `time_zero`, `files_of`, `record`: what merging needs in order to check that parts belong together
Refuses   a start that is past or far away; files that can be read once only
Not here  what of the run is a shard's (plan.shard), adding results up (measure.merging)
"""

import hashlib
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.errors import PlanError
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.mailbox.population import Population
from trafficgen.measure.generator import ShardRecord
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import BodyFile, Corpus, Plan, Shard

MAX_AHEAD_S: Final = 7 * 86_400
"""A run that waits for longer was given a wrong date."""


def check_start(shard: Shard) -> None:
    """PlanError when the time zero that it names cannot be kept."""
    at_ns = shard.start_at_ns
    if at_ns is None:
        return
    ahead_s = (at_ns - time.time_ns()) / NS_PER_S
    if ahead_s <= 0:
        text = f"expected a start in the future, got one {-ahead_s:,.0f} s ago by this machine's clock"
        raise PlanError(text, field="start_at_ns", flag="--start-at")
    if ahead_s > MAX_AHEAD_S:
        text = f"expected a start within {MAX_AHEAD_S // 86_400} days, got one in {ahead_s / 86_400:,.0f}"
        raise PlanError(text, field="start_at_ns", flag="--start-at")


def time_zero(shard: Shard) -> datetime | None:
    """When the run begins, if that is said."""
    at_ns = shard.start_at_ns
    return None if at_ns is None else datetime.fromtimestamp(at_ns / NS_PER_S, UTC)


def files_of(plan: Plan) -> dict[str, str]:
    """SHA-256 of every file that the messages of a shard are made from, by its path. PlanError for a pipe."""
    if plan.shard.of == 1:
        return {}
    content = plan.workload.content
    paths = [(content.path, "--mbox or --body-file")] if isinstance(content, BodyFile | Corpus) else []
    if plan.workload.recipients_file is not None:
        paths.append((plan.workload.recipients_file, "--recipients-from"))
    return {str(path): _digest(path, flag) for path, flag in paths}


def files_of_users(plan: MailboxPlan, population: Population) -> dict[str, str]:
    """The same of a mailbox run: its mail; of files with users the names alone, as they have passwords beside them."""
    if plan.shard.of == 1:
        return {}
    files = {} if plan.mbox is None else {str(plan.mbox): _digest(plan.mbox, "mbox=")}
    for path in dict.fromkeys(section.userfile for section in plan.profile.users if section.userfile):
        names = [user.name for user in population.users if user.section.userfile == path]
        files[str(path)] = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return files


def _digest(path: Path, flag: str) -> str:
    if path.exists() and not path.is_file():
        raise PlanError(f'expected a file for a shard, got "{path}", which can be read once', field="shard", flag=flag)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PlanError(f'cannot read "{path}": {error.strerror}', field="shard", flag=flag) from error


def host_name() -> str:
    """What this machine calls itself."""
    return platform.node()


def record(
    shard: Shard, planned_by_all: int | None, snapshot: Snapshot, files: Mapping[str, str]
) -> tuple[ShardRecord, ...]:
    """What the results of a shard say of it; nothing for a run that is whole."""
    if shard.of == 1:
        return ()
    began_ns = snapshot.began_ns
    first, last, end, answered = (
        None if at_ns is None else at_ns - began_ns
        for at_ns in (
            snapshot.first_start_ns, snapshot.last_start_ns, snapshot.last_end_ns, snapshot.last_answered_ns
        )
    )  # fmt: skip
    zero = time_zero(shard)
    return (
        ShardRecord(
            number=shard.number,
            of=shard.of,
            start_at=zero.isoformat(timespec="milliseconds") if zero else None,
            planned_by_all=planned_by_all,
            host=host_name(),
            first_start_ns=first,
            last_start_ns=last,
            last_end_ns=end,
            last_answered_ns=answered,
            files=dict(files),
        ),
    )
