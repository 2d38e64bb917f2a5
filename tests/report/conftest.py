"""A small run, made by hand, that has something of everything."""

import pytest

from trafficgen.measure.counts import Domain, FailureCount, Latency, MessageCounts, Rate, ReplyCount
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.measure.generator import Generator, Host, Run, WorkerHealth
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.phases import OF_OLD_FILES
from trafficgen.measure.results import Results
from trafficgen.measure.timeline import Interval
from trafficgen.outcomes import Phase, StoppedBy

US, MS = 1_000, 1_000_000
LIMIT = "the generator, not the server, was the limit: worker 1 used 97% of its core (1 of 2 workers above 85%)"


def latency(count: int, middle_ns: int) -> Latency:
    tenth = middle_ns // 10
    return Latency(
        count=count,
        min=tenth,
        mean=middle_ns + tenth,
        p50=middle_ns,
        p75=middle_ns * 2,
        p90=middle_ns * 3,
        p95=middle_ns * 4,
        p99=middle_ns * 5,
        p99_9=middle_ns * 10,
        max=middle_ns * 100,
    )


@pytest.fixture
def results() -> Results:
    """A thousand messages planned in the open model, two not accepted, one in doubt, five not started."""
    latencies: dict[str, Latency | None] = dict.fromkeys(OF_OLD_FILES.stretches)
    latencies |= {
        "service": latency(992, 420 * US),
        "response": latency(1_992, 2 * MS),
        "service_rejected": latency(1, 1_500 * MS),
        "connect": latency(20, 85 * US),
        "tls": latency(20, 3_210 * US),
        "end_of_data": latency(993, 400 * US),
    }
    return Results(
        schema_version=1,
        complete=True,
        valid=True,
        stopped_by=StoppedBy.DEADLINE,
        run=Run(
            id="9f3a6c1e02b4d857",
            seed=42,
            started_at="2026-11-22T00:24:36.484+00:00",
            duration_s=2.5,
            tool_version="0.1.0",
            target="mail.test:2525",
            addresses=("10.0.0.7", "fd00::7"),
            model="open",
            command=("traffic-gen", "--target", "mail.test:2525"),
        ),
        plan={
            "sessions": 20,
            "load": {"rate_per_s": 400.0, "stages": [], "arrivals": "poisson"},
            "workload": {"content": {"sizes": ["10kb:5", "80kb:5"]}},
        },
        host=Host("3.11.7", "Linux", 2),
        messages=MessageCounts(
            planned=1_000,
            started=995,
            accepted=992,
            rejected_temporary=0,
            rejected_permanent=1,
            failed=1,
            in_doubt=1,
            not_started=5,
            bytes=4_960_000,
        ),
        rate=Rate(
            messages_per_s=396.8,
            messages_per_hour=1_428_480,
            bytes_per_s=1_984_000,
            started_per_s=398.4,
            wanted_per_s=400.0,
        ),
        latency_ns=latencies,
        replies=(
            ReplyCount(Phase.RCPT, 550, "5.1.1", 1, "no such user here"),
            ReplyCount(Phase.END_OF_DATA, 250, "2.0.0", 992, "Ok: queued as 4F1C2"),
            ReplyCount(Phase.EHLO, 250, "", 20, "mail.test"),
        ),
        failures=(FailureCount(Phase.CONNECT, "connection refused", 1, "[Errno 111] 10.0.0.7:2525"),),
        domains={
            "aol.com.test": Domain(0.25, 245, 244),
            "gmail.com.test": Domain(0.75, 750, 748),
        },
        ledger=LedgerCounts(992, 992, 0, 0, 0),
        generator=Generator(
            limited=True,
            sentences=(LIMIT,),
            workers=(
                WorkerHealth(0, 0.41, latency(10, 50 * US), latency(500, 20 * US), 10),
                WorkerHealth(1, 0.97, None, None, 10),
            ),
            lost_workers=(),
            sessions_opened=20,
        ),
        caveats=(Caveat(CaveatKind.WORKER_CPU, LIMIT, "use more workers or machines, or ask for less"),),
        timeline=(Interval(0, 1, 995, 992, 0, 1, 1, 1, 4_960_000, 420 * US, 2_100 * US),),
        histograms={},
    )
