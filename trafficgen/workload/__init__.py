"""What is sent.

Gives     `Messages`, the messages of a plan by number; `BuiltMessage`, one of them ready for the wire; `check`, which
          refuses a plan before anything is started for it; `read_body`, what its body file holds; `prepared` and
          `mendable`, for a plan with a corpus; `AS_DELIVERED`, a layout without a protocol
Not here  when they start (schedule), how they are handed over (engine)
"""

from trafficgen.workload.corpus import mendable, prepared
from trafficgen.workload.mail_layout import AS_DELIVERED
from trafficgen.workload.messages import BuiltMessage, Messages, check, read_body

__all__ = ["AS_DELIVERED", "BuiltMessage", "Messages", "check", "mendable", "prepared", "read_body"]
