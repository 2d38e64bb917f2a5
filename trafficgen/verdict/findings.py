"""What a check of a server's set-up found: one finding for each thing that was looked at.

Gives     `Finding`, and the exit code of many: 99 when one failed, 120 when nothing could be told
Not here  what is looked at (check), findings in words and pages (report.checked)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from trafficgen.errors import ExitCode

NOT_REACHED: Final = "not reached: "
"""What `Finding.found` begins with where something before it ended the conversation."""


class Grade(Enum):
    """`INCONCLUSIVE`: the server did not let it be told, as one that slows scanners down. `SKIPPED`: not asked for, or
    there is nothing to look at."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """`id` stays the same from version to version. `transcript`: what was said, C: by us, S: by the server."""

    id: str
    service: str
    outcome: Grade
    expected: str
    found: str
    advice: str = ""
    source: str = ""
    transcript: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsScan:
    """What a scanner said of one port: how bad, and its words."""

    tool: str
    port: int
    problems: tuple[tuple[Grade, str], ...]


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """What a command ends with that found this."""
    outcomes = {finding.outcome for finding in findings}
    if Grade.FAIL in outcomes:
        return ExitCode.VERDICT_FAILED
    if not outcomes & {Grade.PASS, Grade.WARN}:
        return ExitCode.INCONCLUSIVE
    return ExitCode.DONE
