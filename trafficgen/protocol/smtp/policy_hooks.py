"""How a policy changes what a server session does: refuse, wait, stay silent, hang up.

Takes     what a session is about to do, by stage
Gives     the types between a session and its policy, and between a session and its connection
Not here  reasons to refuse: limits, response tables and faults belong to the sink
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Protocol

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.receiver import Receiver

STAGES: Final = table_of(
    [
        Phase.GREETING, Phase.EHLO, Phase.TLS, Phase.AUTH, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.END_OF_DATA,
        Phase.QUIT,
    ],
    {
        Phase.GREETING: "connect",
        Phase.EHLO: "helo",
        Phase.TLS: "starttls",
        Phase.AUTH: "auth",
        Phase.MAIL: "mail",
        Phase.RCPT: "rcpt",
        Phase.DATA: "data",
        Phase.END_OF_DATA: "dot",
        Phase.QUIT: "quit",
    },
)  # fmt: skip
"""Where in a session the policy is asked, in the order of events, with the words of the sink's options. HELO, EHLO and
LHLO are one stage; BDAT is DATA's, and its last octet the end of data."""


class Disposition(Enum):
    """What happens to the connection after a command and its reply."""

    CONTINUE = "continue"
    CLOSE = "close"
    """Send the reply, then close."""
    RESET = "reset"
    """Close with a TCP reset; a reply that was sent may be lost with it."""
    STALL = "stall"
    """Keep the connection open, send nothing more, and discard whatever arrives."""
    STOP_READING = "stop reading"
    """Keep the connection open and read nothing more, so that the client blocks while it sends."""


class Decision(NamedTuple):
    """What to do with a command or a message.

    `reply` None: process it as usual. Otherwise refuse it with these octets; b"" sends no reply. `wait_ns` is the delay
    before anything else. `silent`: process it, but send no reply. `drip_ns` is the delay between octets of the reply.
    `receiver`, at DATA, gives a receiver for this message, in front of the session's.
    """

    reply: bytes | None = None
    wait_ns: int = 0
    silent: bool = False
    drip_ns: int = 0
    disposition: Disposition = Disposition.CONTINUE
    receiver: Callable[[Receiver], Receiver] | None = None


AS_USUAL: Final = Decision()


class PolicyHooks(Protocol):
    """The policy of one session. A decision of None means: as usual."""

    max_octets: int | None
    """The largest message; octets beyond it are discarded and never reach the receiver. None: no limit."""

    def decide(self, stage: Phase, argument: bytes, sender: bytes, octets: int) -> Decision | None:
        """Decide on a command before it is processed.

        `argument` is a name, a mechanism, an address, or at DATA all recipients, one a line; `octets` is the SIZE
        declared with MAIL, 0 for none.
        """

    def accept_mail(self) -> bool:
        """Whether a MAIL without parameters is accepted as usual. False: nothing was counted, call `decide`."""

    def accept_rcpt(self, recipient: bytes) -> bool:
        """The same for RCPT."""

    def accept_data(self) -> bool:
        """The same for DATA."""

    def accept_envelope(self, sender: bytes, recipient: bytes) -> bool:
        """The same for MAIL, RCPT and DATA of one message together. False: ask for each of them."""

    def decide_message(self, sender: bytes, recipients: list[bytes], octets: int) -> Decision | None:
        """Decide on a complete message, before it is accepted."""

    def client(self, address: bytes) -> None:
        """XCLIENT gave the address of the real client."""


class Suspension(Enum):
    """Why a session reads no further, and what its connection has to do; all but the first three are final."""

    WAIT = "wait"
    """Call `resume` after `wait_ns`."""
    DRIP = "drip"
    """Write what was returned octet by octet, `drip_ns` apart, then call `resume`."""
    START_TLS = "start TLS"
    """Write what was returned, start TLS, then call `secured`."""
    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"
    STOP_READING = "stop reading"


FINAL: Final = table_of(
    [one for one in Disposition if one is not Disposition.CONTINUE],
    {
        Disposition.CLOSE: Suspension.CLOSE,
        Disposition.RESET: Suspension.RESET,
        Disposition.STALL: Suspension.STALL,
        Disposition.STOP_READING: Suspension.STOP_READING,
    },
)
