"""What is public does not change by accident: names, options and keys are those of the recorded list.

docs/reference/compatibility.md says what may change; `python -m tests.library.public_api --write` records it.
"""

import dataclasses
import enum
import inspect
import pydoc
import typing
from pathlib import Path

import pytest

import trafficgen
from tests.library.public_api import difference
from trafficgen import ExitCode, Results, read_results

OLD = Path(__file__).parent.parent / "report" / "recorded"


def test_what_is_public_is_what_was_recorded() -> None:
    assert not (found := difference()), (
        f"{found}\n\nIf that is meant, and docs/reference/compatibility.md allows it: a line in CHANGELOG.md, and "
        "`python -m tests.library.public_api --write`"
    )


def test_every_type_that_a_public_one_is_made_of_is_public() -> None:
    missing: dict[str, str] = {}
    seen: set[type] = set()

    def look(hint: object, where: str) -> None:
        for part in typing.get_args(hint):
            look(part, where)
        if not isinstance(hint, type) or hint.__module__.partition(".")[0] != "trafficgen" or hint in seen:
            return
        seen.add(hint)
        if hint.__name__ not in trafficgen.__all__:
            missing[hint.__name__] = where
        if dataclasses.is_dataclass(hint):
            for name, part in typing.get_type_hints(hint).items():
                look(part, f"{hint.__name__}.{name}")

    look(trafficgen.Plan, "")
    assert len(seen) > 30
    assert missing == {}


def test_help_tells_of_every_public_name() -> None:
    text = pydoc.plain(pydoc.render_doc(trafficgen))
    assert [name for name in trafficgen.__all__ if name not in text] == []
    for name in trafficgen.__all__:
        value = getattr(trafficgen, name)
        if inspect.isfunction(value) or (isinstance(value, type) and not issubclass(value, enum.Enum)):
            assert inspect.getdoc(value), name


@pytest.mark.parametrize("name", ["results-0.1.0.json", "closed-0.1.0.json"])
def test_results_of_0_1_0_are_read_and_mean_what_they_meant(name: str) -> None:
    results = read_results(OLD / name)
    assert results.run.tool_version == "0.1.0"
    assert (results.valid, results.complete) == (True, True)
    assert results.messages.accepted == results.messages.started > 0
    assert results.exit_code(keep_going=False) is ExitCode.DONE
    assert Results.from_dict(results.to_dict()) == results
