"""Ask a sink over its API, from another process or another machine.

Takes     the address of the API
Gives     totals; how much of a run has arrived; all copies of a run, as a ledger's reader gives them
Fails     SetupError when nobody answers, or not as a sink does
Not here  the answers (api)
"""

import io
import json
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import numpy as np

from trafficgen.boot import boot_id
from trafficgen.errors import SetupError
from trafficgen.plan import TcpTarget
from trafficgen.sink.arrivals import Arrivals

_PATIENCE_S: Final = 60.0


class RemoteSink:
    """One sink's API."""

    def __init__(self, address: TcpTarget) -> None:
        self.address = address

    def totals(self) -> dict[str, Any]:
        """Everything it has, as it says it."""
        return self._object("/api/v1/totals")

    def arrived(self, run_id: str) -> int:
        """How many different messages of this run it has."""
        return int(self._object(f"/api/v1/runs/{run_id}")["messages"])

    def copies(self, run_id: str) -> int:
        """How many recipients have got messages of this run, again and again counted."""
        return int(self._object(f"/api/v1/runs/{run_id}")["recipients"])

    def shares_our_clock(self, run_id: str) -> bool:
        """Whether its times can be compared with ours."""
        return bool(self._object(f"/api/v1/runs/{run_id}")["boot_id"] == boot_id())

    def arrivals(self, run_id: str) -> Arrivals:
        """Everything of this run."""
        with np.load(io.BytesIO(self._get(f"/api/v1/runs/{run_id}/arrivals")), allow_pickle=False) as columns:
            return Arrivals.of_columns(dict(columns))

    def chaos(self, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
        """The faults at work; with an argument, these from now on."""
        body = None if wanted is None else json.dumps(wanted).encode("utf-8")
        return self._object("/api/v1/chaos", body)

    def _object(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        try:
            value = json.loads(self._get(path, body))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise SetupError(f"expected the API of a sink at {self.address}, got something else")
        return value

    def _get(self, path: str, body: bytes | None = None) -> bytes:
        connection = HTTPConnection(self.address.host, self.address.port, timeout=_PATIENCE_S)
        try:
            connection.request("GET" if body is None else "PUT", path, body)
            response = connection.getresponse()
            octets = response.read()
        except (OSError, HTTPException) as error:
            raise SetupError(f"no answer from the sink's API at {self.address}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise SetupError(f"the sink's API at {self.address} answered {response.status}: {_words(octets)}")
        return octets


def _words(octets: bytes) -> str:
    try:
        return str(json.loads(octets)["error"])
    except (ValueError, KeyError, TypeError):
        return "no words"
