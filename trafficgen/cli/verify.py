"""`traffic-gen verify`: did everything that was sent arrive?

Takes     manifests of `send --manifest`: one, or those of all shards of a run; the sink's ledgers or the mailboxes that
          were delivered to
Gives     what was delivered, is missing, double, corrupted or late to stdout; exit code 0 or 99
Not here  reading the files (manifest, sink), comparing (measure.proof)
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import click

from mboxgen.console import PATH
from trafficgen.cli.grouped import GroupedCommand, group, options_of
from trafficgen.errors import ExitCode, PlanError

if TYPE_CHECKING:
    from trafficgen.proof.comparison import DeliveryProof
    from trafficgen.proof.ledger_reader import Copies
    from trafficgen.proof.sent import Manifest

EPILOG: Final = """\
Examples:

\b
  traffic-gen verify run.manifest sink.ledger
  traffic-gen verify shard-*.manifest sink-*.ledger
  traffic-gen verify run.manifest --maildir /var/mail/vhosts --late-after 30s

Exit codes: 0 when every accepted message is there, whole, and none is there twice without a lost reply that explains
it; 99 otherwise.
"""

_where = group("Where")
_verdict = group("Verdict")
_output = group("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What `traffic-gen verify` was told, by parameter name."""

    # An option is its field: one, a few lines; a table, which the formatter would take apart.
    # fmt: off
    maildir: Annotated[tuple[Path, ...], _where("--maildir", multiple=True, metavar="PATH", type=PATH,
        help="A Maildir, a folder of many, or a folder of .eml files.")]
    mbox: Annotated[tuple[Path, ...], _where("--mbox", multiple=True, metavar="PATH", type=PATH,
        help="An mbox that was delivered to.")]
    late_after: Annotated[str | None, _verdict("--late-after", metavar="TIME",
        help="Count messages that took longer than this to arrive, such as 30s.")]
    any_recipient: Annotated[bool, _verdict("--any-recipient", is_flag=True,
        help="Compare how many recipients got a message, not which: for a server that rewrites addresses.")]
    as_json: Annotated[bool, _output("--json", "as_json", is_flag=True, help="JSON instead of text.")]
    # fmt: on


@click.command("verify", cls=GroupedCommand, epilog=EPILOG)
@click.argument("manifest", type=PATH)
@click.argument("others", nargs=-1, metavar="[MANIFEST|LEDGER]…", type=PATH)
@options_of(VerifyOptions)
def command(manifest: Path, others: tuple[Path, ...], **given: Any) -> ExitCode:
    """Compare what arrived with what was sent, message by message."""
    from trafficgen.proof import sent as manifests

    options = VerifyOptions(**given)
    late_after_ns = _late_after_ns(options.late_after)
    more = [path for path in others if manifests.is_manifest(path)]
    ledgers = tuple(path for path in others if path not in more)
    sent = manifests.join([manifests.read(path) for path in (manifest, *more)])
    if options.any_recipient:
        sent.accepted.digests[:] = -1
    parts, boot_ids, notes = _arrived(sent, ledgers, options.maildir, options.mbox)
    one_clock = bool(sent.boot_id) and boot_ids <= {sent.boot_id}
    delivery = _compare(sent, parts, one_clock=one_clock, late_after_ns=late_after_ns)
    if options.as_json:
        click.echo(json.dumps({"run_id": sent.run_id, **_plain(delivery)}, indent=2))
    else:
        click.echo("\n".join([*_lines(delivery, options.late_after), *notes]))
    return ExitCode.DONE if delivery.clean else ExitCode.VERDICT_FAILED


def _late_after_ns(text: str | None) -> int | None:
    from trafficgen.units import parse_duration

    try:
        return parse_duration(text) if text is not None else None
    except ValueError as error:
        raise PlanError(str(error), field="late_after", flag="--late-after") from error


