"""The report page of a run that goes on, at http://127.0.0.1:PORT/.

Takes     the results so far, whenever called
Gives     the page, and the numbers it asks for once a second
Fails     with SetupError when the port cannot be had
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from trafficgen.errors import SetupError
from trafficgen.measure.results import Results
from trafficgen.report.to_html import live_page, page_runs

_HOST: Final = "127.0.0.1"


class LivePage:
    """Use as a context manager. Port 0 takes a free one; `port` says which."""

    def __init__(self, port: int) -> None:
        self._numbers = b"[]"
        self._page = live_page().encode()
        try:
            self._server = ThreadingHTTPServer((_HOST, port), self._handler())
        except OSError as error:
            raise SetupError(f"cannot listen on {_HOST}:{port} for --live-port: {error.strerror}") from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __call__(self, results: Results) -> None:
        self._numbers = json.dumps(page_runs([results])).encode()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                match self.path:
                    case "/":
                        self._answer("text/html; charset=utf-8", page._page)
                    case "/runs.json":
                        self._answer("application/json", page._numbers)
                    case _:
                        self.send_error(404)

            def log_message(self, *_words: Any, **_named: Any) -> None:
                """A browser's every request is not news."""

            def _answer(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

        return Handler
