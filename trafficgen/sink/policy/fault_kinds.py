"""The kinds of faults: one entry for each, in one place.

Gives     `FaultKind`; options, help, docs/cli.md, the API's lines, parsing and effect all follow from its members
Not here  lines and drawing (faults), carrying out a decision (protocol/smtp, listen)

To add a kind, add a member. What a member cannot say with a `Decision` needs a new field of it; a kind that changes
messages puts a `Receiver` of its own in front of the store (`Decision.receiver`).
"""

from collections.abc import Callable, Collection
from enum import Enum
from functools import partial
from typing import Final, NamedTuple

from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.policy_hooks import STAGES, Decision, Disposition
from trafficgen.sink.policy.delay import DISTRIBUTIONS, Delay
from trafficgen.sink.policy.replies import render

Value = Delay | int
"""What stands after the stage; a delay draws a number each time."""

_GARBAGE: Final = b"\x00\x9f!?*~ 999-#\xff\r\n"


class Parameter(NamedTuple):
    """What stands after the stage. `read` raises ValueError."""

    metavar: str
    pattern: str
    read: Callable[[str], Value]
    show: Callable[[Value], str] = str


def _read_code(text: str) -> int:
    if not (len(text) == 3 and text.isdecimal() and text.isascii() and text[0] in "45"):
        raise ValueError(f'expected a code from 400 to 599, got "{text}"')
    return int(text)


def _read_size(text: str) -> int:
    from mboxgen.recipe.sizes import parse_size  # 80 ms that help does not need

    return parse_size(text)


_NOTHING: Final = Parameter("STAGE", "()", lambda _: 0, lambda _: "")
_TIME: Final = Parameter("STAGE:TIME", rf":((?:(?:{'|'.join(DISTRIBUTIONS)}):)?[^:]+)", Delay)
_CODE: Final = Parameter("STAGE:CODE", ":([^:]+)", _read_code)
_SIZE: Final = Parameter("STAGE:SIZE", ":([^:]+)", _read_size)
_AFTER: Final = Parameter(
    "STAGE[:after]", "(?::(before|after))?", lambda text: text == "after", lambda after: "after" if after else ""
)


def reject_text(code: int) -> bytes:
    """The reply with a code, with the enhanced code of its class (RFC 3463)."""
    return render(code, f"{code // 100}.7.0 refused on purpose: this is a test")


def _ends_with(disposition: Disposition) -> Callable[[Phase, int], Decision]:
    """Instead of processing the command, or once it has been processed."""

    def effect(stage: Phase, after: int) -> Decision:
        if not after:
            return Decision(reply=b"", disposition=disposition)
        if stage is Phase.DATA and disposition is Disposition.STALL:
            return Decision(disposition=Disposition.STOP_READING)
        # After STARTTLS the reply is sent, and then there is no handshake.
        return Decision(silent=stage is not Phase.TLS, disposition=disposition)

    return effect


def _truncate(_stage: Phase, octets: int) -> Decision:
    from trafficgen.sink.policy.truncation import Truncated

    return Decision(receiver=partial(Truncated, octets))


class FaultKind(Enum):
    """What happens: the form of the option, its help, its effect, the stages at which it may happen."""

    DELAY = (_TIME, "Wait: dot:50ms, rcpt:uniform:10ms-2s:10%.", lambda _, time_ns: Decision(wait_ns=time_ns))
    DRIP = (
        _TIME,
        "Send the reply octet by octet, so far apart.",
        lambda _, time_ns: Decision(drip_ns=time_ns),
    )
    REJECT = (_CODE, "Refuse: rcpt:450:5%.", lambda _, code: Decision(reply=reject_text(code)))
    DROP = (
        _AFTER,
        "Close the connection, before processing the command or after; dot:after accepts the message unanswered.",
        _ends_with(Disposition.CLOSE),
    )
    RESET = (_AFTER, "The same with a TCP reset.", _ends_with(Disposition.RESET))
    STALL = (
        _AFTER,
        "Send nothing more, but keep the connection; data:after reads nothing more.",
        _ends_with(Disposition.STALL),
    )
    GARBAGE = (_NOTHING, "Answer with octets that are no reply.", lambda *_: Decision(reply=_GARBAGE))
    TRUNCATE = (
        _SIZE,
        "Accept a message, but keep only so much of its beginning: data:2kb:1%. verify calls it corrupted.",
        _truncate,
        (Phase.DATA,),
    )

    def __init__(
        self,
        parameter: Parameter,
        help_text: str,
        effect: Callable[[Phase, int], Decision],
        stages: Collection[Phase] = tuple(STAGES),
    ) -> None:
        self.word = self._name_.lower()
        """Its word in the API's lines."""
        self.option = f"--{self.word}"
        self.metavar = f"{parameter.metavar}[:ODDS]"
        self.parameter = parameter
        self.help_text = help_text
        self.effect = effect
        """The decision at a stage for the value, a delay's drawn one."""
        self.stages = stages
