"""Imported last by the process that forks others: their garbage collectors leave alone what it holds by now.

A collection writes into the header of every object that it looks at, and a page that is written to is no longer shared
(https://docs.python.org/3/library/gc.html#gc.freeze): without this each child came to 14 MB of its own by that alone.
"""

import gc

from trafficgen.host.memory import give_back

gc.collect()
give_back()
gc.freeze()
