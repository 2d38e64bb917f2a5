"""What all hosts of a run must agree in before it begins.

Takes     what each has found for its shard
Gives     a line on what they agreed in
Fails     SetupError that names two hosts and what differs: files, addresses of the target, versions
"""

from collections.abc import Sequence

from trafficgen.cluster.shard import HostShard
from trafficgen.errors import SetupError
from trafficgen.host.version import VERSION


def check(target: str | None, shards: Sequence[HostShard]) -> str | None:
    """None where there is no target."""
    for shard in shards:
        if shard.found.version != VERSION:
            raise SetupError(f"{shard.who} has traffic-gen {shard.found.version}, and this is {VERSION}")
    first, *others = shards
    for shard in others:
        for path, digest in first.found.files.items():
            if shard.found.files.get(path) != digest:
                raise SetupError(f'{first.who} and {shard.who} have different files: "{path}"')
        if set(shard.found.addresses) != set(first.found.addresses):
            ours, theirs = ", ".join(first.found.addresses), ", ".join(shard.found.addresses)
            raise SetupError(
                f"{target} is {ours} for {first.who} and {theirs} for {shard.who}: expected one answer everywhere"
            )
    return f"target {target} is at {', '.join(first.found.addresses)} for all shards" if first.found.addresses else None
