"""Which hosts send together.

Takes     --cluster, --cluster-hosts, --clock-error
Gives     a `Cluster` to run a plan with
Not here  shards without an engine: planning, `traffic-gen merge`
"""

import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from trafficgen import units
from trafficgen.cli.flagged import parse_with
from trafficgen.errors import PlanError, SetupError
from trafficgen.host.extras import advice
from trafficgen.plan.refusals import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trafficgen.cluster.coordinator import Cluster
    from trafficgen.host.signals import RunControl

_WHERE: Final = re.compile(r"local:[1-9]\d{0,3}|(?:tcp|tls)://\S+:\d{1,5}|ssh:.+")


@contextmanager
def cluster_of(
    where: str, hosts: int | None, clock_error: str, control: "RunControl | None" = None
) -> "Iterator[Cluster]":
    """Connected until the end. PlanError for a place that is none, SetupError when nobody answers there,
    KeyboardInterrupt when `control` is asked to stop before."""
    if not _WHERE.fullmatch(where):
        text = f'expected local:N, tcp://SCHEDULER:PORT, tls://SCHEDULER:PORT or ssh:FILE, got "{shown(where)}"'
        raise PlanError(text, field="cluster", flag="--cluster")
    error_ns = parse_with(units.parse_duration, clock_error, "clock_error", "--clock-error")
    try:
        from trafficgen.cluster.dask_engine import DaskEngine
    except ImportError as error:
        raise SetupError(f"--cluster needs Dask, which is not installed: {advice('cluster')}") from error
    from trafficgen.cluster.coordinator import Cluster

    with closing(DaskEngine(where, hosts, control)) as engine:
        yield Cluster(engine, error_ns)
