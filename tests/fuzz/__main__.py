"""`python -m tests.fuzz TARGET [libFuzzer's options] [FOLDER]`; without a folder the seeds are where it starts."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trafficgen.protocol", "trafficgen.sink"]):
    from tests.fuzz.targets import TARGETS

target, *options = sys.argv[1:] or ["session"]
if not any(Path(option).is_dir() for option in options):
    # libFuzzer writes what it finds into the first folder: that must not be the one that is kept.
    options += [tempfile.mkdtemp(prefix="traffic-gen-fuzz-"), str(Path(__file__).with_name("seeds") / target)]
atheris.Setup([sys.argv[0], *options], TARGETS[target])
atheris.Fuzz()
