"""What pytest gets of this package: the fixture `mail_sink`.

Gives     a `trafficgen.testing.MailSink` for each test that asks for one; the marker `mail_sink` says how it behaves
Cost      nothing for tests that do not ask: everything is imported with the first sink
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trafficgen.testing import MailSink


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line(
        "markers", "mail_sink(**options): how the sink of this test behaves, as trafficgen.testing.MailSink takes it"
    )


@pytest.fixture
def mail_sink(request: pytest.FixtureRequest) -> Iterator["MailSink"]:
    """A mail server on a free port of loopback: `.host`, `.port`, `.messages`, `.wait_for(n)`, `.faults`.

    `@pytest.mark.mail_sink(security="starttls", auth=True)` gives it options (help(trafficgen.testing.MailSink)).
    """
    from trafficgen.testing import MailSink

    marker = request.node.get_closest_marker("mail_sink")
    if marker is not None and marker.args:
        raise pytest.UsageError(f'expected options of mail_sink by name, such as auth=True, got "{marker.args[0]}"')
    with MailSink(**(marker.kwargs if marker is not None else {})) as sink:
        yield sink
