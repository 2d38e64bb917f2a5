"""What is sent.

Gives     `Messages`, the messages of a plan by number; `Message`, one of them ready for the wire; `check`, which
          refuses a plan before anything is started for it
Not here  when they start (schedule), how they are handed over (engine)
"""

from trafficgen.workload.messages import Message, Messages, check

__all__ = ["Message", "Messages", "check"]
