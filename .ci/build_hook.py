"""What a wheel installs beside the packages: man pages, and completions where three shells look for them.

Takes     a build of the wheel by hatchling, with click at hand
Gives     files for share/ of the prefix that it is installed to, made from the commands of this very tree
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.utils import get_reproducible_timestamp


class SharedFiles(BuildHookInterface):
    """An editable installation has none: they would be of the day it was made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from trafficgen.cli.completion import PLACES, completion_script
        from trafficgen.cli.manual import write_man_pages

        self._folder = tempfile.TemporaryDirectory()
        made = Path(self._folder.name)
        day = datetime.fromtimestamp(get_reproducible_timestamp(), UTC).date()
        for page in write_man_pages(made, day):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"
        for shell, place in PLACES.items():
            for name in ("traffic-gen", "mboxgen"):
                file = made / f"{shell}-{name}"
                file.write_text(completion_script(shell, name), encoding="utf-8")
                build_data["shared_data"][str(file)] = place.format(name)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()
