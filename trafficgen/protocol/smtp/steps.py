"""The client's steps, one table: what is sent, how long the answer may take, what lets it go on.

    RFC 5321   4.3.2 replies, 4.5.3.2 time limits, 3.8 a 421 at any time    RFC 3207   STARTTLS
    RFC 2920   3.1   which commands end a group                             RFC 4954   AUTH
    RFC 3030   2     BDAT, whose last chunk is the end of data              RFC 2033   4.1 LHLO, 4.2 a reply a recipient

The legal paths, `>` what we send and `<` what we wait for:

    opening     < GREETING > EHLO < (> HELO <), in LMTP < GREETING > LHLO <                                   (opening)
                then, where asked for, > XCLIENT < 220 > EHLO <, and > XFORWARD <
    in groups   > MAIL RCPT… DATA < < < 354 > content, END_OF_DATA and at once the next MAIL RCPT… DATA       (by_data)
    lock-step   > MAIL < > RCPT < … > DATA < 354 > content, END_OF_DATA <                                    (by_steps)
    in chunks   > MAIL RCPT… BDAT n LAST, n octets > RSET and the next one … > EHLO < < < …                  (by_chunks)
    refused     > RSET and the next envelope; a 354 though every recipient was refused: > a lone END_OF_DATA
    idle        > NOOP < and again, in a session that carries no message                                      (holding)
    at the end  > QUIT < 221

Not here  what a reply means for the message (handover), when it is believed (conversation)
"""

from typing import Final, NamedTuple

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase

_MINUTE_S: Final = 60


class Step(NamedTuple):
    """One step of a session.

    `command`: its first octets, b"" when we send none. `limit_s`: how long RFC 5321 section 4.5.3.2 has a client wait
    for the answer, in seconds; `SessionPlan.reply_timeout_ns` stands in for all of them unless it is 0. `words` name it
    in reports. `good`: codes that let the session go on along the legal paths.
    """

    command: bytes
    limit_s: int
    words: str
    good: tuple[int, ...] = ()


STEPS: Final = table_of(Phase, {
    Phase.CONNECT: Step(b"", 5 * _MINUTE_S, "connect"),
    Phase.TLS: Step(b"STARTTLS", 5 * _MINUTE_S, "TLS", (220,)),
    Phase.GREETING: Step(b"", 5 * _MINUTE_S, "greeting", (220,)),  # 4.5.3.2.1
    Phase.EHLO: Step(b"EHLO", 5 * _MINUTE_S, "EHLO", (250,)),
    Phase.HELO: Step(b"HELO", 5 * _MINUTE_S, "HELO", (250,)),
    Phase.LHLO: Step(b"LHLO", 5 * _MINUTE_S, "LHLO", (250,)),
    Phase.AUTH: Step(b"AUTH", 5 * _MINUTE_S, "AUTH", (235,)),
    Phase.XCLIENT: Step(b"XCLIENT", 5 * _MINUTE_S, "XCLIENT", (220,)),  # Postfix's XCLIENT_README
    Phase.XFORWARD: Step(b"XFORWARD", 5 * _MINUTE_S, "XFORWARD", (250,)),  # Postfix's XFORWARD_README
    Phase.MAIL: Step(b"MAIL FROM:", 5 * _MINUTE_S, "MAIL", (250,)),  # 4.5.3.2.2
    Phase.RCPT: Step(b"RCPT TO:", 5 * _MINUTE_S, "RCPT", (250, 251)),  # 4.5.3.2.3
    Phase.DATA: Step(b"DATA", 2 * _MINUTE_S, "DATA", (354,)),  # 4.5.3.2.4
    # 4.5.3.2.6. Of BDAT it is the answer to the last chunk. In LMTP one comes for each recipient that was accepted.
    Phase.END_OF_DATA: Step(b"", 10 * _MINUTE_S, "end of data", (250,)),
    Phase.REQUEST: Step(b"POST ", 10 * _MINUTE_S, "request"),  # HTTP's, where no RFC says how long
    Phase.RSET: Step(b"RSET", 5 * _MINUTE_S, "RSET", (250,)),
    Phase.NOOP: Step(b"NOOP", 5 * _MINUTE_S, "NOOP", (250,)),
    Phase.QUIT: Step(b"QUIT", 5 * _MINUTE_S, "QUIT", (221,)),
    Phase.IDLE: Step(b"", 5 * _MINUTE_S, "idle"),
})  # fmt: skip

TIMED: Final = (Phase.CONNECT, Phase.TLS, Phase.GREETING, Phase.EHLO, Phase.AUTH)
"""Steps of opening a session, each of which has a histogram; LHLO is counted as the EHLO that it is (RFC 2033 4.1)."""

RECIPIENT_OK: Final = STEPS[Phase.RCPT].good
