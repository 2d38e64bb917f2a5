"""The report page of a run that goes on, at http://127.0.0.1:PORT/.

Takes     the results so far, whenever called
Gives     the page, and the numbers it asks for once a second
Fails     with SetupError when the port cannot be had
"""

import json
from typing import Final

from trafficgen.measure.results import Results
from trafficgen.publish.published import Published
from trafficgen.report.to_html import live_page, page_runs


class LivePage(Published):
    """Use as a context manager. Port 0 takes a free one; `port` says which."""

    name: Final = "the live page"

    def __init__(self, port: int) -> None:
        super().__init__(port, "--live-port")
        self.put("/", live_page().encode(), "text/html; charset=utf-8")
        self.put("/runs.json", b"[]", "application/json")

    def __call__(self, results: Results) -> None:
        self.put("/runs.json", json.dumps(page_runs([results])).encode(), "application/json")
