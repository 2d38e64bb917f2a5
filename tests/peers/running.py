"""Runs in a few words, and their account in one."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

import trafficgen
from trafficgen import BodyFile, OpenLoop, Plan, Progress, Results, SessionPlan, SizedBodies, TcpTarget, Workload
from trafficgen.plan import Target

NS_PER_S = 1_000_000_000
BODY = Path(__file__).parent / "body.txt"
SCHEMA = Results.schema()


@dataclass(frozen=True)
class Counts:
    """What became of the messages of a run."""

    accepted: int = 0
    rejected_temporary: int = 0
    rejected_permanent: int = 0
    failed: int = 0
    in_doubt: int = 0
    not_started: int = 0


def counts(results: Results) -> Counts:
    """The account of a run that has passed both equations."""
    found = results.messages
    account = Counts(
        found.accepted, found.rejected_temporary, found.rejected_permanent, found.failed, found.in_doubt,
        found.not_started,
    )  # fmt: skip
    started = account.accepted + account.rejected_temporary + account.rejected_permanent
    assert found.started == started + account.failed + account.in_doubt
    assert found.planned == found.started + account.not_started
    return account


def plan_for(
    target: int | Target | None,
    *,
    messages: int | None = None,
    sessions: int = 1,
    workers: int = 1,
    duration_s: float | None = None,
    body: str | None = None,
    load: OpenLoop | None = None,
    keep_going: bool = True,
    grace_s: float = 10.0,
    session: dict[str, Any] | None = None,
    workload: dict[str, Any] | None = None,
    **fields: Any,
) -> Plan:
    """A small plan; a number is a port on the loopback address. Without a size the body is a short file.

    (A worker writes half a megabyte of English before it makes bodies of a size; most tests have no use for it.)
    """
    content = SizedBodies((body,)) if body else BodyFile(BODY)
    return Plan(
        target=TcpTarget("127.0.0.1", target) if isinstance(target, int) else target,
        sessions=sessions,
        max_messages=messages,
        duration_ns=None if duration_s is None else int(duration_s * NS_PER_S),
        workload=Workload(**{"content": content, **(workload or {})}),
        load=load,
        session=SessionPlan(**(session or {})),
        keep_going=keep_going,
        grace_ns=int(grace_s * NS_PER_S),
        workers=workers,
        **{"run_id": secrets.token_hex(8), **fields},
    )


def send(target: int | Target | None, *, progress: Callable[[Progress], None] | None = None, **words: Any) -> Results:
    """Run such a plan; its results fit the schema, and its account adds up at every step on the way."""

    def watch(now: Progress) -> None:
        assert now.snapshot.started == sum(now.snapshot.outcomes)
        assert words.get("messages") is None or now.snapshot.started <= words["messages"]
        if progress:
            progress(now)

    results = trafficgen.run(plan_for(target, **words), progress=watch)
    counts(results)
    jsonschema.validate(json.loads(results.to_json()), SCHEMA)
    return results
