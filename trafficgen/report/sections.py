"""What the summary of a run says, before anyone decides how it looks.

Takes     `Results`
Gives     sections: a title, columns, rows of text, notes
Not here  widths, colours, terminals (to_text)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from mboxgen.counted import number_of, plural
from mboxgen.enums import table_of
from trafficgen.clock import NS_PER_S
from trafficgen.measure.counts import Domain, MessageCounts, RecipientCounts
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.generator import ShardRecord, WorkerHealth
from trafficgen.measure.health import MAX_CPU_SHARE
from trafficgen.measure.results import Results
from trafficgen.outcomes import StoppedBy
from trafficgen.report import words
from trafficgen.report.latencies import commands, in_unit, latencies, phases
from trafficgen.report.section import Row, Section, Tone
from trafficgen.report.sessions import idle, target_in_words, targets, tls
from trafficgen.units import format_duration

MAX_ROWS: Final = 10
"""Rows of a long list; the rest is summed in one more."""

MAX_STAGES: Final = 3
"""Of a ramp, named one by one."""

ENDED: Final = table_of(
    StoppedBy,
    {
        StoppedBy.FINISHED: "finished",
        StoppedBy.DEADLINE: "time was up",
        StoppedBy.INTERRUPTED: "interrupted",
        StoppedBy.FIRST_ERROR: "stopped at the first error",
        StoppedBy.WORKER_LOST: "stopped: a worker died",
        StoppedBy.THRESHOLD: "stopped: a threshold failed",
        StoppedBy.UNFINISHED: "not finished",
    },
)


def sections(results: Results) -> tuple[Section, ...]:
    """All that is worth saying about `results`, most important numbers first; empty sections are left out.

    A target that could not be reached has no numbers worth a table.
    """
    if results.failures and not (results.replies or results.generator.sessions_opened or results.messages.in_doubt):
        return _head(results), _no_session(results)
    made = (
        _head(results),
        *((_messages(results), recipients(results)) if sends_mail(results) else ()),
        *((_rates(results), latencies(results)) if sends_mail(results) else ()),
        phases(results),
        tls(results),
        idle(results),
        commands(results),
        _replies(results),
        _failures(results),
        targets(results),
        _domains(results),
        _ledger(results),
        _mailboxes(results),
        _delivery(results),
        _generator(results),
    )
    return tuple(section for section in made if section.rows or section.notes)


def sends_mail(results: Results) -> bool:
    """Whether messages were to be sent at all: not where users only read theirs."""
    return bool(results.messages.planned or not results.commands)


# -- which run ------------------------------------------------------------------------------------------


def _head(results: Results) -> Section:
    run = results.run
    facts = (
        ("run", f"{run.id}, seed {run.seed}"),
        ("begun", f"{_date(run.started_at)} with traffic-gen {run.tool_version}"),
        ("target", target_in_words(results)),
        *((("load", load_in_words(results.plan)), ("content", _content(results))) if sends_mail(results) else ()),
        *([("shards", _shards(results.shards))] if results.shards else ()),
        ("end", end_in_words(results)),
    )
    return Section("", "ll", tuple(Row(fact) for fact in facts))


def end_in_words(results: Results) -> str:
    """How the run ended, and after what time: of a run that was stopped, how long it had gone on by then."""
    after = results.run.stopped_after_s
    if not results.complete:
        return f"not complete: this is the state after {format_duration(results.run.duration_s * NS_PER_S)}"
    if after == 0:
        return f"{ENDED[results.stopped_by]} before it began"
    return f"{ENDED[results.stopped_by]} after {format_duration((after or results.run.duration_s) * NS_PER_S)}"


def _shards(shards: Sequence[ShardRecord]) -> str:
    """How many of them these are, and how close together they began."""
    numbers = ", ".join(str(one.number) for one in shards[:MAX_ROWS]) + ", …" * (len(shards) > MAX_ROWS)
    begun = [one.first_start_ns for one in shards if one.first_start_ns is not None]
    spread = f"; first starts {format_duration(max(begun) - min(begun))} apart" if len(begun) > 1 else ""
    errors = [one.clock_error_ns for one in shards if one.clock_error_ns is not None]
    offset_ns = max((abs(one.clock_offset_ns or 0) for one in shards), default=0)
    known = f", known to {format_duration(max(errors))} and allowed for" if errors else ""
    clock = f"; clocks up to {format_duration(offset_ns)} off{known}" if errors else ""
    whole = f"all {shards[0].of}" if len(shards) == shards[0].of else f"{numbers} of {shards[0].of}"
    return whole + spread + clock


def _date(iso: str) -> str:
    """ "2026-11-22 00:24:36 UTC" from "2026-11-22T00:24:36.484+00:00"."""
    return f"{iso[:10]} {iso[11:19]} UTC"


def load_in_words(plan: Mapping[str, Any]) -> str:
    """When messages were to start, from the plan in a results file."""
    load, sessions = plan.get("load"), plan.get("sessions", 0)
    where = f"{words.count(sessions)} {plural(sessions, 'session')}"
    if profile := plan.get("profile"):
        users = number_of(profile.get("total_user_count", 0), "user")
        return f"{users} as {profile.get('path', '?')} says, {where} at a time"
    if not load:
        return f"closed model, {where}: each sends its next message when the one before is answered"
    stages = load.get("stages") or ()
    rate = f"{words.rate(load['rate_per_s'])}/s"
    how = {"poisson": "Poisson arrivals"}.get(load.get("arrivals"), "evenly spaced")
    if stages:
        rate = f"from {rate} {_stages(stages)}"
    return f"open model, {rate}, {how}, onto {where}"


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    """ "to 200/s in 30.0 s, 1,000/s in 1m 00s"; of many the highest rate and the last."""
    if len(stages) <= MAX_STAGES:
        steps = (f"{words.rate(one['rate_per_s'])}/s in {format_duration(one['duration_ns'])}" for one in stages)
        return f"to {', '.join(steps)}"
    highest = words.rate(max(one["rate_per_s"] for one in stages))
    last, took = words.rate(stages[-1]["rate_per_s"]), format_duration(sum(one["duration_ns"] for one in stages))
    return f"to {last}/s in {len(stages)} stages within {took}, the highest {highest}/s"


def content_in_words(plan: Mapping[str, Any], domains: int) -> str:
    """What was sent, and to how many domains; those of mailbox users are not told apart."""
    workload = plan.get("workload") or {}
    content = workload.get("content") or {}
    what = f"bodies of {' '.join(content['sizes'])}" if "sizes" in content else str(content.get("path", "?"))
    return what if plan.get("profile") else f"{what}, to {words.count(domains)} {plural(domains, 'domain')}"


def _content(results: Results) -> str:
    return content_in_words(results.plan, len(results.domains))


def _no_session(results: Results) -> Section:
    """What came instead of a greeting, and what that means for the messages."""
    messages = results.messages
    lines = [
        f"{results.phases[one.phase]}: {one.reason}, {words.count(one.count)}×, for example: {one.example}"
        for one in sorted(results.failures, key=lambda failure: -failure.count)[:MAX_ROWS]
    ]
    many = f"{words.count(messages.failed)} {plural(messages.failed, 'message')}"
    fate = f"{many} failed, {words.count(messages.not_started)} not started"
    notes = tuple(f"{caveat.text}; {caveat.advice}" for caveat in results.caveats) if not results.valid else ()
    return Section(f"no session: {fate}", "l", tuple(Row((line,), Tone.BAD) for line in lines), notes=notes)


# -- what became of the messages ------------------------------------------------------------------------


def _messages(results: Results) -> Section:
    messages, recipients = results.messages, results.recipients
    partly = recipients.partly_accepted if recipients else 0
    rows = [
        Row(("planned", words.count(messages.planned), "")),
        Row(("started", words.count(messages.started), "")),
        _outcome("accepted", messages.accepted, messages.started, Tone.GOOD),
        *([_outcome("  partly: not for all recipients", partly, messages.started, Tone.BAD)] if partly else ()),
        *_unwanted(messages),
        Row(("not started", words.count(messages.not_started), "")),
        *_retries(results),
    ]
    return Section("messages", "lrr", tuple(rows), header=("count", "of started"))


def _retries(results: Results) -> list[Row]:
    """Tries are counted apart from messages."""
    if (retries := results.retries) is None:
        return []
    return [
        Row(("tried again", words.count(retries.messages), words.share(retries.messages, results.messages.started))),
        Row(("  of these accepted", words.count(retries.accepted), "")),
        Row(("  tries beyond the first", words.count(retries.retries), "")),
    ]


def recipients(results: Results) -> Section:
    """Where messages may have several, and not all of them ended alike."""
    counts = results.recipients
    if counts is None:
        return Section("recipients", "lrr", ())
    rows = [
        Row(("started", words.count(counts.started), "")),
        _outcome("accepted", counts.accepted, counts.started, Tone.GOOD),
        *_unwanted(counts),
    ]
    return Section("recipients", "lrr", tuple(rows), header=("count", "of started"))


def _unwanted(counts: MessageCounts | RecipientCounts) -> list[Row]:
    unwanted = (
        ("rejected, temporary", counts.rejected_temporary),
        ("rejected, permanent", counts.rejected_permanent),
        ("failed", counts.failed),
        ("in doubt", counts.in_doubt),
    )
    return [_outcome(name, number, counts.started, Tone.BAD) for name, number in unwanted]


def _outcome(name: str, number: int, started: int, tone: Tone) -> Row:
    return Row((name, words.count(number), words.share(number, started)), tone if number else Tone.PLAIN)


def _rates(results: Results) -> Section:
    rate = results.rate
    rows = [
        _rate("accepted", rate.messages_per_s, words.rate),
        _rate("data", rate.bytes_per_s, words.size),
    ]
    if rate.wanted_per_s is not None:
        rows.append(_rate("started", rate.started_per_s, words.rate))
        rows.append(_rate("wanted", rate.wanted_per_s, words.rate))
    over_s = results.run.duration_s if rate.over_s is None else rate.over_s
    waited = over_s < results.run.duration_s * 0.99
    notes = (f"over the {format_duration(over_s * 1e9)} in which mail was sent",) if waited else ()
    return Section("rate", "lrrr", tuple(rows), ("per second", "per minute", "per hour"), notes)


def _rate(name: str, per_s: float, form: Any) -> Row:
    return Row((name, form(per_s), form(per_s * 60), form(per_s * 3600)))


# -- what was answered ----------------------------------------------------------------------------------


def _replies(results: Results) -> Section:
    ranked = sorted(results.replies, key=lambda reply: -reply.count)
    rows = [
        Row(
            (results.phases[reply.phase], str(reply.code), reply.enhanced, words.count(reply.count), reply.example),
            Tone.BAD if reply.code >= 400 else Tone.PLAIN,
        )
        for reply in ranked[:MAX_ROWS]
    ]
    rows += _rest(ranked[MAX_ROWS:], lambda rest: ("others", "", "", words.count(rest), ""))
    return Section("replies", "lllrl", tuple(rows), header=("code", "enhanced", "count", "for example"))


def _failures(results: Results) -> Section:
    ranked = sorted(results.failures, key=lambda failure: -failure.count)
    rows = [
        Row(
            (results.phases[failure.phase], failure.reason, words.count(failure.count), failure.example),
            Tone.BAD,
        )
        for failure in ranked[:MAX_ROWS]
    ]
    rows += _rest(ranked[MAX_ROWS:], lambda rest: ("others", "", words.count(rest), ""))
    return Section("failures", "llrl", tuple(rows), header=("what", "count", "for example"))


def _rest(rest: Sequence[Any], form: Any) -> list[Row]:
    return [Row(form(sum(kind.count for kind in rest)))] if rest else []


def _domains(results: Results) -> Section:
    domains = {} if results.plan.get("profile") else results.domains  # users of mailboxes are one, which says nothing
    ranked = sorted(domains.items(), key=lambda item: -item[1].weight)
    started = sum(domain.started for domain in domains.values())
    rows = [_domain(name, (domain,), started) for name, domain in ranked[:MAX_ROWS]]
    rest = [domain for _, domain in ranked[MAX_ROWS:]]
    if rest:
        rows.append(_domain(f"{words.count(len(rest))} others", rest, started))
    return Section("domains", "lrrrr", tuple(rows), header=("wanted", "got", "started", "accepted"))


def _domain(name: str, domains: Iterable[Domain], all_started: int) -> Row:
    together = tuple(domains)
    started = sum(domain.started for domain in together)
    accepted = sum(domain.accepted for domain in together)
    wanted = sum(domain.weight for domain in together)
    cells = (words.share(wanted, 1), words.share(started, all_started), words.count(started), words.count(accepted))
    return Row((words.shorten(name, 40), *cells))


# -- whether to believe it ------------------------------------------------------------------------------


def _ledger(results: Results) -> Section:
    ledger = results.ledger
    if not ledger:
        return Section("ledger", "l", ())
    counts = ["expected", "received", "missing", "duplicated", "corrupted"]
    counts += [name for name in ("mended", "explained") if getattr(ledger, name)]
    line = ", ".join(f"{words.count(getattr(ledger, name))} {name}" for name in counts)
    return Section("ledger", "l", (Row((line,), Tone.GOOD if ledger.clean else Tone.BAD),))


def _mailboxes(results: Results) -> Section:
    """What was delivered against what was read: bad where mail is not where it should be."""
    counts = results.mailboxes
    if counts is None:
        return Section("mailboxes", "l", ())
    rows = [
        Row((name.replace("_", " "), words.count(number)), Tone.BAD if name in _WRONG and number else Tone.PLAIN)
        for name, number in _worth_telling(counts)
    ]
    return Section("mailboxes", "lr", tuple(rows), header=("messages",))


_WRONG: Final = ("missing", "doubled", "damaged", "misplaced")


def _worth_telling(counts: MailboxCounts) -> list[tuple[str, int]]:
    told = ("delivered", "read", "not_yet_due", *_WRONG)
    return [(name, number) for name, number in asdict(counts).items() if number or name in told]


def mailboxes_in_words(counts: MailboxCounts) -> str:
    """The same in one line."""
    return ", ".join(f"{words.count(number)} {name.replace('_', ' ')}" for name, number in _worth_telling(counts))


def _delivery(results: Results) -> Section:
    delivery = results.delivery
    if not delivery:
        return Section("delivery", "l", ())
    rates = f"injected at {delivery.inject_per_s:,.0f}/s, delivered at {delivery.delivered_per_s:,.0f}/s"
    drained = "not all came in time"
    if delivery.in_time:
        took = format_duration(delivery.drained_ns)
        drained = f"drained in {took}" if delivery.drained_ns else "all had arrived when the sending ended"
    lines = [f"{rates}, {drained}"]
    if delivery.explained:
        lines.append(f"{words.count(delivery.explained)} came again because a reply was lost")
    if latency := delivery.latency_ns:
        shares = {
            "p50": latency.p50,
            "p90": latency.p90,
            "p99": latency.p99,
            "p99.9": latency.p99_9,
            "max": latency.max,
        }
        lines.append("end to end: " + "  ".join(f"{name} {format_duration(ns)}" for name, ns in shares.items()))
    if delivery.undelivered and (most := max(delivery.undelivered)):
        at_s = delivery.undelivered.index(most) * delivery.every_s
        lines.append(f"at most {words.count(most)} accepted and not yet arrived, {at_s:g} s after the run began")
    return Section("delivery", "l", tuple(Row((line,)) for line in lines))


def _generator(results: Results) -> Section:
    generator = results.generator
    busiest = sorted(generator.workers, key=lambda worker: -worker.cpu_share)
    shown = sorted(busiest[:MAX_ROWS], key=lambda worker: worker.worker)
    waits = [_waits(worker) for worker in shown]
    unit, ns_per_unit = words.unit_for_all(ns for four in waits for ns in four if ns is not None)
    rows = [
        Row((
            f"worker {worker.worker}",
            f"{worker.cpu_share:.0%}",
            *(in_unit(ns, ns_per_unit) for ns in four),
            words.count(worker.sessions_opened),
        ))
        for worker, four in zip(shown, waits, strict=True)
    ]  # fmt: skip
    notes = [f"{len(busiest) - MAX_ROWS} less busy workers not shown"] if len(busiest) > MAX_ROWS else []
    if busiest and not results.caveats and busiest[0].cpu_share <= MAX_CPU_SHARE:
        share = f"{busiest[0].cpu_share:.0%}"
        notes.append(f"the generator had room to spare: its busiest worker used {share} of a core")
    if generator.ceiling_share is not None:
        share = f"{generator.ceiling_share:.0%}" if generator.ceiling_share >= 0.01 else "less than 1%"
        notes.append(f"the run reached {share} of the rate this machine was found capable of")
    notes += [f"{caveat.text}; {caveat.advice}" for caveat in results.caveats]
    of = f", {unit}: " if any(ns is not None for four in waits for ns in four) else " "
    header = ("CPU", f"woke late{of}p50", "p99", "max", f"lateness{of}p99", "sessions opened")
    return Section("generator", "lrrrrrr", tuple(rows), header, tuple(notes))


def _waits(worker: WorkerHealth) -> tuple[int | None, ...]:
    lag, late = worker.loop_lag_ns, worker.lateness_ns
    lags = (lag.p50, lag.p99, lag.max) if lag else (None, None, None)
    return *lags, late.p99 if late else None
