"""The version of this program: in results, in reports, and what hosts of one run must have in common."""

from typing import Final

VERSION: Final = "1.0.0"
