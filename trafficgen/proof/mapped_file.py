"""The octets of a manifest or ledger, mapped and not copied.

Takes     a path
Gives     its octets
Fails     ResultsError for what is not there, is empty, or is a pipe, which can be read but once
"""

from pathlib import Path

import numpy as np

from trafficgen.errors import ResultsError
from trafficgen.proof import digits


def octets_of(path: Path) -> digits.Text:
    """All of them."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # opening a pipe would wait for its writer
        raise ResultsError(f'cannot read "{path}": expected a file, found a pipe or device; write it to a file first')
    try:
        return np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is empty"
        raise ResultsError(f'cannot read "{path}": {reason.lower()}') from error
