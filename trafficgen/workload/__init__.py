"""What is sent.

Gives     `Messages`, the messages of a plan by number, and `Message`, one of them ready for the wire
Not here  when they start (schedule), how they are handed over (engine)
"""

from trafficgen.workload.messages import Message, Messages

__all__ = ["Message", "Messages"]
