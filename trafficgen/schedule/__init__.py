"""When messages start.

Gives     `Schedule`: the intended start of arrival 0, 1, 2 … of an open-model run, in ns after the run's start
Not here  the closed loop, which has no schedule: there a message starts when a session is free
"""

from trafficgen.schedule.schedule import Schedule

__all__ = ["Schedule"]
