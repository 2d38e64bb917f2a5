"""Ask a sink over its API, from another process or another machine.

Takes     the address of the API
Gives     totals; how much of a run has arrived; every message of a run that has, as a ledger's reader gives them
Limits    each answer has a size and a time, whoever gives it; a redirection is not followed
Fails     SetupError, in one line, when nobody answers, not in time, or not as a sink does
Not here  the answers (api), whether the address is one that we may connect to (guard)
"""

import io
import json
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final

import numpy as np
from numpy.lib import format as numpy_format
from numpy.typing import NDArray

from trafficgen.errors import SetupError
from trafficgen.host.machine_clock import boot_id
from trafficgen.plan import TcpTarget
from trafficgen.proof.ledger_reader import Copies, joined

_ANSWER_S: Final = 10.0
_ARRIVALS_S: Final = 60.0
_LOOK_S: Final = 0.1
_OBJECT_OCTETS: Final = 4 << 20
"""A sink knows 1,000 runs at most (`arrivals.MAX_RUNS`), in 150 octets each."""

_MESSAGE_OCTETS: Final = 80
"""Of a message in `arrivals`: seven columns of eight octets at most."""

_STRAYS: Final = 1 << 20
"""Messages that a sink may claim beyond those of the run."""

_COLUMNS: Final = ("numbers", "recipients", "first_ns", "damaged", "unanswered")
_MAX_WORDS: Final = 200