def _arrived(
    sent: "Manifest", ledgers: tuple[Path, ...], maildir: tuple[Path, ...], mbox: tuple[Path, ...]
) -> "tuple[list[Copies], set[str], list[str]]":
    """All copies, whose clocks their times are from, and what is worth saying about the files."""
    from mboxgen.counted import plural
    from trafficgen.proof import ledger_reader, mailboxes

    if not (ledgers or maildir or mbox):
        raise PlanError("expected a ledger or a mailbox to look into", field="ledgers", flag="LEDGER")
    log = ledger_reader.read(ledgers, sent.run_id)
    notes = []
    if log.killed:
        notes.append(f"{log.killed} of {log.sinks} sinks were killed, or still run: they wrote no closing line")
    if log.torn:
        notes.append(
            f"{log.torn} torn {plural(log.torn, 'line')}: a sink was killed while it wrote, before it answered"
        )
    others = log.unmarked + sum(count for run, count in log.runs.items() if run != sent.run_id)
    boxes = []
    if maildir:
        boxes.append(mailboxes.read_maildirs(maildir, sent.run_id, sent.wall_offset_ns))
    if mbox:
        boxes.append(mailboxes.read_mboxes(mbox, sent.run_id))
    others += sum(box.others for box in boxes)
    if others:
        one = others == 1
        notes.append(f"{others} {plural(others, 'message')} there {'is' if one else 'are'} not of this run")
    # Times in mailboxes are the time of day of whoever delivered: taken for this machine's.
    return [log.copies, *(box.copies for box in boxes)], log.boot_ids, notes


def _compare(sent: "Manifest", parts: "list[Copies]", *, one_clock: bool, late_after_ns: int | None) -> "DeliveryProof":
    import numpy as np

    from trafficgen.proof.comparison import verify
    from trafficgen.proof.ledger_reader import Copies

    fields = ("numbers", "recipients", "taken_ns", "damaged", "unanswered", "digests")
    return verify(
        sent.accepted,
        sent.in_doubt,
        Copies(
            **{field: np.concatenate([getattr(part, field) for part in parts]) for field in fields},
            intact=np.concatenate([part.damaged if part.intact is None else part.intact for part in parts]),
        ),
        one_clock=one_clock,
        late_after_ns=late_after_ns,
    )


def _lines(delivery: "DeliveryProof", late_after: str | None) -> list[str]:
    doubles = delivery.explained + delivery.unexplained
    lines = [
        f"{delivery.expected} accepted: {delivery.delivered} delivered, {delivery.missing} missing",
        f"{doubles} duplicated: {delivery.explained} explained by a lost reply, {delivery.unexplained} not",
        f"{delivery.corrupted} corrupted, {delivery.unexpected} arrived although never accepted",
    ]
    if delivery.misdelivered:
        lines.append(f"{delivery.misdelivered} misdelivered: a recipient got more than one copy, and another none")
    if delivery.mended:
        lines.append(f"{delivery.mended} mended: a header line of theirs is no field, so a server may end it there")
    if delivery.in_doubt:
        lines.append(f"{delivery.in_doubt} in doubt: {delivery.in_doubt_delivered} of them arrived")
    for what, numbers in (
        ("missing", delivery.missing_numbers), ("unexplained", delivery.unexplained_numbers)
    ):  # fmt: skip
        if numbers:
            lines.append(f"first {what}: {', '.join(f'{number:012d}' for number in numbers)}")
    return lines + _latency_lines(delivery, late_after)


def _latency_lines(delivery: "DeliveryProof", late_after: str | None) -> list[str]:
    from trafficgen.units import format_duration

    if delivery.latencies_ns is None:
        return ["no latency: the ledger is from another machine or another boot, so its clock is another"]
    lines = [f"{delivery.late} later than {late_after}"] if late_after else []
    if percentiles := _percentiles(delivery):
        shown = "  ".join(f"{name} {format_duration(value)}" for name, value in percentiles.items())
        lines.append(f"from start to arrival: {shown}")
    return lines


def _percentiles(delivery: "DeliveryProof") -> dict[str, int]:
    import numpy as np

    if delivery.latencies_ns is None or not delivery.latencies_ns.size:
        return {}
    names = {"min": 0, "p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99.9": 99.9, "max": 100}
    values = np.percentile(delivery.latencies_ns, list(names.values()), method="inverted_cdf")
    return dict(zip(names, (int(value) for value in values), strict=True))


def _plain(delivery: "DeliveryProof") -> dict[str, object]:
    counts = (
        "expected", "delivered", "missing", "in_doubt", "in_doubt_delivered",
        "explained", "unexplained", "corrupted", "unexpected", "late", "misdelivered", "mended",
    )  # fmt: skip
    return {
        **{name: getattr(delivery, name) for name in counts},
        "missing_numbers": list(delivery.missing_numbers),
        "unexplained_numbers": list(delivery.unexplained_numbers),
        "latency_ns": _percentiles(delivery) or None,
    }
