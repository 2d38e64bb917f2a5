"""A process that ends with the SSH connection it was started by: `python -m trafficgen.cluster.over_ssh -m MODULE …`.

Takes     a module and its arguments, and stdin, of which only the end matters
Why       sshd passes no signal on to processes of root, and whoever started them may be gone without a word: a
          scheduler or a worker would be left for ever
"""

import os
import runpy
import sys
import threading
from typing import Final

_FROM_STDIN: Final = 4096


def main() -> None:
    """Run the module as if it had been called itself."""
    threading.Thread(target=_end_with_stdin, name="is the connection there", daemon=True).start()
    _dash_m, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_stdin() -> None:
    while os.read(0, _FROM_STDIN):
        continue
    os._exit(1)


if __name__ == "__main__":
    main()
