"""The small run made by hand that the tests of reports use too."""

from tests.report.conftest import results

__all__ = ["results"]
