"""Options of `send` that ask a server for more than plain SMTP.

Takes     the options as they were typed
Gives     the plan of extensions
Refuses   what cannot be said in SMTP, with a `PlanError` that names the option
"""

from typing import TYPE_CHECKING, Final

from trafficgen import units
from trafficgen.cli.flagged import parse_with
from trafficgen.clock import NS_PER_S
from trafficgen.errors import PlanError
from trafficgen.plan import ByMode, DeliverBy, ExtensionPlan, Notify, Ret

if TYPE_CHECKING:
    from trafficgen.cli.options import SendOptions

_MODES: Final = {"": ByMode.NOTIFY, "N": ByMode.NOTIFY, "R": ByMode.RETURN}


def extensions(options: "SendOptions") -> ExtensionPlan:
    """The plan of extensions. Raises PlanError."""
    return ExtensionPlan(
        declare_size=options.declare_size,
        notify=_notify(options.notify) if options.notify is not None else (),
        ret=Ret(options.ret.upper()) if options.ret else None,
        original_recipient=options.orcpt,
        binary=options.binarymime,
        require_tls=options.requiretls,
        priority=options.mt_priority,
        deliver_by=_deliver_by(options.deliver_by) if options.deliver_by is not None else None,
    )


def _notify(text: str) -> tuple[Notify, ...]:
    words = [word.strip() for word in text.split(",")]
    known = {one.value: one for one in Notify}
    if unknown := [word for word in words if word.upper() not in known]:
        shown = f"expected NEVER, or some of SUCCESS,FAILURE,DELAY, got {ascii(unknown[0])[:80]}"
        raise PlanError(shown, field="notify", flag="--notify")
    return tuple(known[word.upper()] for word in words)


def _deliver_by(text: str) -> DeliverBy:
    time, _, mode = text.partition(":")
    trace = mode.upper().endswith("T")
    letter = mode.upper().removesuffix("T")
    nanoseconds = parse_with(units.parse_duration, time, "deliver_by", "--deliver-by")
    if letter not in _MODES or nanoseconds % NS_PER_S:
        shown = f"expected whole seconds and a mode N, R, NT or RT, such as 2h:R, got {ascii(text)[:80]}"
        raise PlanError(shown, field="deliver_by", flag="--deliver-by")
    return DeliverBy(nanoseconds // NS_PER_S, _MODES[letter], trace)
