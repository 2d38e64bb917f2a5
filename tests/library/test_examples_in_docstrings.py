"""What docstrings of the library show is run: the same words, the same output."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    ("module", "least"),
    [
        ("trafficgen", 15),
        ("trafficgen.runs.handle", 8),
        ("trafficgen.report.to_tables", 6),
        ("trafficgen.testing", 4),
        ("trafficgen.testing.mail_sink", 3),
    ],
)
def test_examples_do_what_they_show(module: str, least: int) -> None:
    found = doctest.testmod(importlib.import_module(module), raise_on_error=False)
    assert found.failed == 0
    assert found.attempted >= least
