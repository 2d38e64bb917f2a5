"""Packages that only some uses need, and the line that installs one.

Takes     the name of an extra, as pyproject.toml has it
Gives     advice that works wherever the program came from: by the name of the package, and from a checkout by the
          extra's. The program itself is on no package index, so its own name is no advice
"""

import shlex
import sys
from typing import Final

EXTRAS: Final = {
    "cluster": "distributed>=2026.1",
    "dkim": "dkimpy[ed25519]>=1.1.8",
    "dns": "dnspython>=2.6",
    "prometheus": "prometheus_client>=0.20",
    "server": "psutil>=6",
}
"""As in pyproject.toml; a test keeps the two alike."""


def advice(extra: str) -> str:
    """What to type so that the extra is there."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    return f"{pip} {shlex.quote(EXTRAS[extra])}; or in a checkout the extra \"{extra}\": {pip} '.[{extra}]'"