class RemoteSink:
    """One sink's API.

    `addresses`: what `address` was resolved to; nothing else is connected to then. `cancelled` is asked ten times a
    second while an answer is waited for: whether to give up.
    """

    def __init__(
        self,
        address: TcpTarget,
        addresses: Sequence[TcpTarget] = (),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.address = address
        self.cancelled = cancelled
        self._addresses = tuple(addresses) or (address,)

    def totals(self) -> dict[str, Any]:
        """Everything it has, as it says it."""
        return self._object("/api/v1/totals")

    def arrived(self, run_id: str) -> int:
        """How many different messages of this run it has."""
        return self._count(run_id, "messages")

    def copies(self, run_id: str) -> int:
        """How many recipients have got messages of this run, again and again counted."""
        return self._count(run_id, "recipients")

    def shares_our_clock(self, run_id: str) -> bool:
        """Whether its times can be compared with ours."""
        return bool(self._object(f"/api/v1/runs/{run_id}").get("boot_id") == boot_id())

    def arrivals(self, run_id: str, messages: int) -> Copies:
        """Everything of this run, a row for each message. `messages`: how many it had, which bounds the answer."""
        limit = (messages + _STRAYS) * _MESSAGE_OCTETS
        octets = self._get(f"/api/v1/runs/{run_id}/arrivals", None, limit, _ARRIVALS_S)
        try:
            return _copies(octets)
        except (ValueError, KeyError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise self._something_else(f"arrivals that cannot be read: {_printable(str(error))}") from error

    def chaos(self, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
        """The faults at work; with an argument, these from now on."""
        body = None if wanted is None else json.dumps(wanted).encode("utf-8")
        return self._object("/api/v1/chaos", body)

    def _count(self, run_id: str, key: str) -> int:
        count = self._object(f"/api/v1/runs/{run_id}").get(key)
        if type(count) is not int or not 0 <= count < 2**63:
            raise self._something_else(f"{key}: {_printable(repr(count))}")
        return count

    def _object(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        octets = self._get(path, body, _OBJECT_OCTETS, _ANSWER_S)
        try:
            value = json.loads(octets)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._something_else(_printable(octets[:_MAX_WORDS].decode("ascii", "replace")) or "nothing")
        return value

    def _something_else(self, what: str) -> SetupError:
        return SetupError(f"expected the API of a sink at {self.address}, got {what}")

    def _get(self, path: str, body: bytes | None, limit: int, patience_s: float) -> bytes:
        try:
            with closing(self._connected()) as connection, self._bounded(connection.sock, patience_s):
                connection.request("GET" if body is None else "PUT", path, body)
                response = connection.getresponse()
                octets = _read(response, limit)
        except (OSError, HTTPException, ValueError) as error:
            words = _printable(str(error) or type(error).__name__)
            raise SetupError(f"no answer from the sink's API at {self.address}: {words}") from error
        if len(octets) > limit:
            raise self._something_else(f"more than {limit} octets")
        if response.status != 200:
            raise SetupError(f"the sink's API at {self.address} answered {response.status}: {_words(octets)}")
        return octets

    def _connected(self) -> HTTPConnection:
        failed: OSError | None = None
        for address in self._addresses:
            connection = HTTPConnection(address.host, address.port, timeout=_ANSWER_S)
            try:
                connection.connect()
            except OSError as error:
                failed = error
            else:
                return connection
        assert failed is not None
        raise failed

    @contextmanager
    def _bounded(self, connected: socket.socket, patience_s: float) -> Iterator[None]:
        """Cut the connection off after so long: a limit on each read lets one that drips go on for ever."""
        over = threading.Event()
        cut: list[str] = []

        def watch() -> None:
            for _ in range(round(patience_s / _LOOK_S)):
                if over.wait(_LOOK_S):
                    return
                if self.cancelled():
                    cut.append("interrupted")
                    break
            else:
                cut.append(f"not within {patience_s:.0f} s")
            with suppress(OSError):  # it has just ended by itself
                connected.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=watch, name="answer", daemon=True)
        thread.start()
        try:
            yield
        except (OSError, HTTPException, ValueError) as error:
            if cut:
                raise TimeoutError(cut[0]) from error
            raise
        finally:
            over.set()
            thread.join()
        if cut:
            raise TimeoutError(cut[0])


class RemoteSinks:
    """Several sinks that one server delivers to, asked as one."""

    def __init__(self, sinks: Sequence[RemoteSink]) -> None:
        self._sinks = tuple(sinks)

    @property
    def cancelled(self) -> Callable[[], bool]:
        """As a sink's own."""
        return self._sinks[0].cancelled

    @cancelled.setter
    def cancelled(self, asked: Callable[[], bool]) -> None:
        for sink in self._sinks:
            sink.cancelled = asked

    def arrived(self, run_id: str) -> int:
        """How many different messages of this run each has, added up."""
        return sum(sink.arrived(run_id) for sink in self._sinks)

    def copies(self, run_id: str) -> int:
        """How many recipients have got messages of this run, again and again counted."""
        return sum(sink.copies(run_id) for sink in self._sinks)

    def shares_our_clock(self, run_id: str) -> bool:
        """Whether the times of all can be compared with ours; one that has nothing of the run does not matter."""
        having = [sink for sink in self._sinks if sink.copies(run_id)]
        return all(sink.shares_our_clock(run_id) for sink in having or self._sinks)

    def arrivals(self, run_id: str, messages: int) -> Copies:
        """Everything of this run, of each sink a row for each message."""
        return joined([sink.arrivals(run_id, messages) for sink in self._sinks])


def _read(response: HTTPResponse, limit: int) -> bytes:
    """The body, or one octet more than `limit` of it."""
    pieces, room = [], limit + 1
    while room and (piece := response.read(min(room, 1 << 20))):
        pieces.append(piece)
        room -= len(piece)
    if room and response.length:
        raise HTTPException("the answer was cut off")
    return b"".join(pieces)


def _copies(octets: bytes) -> Copies:
    """What `api` packed. Raises ValueError, KeyError or BadZipFile for anything else."""
    columns = _columns(octets)
    numbers, recipients, first_ns, damaged, unanswered = (columns[name] for name in _COLUMNS)
    digests = columns.get("digests", np.full(numbers.size, -1, np.int64))
    if {numbers.ndim, recipients.ndim, first_ns.ndim, damaged.ndim, digests.ndim} != {1}:
        raise ValueError("expected columns")
    if not numbers.size == recipients.size == first_ns.size == digests.size:
        raise ValueError("expected columns of one length")
    if unanswered.shape[1:] != (2,):
        raise ValueError("expected pairs of numbers and recipients")
    if np.any(np.diff(numbers) <= 0) or np.any(numbers < 0) or np.any(recipients < 1) or np.any(first_ns < 0):
        raise ValueError("expected every message once, in order, with its recipients")
    if max(recipients.max(initial=0), unanswered.max(initial=0), digests.max(initial=0)) >= 2**32:
        raise ValueError("expected numbers of recipients, and digests of 32 bits")
    if unanswered.min(initial=0) < 0 or digests.min(initial=0) < -1:
        raise ValueError("expected nothing below zero")
    lost = np.zeros(numbers.size, np.int64)
    known = np.isin(unanswered[:, 0], numbers)
    np.add.at(lost, np.searchsorted(numbers, unanswered[known, 0]), unanswered[known, 1])
    return Copies(numbers, recipients, first_ns, np.isin(numbers, damaged), lost, digests)


def _columns(octets: bytes) -> dict[str, NDArray[np.int64]]:
    """An archive of numpy's, of whole numbers. No header is believed about a size: what is there has to be so long."""
    columns = {}
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("expected it not compressed")
            file = io.BytesIO(archive.read(member))
            if numpy_format.read_magic(file) != (1, 0):
                raise ValueError("expected numpy's format 1.0")
            shape, fortran_order, kind = numpy_format.read_array_header_1_0(file)
            values = file.read()
            if kind != np.dtype("<i8") or fortran_order or any(length < 0 for length in shape):
                raise ValueError("expected whole numbers of 64 bits")
            columns[member.filename.removesuffix(".npy")] = np.frombuffer(values, np.int64).reshape(shape)
    return columns


def _words(octets: bytes) -> str:
    try:
        return _printable(str(json.loads(octets)["error"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return "no words"


def _printable(text: str) -> str:
    """Text of a stranger: a part of a line, with nothing in it that commands a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text[:_MAX_WORDS])
