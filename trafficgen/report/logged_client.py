"""What the client saw beside what the server's log says: refusals by code, and latency beside the server's delays.

Takes     the results of the run; the refusals of its log, each second's
Gives     sections for people, and plain values for JSON
Compares  refusals by code alone: a refused session has no queue id, and what one side calls RCPT may be DATA to the
          other
Not here  the delays themselves (logged)
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trafficgen.clock import NS_PER_S
from trafficgen.logs.account import LogAccount
from trafficgen.logs.join import Join
from trafficgen.measure.results import Results
from trafficgen.measure.timeline import latencies_between
from trafficgen.report.section import Row, Section
from trafficgen.units import format_duration

_SLACK_S = 2.0
"""Before and after the run: stamps are whole seconds, and a session is told of after it is over."""
_LEAST_CODE = 400


@dataclass(frozen=True, slots=True)
class ClientSide:
    """The results of the same run. `began_ns`: since 1970."""

    results: Results
    began_ns: int

    def p99_ns(self, from_s: float, to_s: float) -> int | None:
        """Of messages that were accepted then; None when none was."""
        return latencies_between(self.results.timeline, from_s, to_s)


def refusals_in_log(account: LogAccount, join: Join, client: ClientSide | None) -> Counter[tuple[str, str]]:
    """By stage and code. With the results those of the run's time, without them all of the log's."""
    found: Counter[tuple[str, str]] = Counter()
    for (second, zoned, stage, code), count in join.refused.items():
        if client is not None:
            since_s = second - (0 if zoned else account.zone_ns or 0) / NS_PER_S - client.began_ns / NS_PER_S
            if not -_SLACK_S <= since_s <= client.results.run.ended_s + _SLACK_S:
                continue
        found[stage.decode("ascii", "replace"), code.decode("ascii", "replace")] += count
    return found


def refusals_of_client(results: Results) -> Counter[str]:
    """By code, of whatever was answered with it."""
    found: Counter[str] = Counter()
    for reply in results.replies:
        if reply.code >= _LEAST_CODE:
            found[str(reply.code)] += reply.count
    return found


def refusals_section(account: LogAccount, join: Join, client: ClientSide | None) -> Section:
    """By code: what the log has, and what the client was told."""
    logged = refusals_in_log(account, join, client)
    told = refusals_of_client(client.results) if client is not None else Counter[str]()
    codes = sorted({code for _, code in logged} | set(told))
    rows = []
    for code in codes:
        stages = [(stage, count) for (stage, one), count in logged.most_common() if one == code]
        words = ", ".join(f"{stage or 'not said'} {count:,}" for stage, count in stages)
        cells = (code or "no code", f"{sum(count for _, count in stages):,}")
        rows.append(Row((*cells, f"{told[code]:,}", words) if client is not None else (*cells, words)))
    if client is None:
        return Section("refusals in the whole log", "lrl", tuple(rows), ("", "at"))
    return Section("refusals during the run", "lrrl", tuple(rows), ("in the log", "by the client", "logged at"))


def refusals_plain(account: LogAccount, join: Join, client: ClientSide | None) -> list[Mapping[str, Any]]:
    """The same for JSON. `client` is null without results."""
    logged = refusals_in_log(account, join, client)
    told = refusals_of_client(client.results) if client is not None else None
    codes = sorted({code for _, code in logged} | set(told or ()))
    return [
        {
            "code": code,
            "log": sum(count for (_, one), count in logged.items() if one == code),
            "client": None if told is None else told[code],
            "stages": {stage: count for (stage, one), count in logged.most_common() if one == code},
        }
        for code in codes
    ]


def p99_cell(client: ClientSide, from_s: float | None, to_s: float | None) -> str:
    """For a table over the run."""
    found = client.p99_ns(from_s, to_s) if from_s is not None and to_s is not None else None
    return "–" if found is None else format_duration(found)
