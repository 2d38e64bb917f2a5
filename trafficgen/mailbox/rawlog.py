"""What was said on one connection, both ways, in a file: to see what a server and a mail program really said.

Takes     octets as they are written and read; after TLS, so in the clear
Gives     FILE: a line for each piece (seconds since the connection was begun, who, how many octets), then the octets
Fails     SetupError when the file cannot be written: a run that was to be logged must not go on without
Note      passwords are in it, so that only its owner may read it
"""

import os
from collections.abc import Sequence
from pathlib import Path

from trafficgen.clock import NS_PER_S
from trafficgen.errors import SetupError


class Rawlog:
    """The file of one connection; one that is there is replaced. It is open only while it is written to."""

    def __init__(self, path: Path, begun_ns: int) -> None:
        self._path = path
        self._begun_ns = begun_ns
        self._write(b"", os.O_TRUNC)

    def add(self, who: str, pieces: Sequence[bytes], now_ns: int) -> None:
        """What `who` said."""
        octets = b"".join(pieces)
        head = f"-- {(now_ns - self._begun_ns) / NS_PER_S:.6f} {who} {len(octets)}\n".encode()
        self._write(head + octets + (b"" if octets.endswith(b"\n") else b"\n"), os.O_APPEND)

    def _write(self, octets: bytes, how: int) -> None:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | how, 0o600)
            with os.fdopen(file, "wb") as log:
                log.write(octets)
        except OSError as error:
            raise SetupError(f'cannot write "{self._path}": {error.strerror} (rawlog)') from error
