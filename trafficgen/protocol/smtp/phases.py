"""Words for the phases of a mail session, and which of them are timed while it opens.

Not here  what a phase is (`trafficgen.outcomes.Phase`)
"""

from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase

PHASE_WORDS: Final = table_of(Phase, {
    Phase.CONNECT: "connect",
    Phase.TLS: "TLS",
    Phase.GREETING: "greeting",
    Phase.EHLO: "EHLO",
    Phase.HELO: "HELO",
    Phase.AUTH: "AUTH",
    Phase.MAIL: "MAIL",
    Phase.RCPT: "RCPT",
    Phase.DATA: "DATA",
    Phase.END_OF_DATA: "end of data",
    Phase.RSET: "RSET",
    Phase.QUIT: "QUIT",
    Phase.IDLE: "idle",
})  # fmt: skip
"""As they stand in reports."""

TIMED_PHASES: Final = (Phase.CONNECT, Phase.TLS, Phase.GREETING, Phase.EHLO, Phase.AUTH)
"""Steps of opening a session, each of which has a histogram."""
