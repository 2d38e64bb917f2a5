"""Packages that we need, those that only some uses need, and the line that installs one.

Takes     the name of an extra, as pyproject.toml has it
Gives     advice that works wherever the program came from: by the name of the package, and from a checkout by the
          extra's. The program itself is on no package index, so its own name is no advice; which versions are installed
"""

import re
import shlex
import sys
from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {
    "arrow": "pyarrow>=16",
    "cluster": "distributed>=2026.1",
    "dkim": "dkimpy[ed25519]>=1.1.8",
    "dns": "dnspython>=2.6",
    "pandas": "pandas>=2.2.2",
    "polars": "polars>=1",
    "prometheus": "prometheus_client>=0.20",
    "server": "psutil>=6",
    "zstd": 'backports.zstd>=1.0; python_version < "3.14"',
}
"""As in pyproject.toml; a test keeps the two alike."""


def advice(extra: str) -> str:
    """What to type so that the extra is there."""
    in_checkout = f"{shlex.quote(sys.executable)} -m pip install '.[{extra}]'"
    return f'{by_package(extra)}; or in a checkout the extra "{extra}": {in_checkout}'


def by_package(extra: str) -> str:
    """The same, where nobody knows of a checkout."""
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(EXTRAS[extra])}"


def libraries() -> dict[str, str | None]:
    """The version of each package that every use needs, by name; None where it is missing.

    Of a copy that was not installed nothing says what it needs: {}.
    """
    from importlib import metadata  # 16 ms that advice does not need

    try:
        required = metadata.requires("traffic-gen") or []
    except metadata.PackageNotFoundError:
        return {}
    return {_name(line): _version(_name(line)) for line in required if "extra ==" not in line}


def extras() -> dict[str, str | None]:
    """The version of the package behind each extra; None where it is missing."""
    found = {extra: _version(_name(line)) for extra, line in EXTRAS.items()}
    if found["zstd"] is None and find_spec("compression") is not None and find_spec("compression.zstd") is not None:
        found["zstd"] = "of Python"
    return found


def _name(requirement: str) -> str:
    named = re.match(r"[\w.-]+", requirement)
    assert named is not None
    return named[0]


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
