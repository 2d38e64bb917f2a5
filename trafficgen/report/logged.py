"""What a server's log says, in words and tables, and as plain values for JSON.

Takes     an account of a run by the log; a session report
Gives     sections for people; one JSON object
Not here  finding it out (logs)
"""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from mboxgen.counted import number_of
from mboxgen.enums import table_of
from trafficgen.clock import NS_PER_S
from trafficgen.logs.account import Contradiction, Fate, Group, LogAccount, Whole
from trafficgen.logs.delays import PARTS, DelaysOverTime
from trafficgen.logs.join import Join
from trafficgen.logs.lines import moment
from trafficgen.logs.reading import LinesRead
from trafficgen.logs.sessions import WEEK_NS, Sessions
from trafficgen.measure.histogram import Histogram
from trafficgen.report.logged_client import ClientSide, p99_cell, refusals_plain, refusals_section
from trafficgen.report.section import Row, Section, Tone
from trafficgen.report.words import whole_seconds
from trafficgen.units import format_duration

Fact: TypeAlias = tuple[str, float | str | None, str]
"""A name, its value (None: cannot be known), and where it is known from."""

_QUANTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
_MAX_STRETCHES: Final = 12
_MAX_ROWS: Final = 10
_GROWN: Final = 3
"""A part has grown when its p99 at the end is this many times that at the beginning, and at least `_MATTERS_NS`."""
_MATTERS_NS: Final = NS_PER_S // 10

_PART_WORDS: Final = {
    "before": "a, until the queue manager has it",
    "queued": "b, waiting for a delivery slot",
    "connecting": "c, connecting",
    "sending": "d, sending",
    "delay": "all of it",
}
_PART_MEANS: Final = {
    "before": "cleanup, its disk or the queue manager do not keep up, or messages had to be put off",
    "queued": "there are too few delivery slots (destination_concurrency_limit, default_process_limit)",
    "connecting": "DNS, TLS or accepting connections at the next hop is slow",
    "sending": "the next hop itself is slow",
}
_WHOLE_WORDS: Final = table_of(
    Whole,
    {
        Whole.YES: "nothing says that a line is missing",
        Whole.NO: "no: what is not in it proves nothing",
        Whole.UNKNOWN: "that cannot be known",
    },
)
_BAD: Final = {Fate.NOT_LOGGED, Fate.NOT_ACCEPTED, Fate.REMOVED}


# -- a run ----------------------------------------------------------------------------------------------


def account_sections(
    account: LogAccount, join: Join, about: LinesRead, client: ClientSide | None = None
) -> tuple[Section, ...]:
    """For people: first whether the log is whole, then what became of the messages, then where the time went."""
    made = (
        _lines(about), _whole(account), _fates(account, join), refusals_section(account, join, client),
        _mailboxes(account), *_delays(account, join.delays, client),
    )  # fmt: skip
    return tuple(section for section in made if section.rows or section.notes)


def account_plain(
    account: LogAccount, join: Join, about: LinesRead, client: ClientSide | None = None
) -> dict[str, Any]:  # fmt: skip
    """For JSON. Times are seconds."""
    stretch_s = join.delays.stretch_ns // NS_PER_S
    return {
        "run_id": account.run_id,
        "accepted": account.accepted,
        "in_doubt": account.in_doubt,
        "log": _lines_plain(about),
        "whole": {"verdict": account.whole.value, "reasons": list(account.reasons)},
        "fates": {fate.name.lower(): _group_plain(account.fates[fate], join) for fate in Fate},
        "contradictions": {
            what.name.lower(): _group_plain(account.contradictions[what], join) for what in Contradiction
        },
        "recipients": {"sent": account.sent_recipients, "saved": account.saved_to},
        "attempts": account.attempts,
        "mailboxes": {"messages_saved": account.saved, "messages_discarded": account.discarded},
        "zone_s": None if account.zone_ns is None else account.zone_ns // NS_PER_S,
        "delays_s": {part: _quantiles_plain(one) for part, one in join.delays.total().items()},
        "delays_over_time": {
            "stretch_s": stretch_s,
            "stretches": [
                {
                    "at_s": (at_s := _since_began_s(at_ns, account)),
                    **{part: _quantiles_plain(one[part]) for part in PARTS},
                    "client_p99": _client_p99_s(client, at_s, stretch_s),
                }
                for at_ns, one in join.delays.stretches()
            ],
        },
        "refusals": refusals_plain(account, join, client),
    }


def _lines(about: LinesRead) -> Section:
    rows = [
        ("files", f"{about.files:,}"),
        ("lines", f"{about.lines:,}: {about.understood:,} understood, {about.foreign:,} of other programs"),
    ]
    if about.first_ns is not None and about.last_ns is not None:
        rows.append(("from, to", f"{moment(about.first_ns)} to {moment(about.last_ns)}, as the log has it"))
    strange = f"{about.not_understood:,}"
    shown = [Row(row) for row in rows]
    shown.append(Row(("not understood", strange), Tone.BAD if about.not_understood else Tone.PLAIN))
    notes = tuple(line.decode("utf-8", "backslashreplace")[:200] for line in about.strange[:_MAX_ROWS])
    return Section("log", "ll", tuple(shown), notes=notes)


def _whole(account: LogAccount) -> Section:
    tone = Tone.GOOD if account.whole is Whole.YES else Tone.BAD
    row = Row(("is it whole?", _WHOLE_WORDS[account.whole]), tone)
    return Section("", "ll", (row,), notes=account.reasons)


def _fates(account: LogAccount, join: Join) -> Section:
    rows = [_fate_row(fate.value, account.fates[fate], join, bad=fate in _BAD) for fate in Fate]
    rows += [_fate_row(what.value, account.contradictions[what], join, bad=True) for what in Contradiction]
    found = tuple(row for row in rows if row.cells[1] != "0") or (rows[0],)
    return Section("messages of the run", "lrl", found, ("", "the first"))


def _fate_row(words: str, group: Group, join: Join, *, bad: bool) -> Row:
    first = ", ".join(f"{number:012d} {join.queue_id(number)}".strip() for number in group.first[:2])
    return Row((words, f"{group.messages:,}", first if bad or group.messages else ""), Tone.BAD if bad else Tone.PLAIN)


def _mailboxes(account: LogAccount) -> Section:
    if not (account.saved or account.discarded):
        return Section("", "ll", ())
    rows = [
        Row(("saved to a mailbox", f"{number_of(account.saved, 'message')}, {number_of(account.saved_to, 'copy')}"))
    ]
    if account.discarded:
        rows.append(Row(("thrown away by a filter", f"{number_of(account.discarded, 'message')}"), Tone.BAD))
    return Section("mailboxes", "ll", tuple(rows))


def _delays(account: LogAccount, delays: DelaysOverTime, client: ClientSide | None) -> tuple[Section, ...]:
    total = delays.total()
    known = [part for part in PARTS if total[part].count]
    if not known:
        return ()
    rows = tuple(Row((_PART_WORDS[part], *_quantile_cells(total[part]))) for part in known)
    whole = Section("time in the server", "lrrrr", rows, (*(name for name, _ in _QUANTILES), "max"), _growing(delays))
    return whole, _over_time(account, delays, known, client)


def _quantile_cells(values: Histogram) -> tuple[str, ...]:
    cells = [format_duration(values.quantile_ns(q) or 0) for _, q in _QUANTILES]
    return (*cells, format_duration(values.max_ns or 0))


def _over_time(
    account: LogAccount, delays: DelaysOverTime, known: list[str], client: ClientSide | None
) -> Section:  # fmt: skip
    """At most `_MAX_STRETCHES` rows, each of as many stretches put together. What the client saw is of messages that
    were accepted then; the server's, of those delivered then."""
    stretches = delays.stretches()
    if len(stretches) < 2:
        return Section("", "ll", ())
    step = -(-len(stretches) // _MAX_STRETCHES)
    rows = []
    for begin in range(0, len(stretches), step):
        together = {part: Histogram() for part in known}
        for _, one in stretches[begin : begin + step]:
            for part in known:
                together[part] += one[part]
        since_s = _since_began_s(stretches[begin][0], account)
        label = whole_seconds(since_s) if since_s is not None else moment(stretches[begin][0])
        cells = (format_duration(together[part].quantile_ns(0.99) or 0) for part in known)
        until_s = None if since_s is None else since_s + step * delays.stretch_ns / NS_PER_S
        seen = () if client is None else (p99_cell(client, since_s, until_s),)
        rows.append(Row((label, f"{together[known[-1]].count:,}", *cells, *seen)))
    names = tuple({"before": "a", "queued": "b", "connecting": "c", "sending": "d", "delay": "all"}[p] for p in known)
    names += () if client is None else ("client",)
    return Section("p99 over the run", "lr" + "r" * len(names), tuple(rows), ("delivered", *names))


def _growing(delays: DelaysOverTime) -> tuple[str, ...]:
    """What grew from the first third of the run to the last, and what that means."""
    stretches = delays.stretches()
    third = len(stretches) // 3
    if not third:
        return ()
    found = []
    for part, means in _PART_MEANS.items():
        first, last = (Histogram(), Histogram())
        for _, one in stretches[:third]:
            first += one[part]
        for _, one in stretches[-third:]:
            last += one[part]
        before, after = first.quantile_ns(0.99), last.quantile_ns(0.99)
        if before is not None and after is not None and after > max(_GROWN * before, _MATTERS_NS):
            words = f"{_PART_WORDS[part][:1]} grew from {format_duration(before)} to {format_duration(after)}: {means}"
            found.append(words)
    return tuple(found)


def _since_began_s(at_ns: int, account: LogAccount) -> float | None:
    """Of a stamp of the log, on the run's clock. Stamps that say their zone are UTC already."""
    if account.began_ns is None:
        return None
    return (at_ns - (account.zone_ns or 0) - account.began_ns) / NS_PER_S


def _client_p99_s(client: ClientSide | None, at_s: float | None, stretch_s: int) -> float | None:
    found = client.p99_ns(at_s, at_s + stretch_s) if client is not None and at_s is not None else None
    return None if found is None else found / NS_PER_S


def _quantiles_plain(values: Histogram) -> dict[str, float] | None:
    if not values.count:
        return None
    found = {name: (values.quantile_ns(q) or 0) / NS_PER_S for name, q in _QUANTILES}
    return {"count": values.count, **found, "max": (values.max_ns or 0) / NS_PER_S}


def _group_plain(group: Group, join: Join) -> dict[str, Any]:
    return {
        "messages": group.messages,
        "first": [{"number": number, "queue_id": join.queue_id(number)} for number in group.first],
    }


def _lines_plain(about: LinesRead) -> dict[str, Any]:
    return {
        "files": about.files,
        "lines": about.lines,
        "understood": about.understood,
        "other_programs": about.foreign,
        "not_understood": about.not_understood,
        "not_understood_first": [line.decode("utf-8", "backslashreplace") for line in about.strange],
        "lost": about.lost,
        "first": None if about.first_ns is None else moment(about.first_ns),
        "last": None if about.last_ns is None else moment(about.last_ns),
        "kinds": dict(sorted(about.kinds.items())),
        "cut_off": about.cut_off,
    }


# -- who used it ----------------------------------------------------------------------------------------


def session_sections(sessions: Sessions, about: LinesRead, accounts: set[str] | None) -> tuple[Section, ...]:
    """The session report: each number with its source."""
    facts = tuple(Row((name, _shown(value), source)) for name, value, source in _facts(sessions, about, accounts))
    made = (
        _lines(about),
        Section("sessions", "lrl", facts, ("", "known from"), _no_logins(sessions)),
        _protocols(sessions),
        _top("logins by host", sessions.hosts.most_common()),
        _top(
            "failed logins", [(", ".join(filter(None, key)), count) for key, count in sessions.failures.most_common()]
        ),
        _top("failed logins by host", sessions.failed_hosts.most_common()),
        _top("how sessions ended", [(": ".join(key), count) for key, count in sessions.endings.most_common()]),
        _top("refused", [(" ".join(filter(None, key)), count) for key, count in sessions.rejected.most_common()]),
    )
    return tuple(section for section in made if section.rows or section.notes)


def session_plain(sessions: Sessions, about: LinesRead, accounts: set[str] | None) -> dict[str, Any]:
    """The same for JSON: each fact with its value (null: cannot be known) and its source."""
    return {
        "log": _lines_plain(about),
        "facts": [
            {"name": name, "value": value, "source": source}
            for name, value, source in _facts(sessions, about, accounts)
        ],
        "protocols": {
            name: {
                "logins": one.logins,
                "encrypted": one.encrypted,
                "ended": one.ended,
                "began_before_the_log": one.without_login,
                "connected_s": _quantiles_plain(one.connected),
                "octets_received": one.received if one.octets_known else None,
                "octets_sent": one.sent if one.octets_known else None,
            }
            for name, one in sorted(sessions.protocols.items())
        },
        "logins_by_host": dict(sessions.hosts.most_common()),
        "failures": [
            {"protocol": protocol, "method": method, "reason": reason, "count": count}
            for (protocol, method, reason), count in sessions.failures.most_common()
        ],
    }


def _no_logins(sessions: Sessions) -> tuple[str, ...]:
    if sessions.protocols or sessions.failures:
        return ()
    return ("no login is in this log: sessions, users and hosts are known from Dovecot's lines; give its log, too",)


def _facts(sessions: Sessions, about: LinesRead, accounts: set[str] | None) -> list[Fact]:
    connected = Histogram()
    for one in sessions.protocols.values():
        connected += one.connected
    logins = sum(one.logins for one in sessions.protocols.values())
    before = sum(one.without_login for one in sessions.protocols.values())
    last = max(sessions.last_login_ns.items(), key=lambda pair: pair[1], default=None)
    total_s = _seconds(connected.sum_ns if connected.count else None)
    facts: list[Fact] = [
        ("users", len(sessions.last_login_ns), "Login lines, user="),
        ("hosts", len(sessions.hosts), "Login lines, rip="),
        ("sessions begun", logins, "Login lines"),
        ("begun before the log", before, "logouts without a login"),
        ("open at its end", sessions.open, "logins without a logout"),
        ("connect time, total, s", total_s, "Login, Disconnected"),
        ("connect time, average, s", _seconds(connected.mean_ns), "the same"),
        ("most sessions at a time", sessions.sessions_peak.most, "Login, Disconnected"),
        ("when", _moment(sessions.sessions_peak.at_ns), "the same"),
        ("most users at a time", sessions.users_peak.most, "the same, by user="),
        ("when", _moment(sessions.users_peak.at_ns), "the same"),
        ("last login", last[0] if last else None, "Login lines"),
        ("when", moment(last[1]) if last else None, "the same"),
        ("failed logins", sum(sessions.failures.values()), "auth failed, SASL failed"),
        ("CPU time of sessions", None, "old_stats or cgroup, no log"),
        ("page faults of sessions", None, "old_stats or cgroup, no log"),
    ]  # fmt: skip
    return [*facts, *_account_facts(sessions, about, accounts)]


def _account_facts(sessions: Sessions, about: LinesRead, accounts: set[str] | None) -> list[Fact]:
    """What needs to know who could have logged in. Of a log of less than a week nothing is said about weeks."""
    names = "accounts without a login for a week", "accounts with their first login in the last week"
    if accounts is None or about.first_ns is None or about.last_ns is None:
        return [(name, None, "needs --accounts") for name in names]
    known: list[Fact] = [
        ("accounts", len(accounts), "--accounts"),
        ("accounts without a login", len(accounts - set(sessions.last_login_ns)), "--accounts, Login lines"),
        ("logged in, not in the list", len(set(sessions.last_login_ns) - accounts), "--accounts, Login lines"),
    ]
    if about.last_ns - about.first_ns < WEEK_NS:
        return [*known, *((name, None, "needs a log of a week") for name in names)]
    since_ns = about.last_ns - WEEK_NS
    idle = sum(sessions.last_login_ns.get(one, -1) < since_ns for one in accounts)
    new = sum(sessions.first_login_ns.get(one, -1) >= since_ns for one in accounts)
    return [*known, (names[0], idle, "--accounts, Login lines"), (names[1], new, "--accounts, Login lines")]


def _connected(ns: int | None) -> str:
    """Where stamps are whole seconds, login and logout may have the same."""
    return "–" if ns is None else format_duration(ns) if ns else "under 1 s"


def _protocols(sessions: Sessions) -> Section:
    rows = []
    for name, one in sorted(sessions.protocols.items()):
        octets = f"{one.received:,} / {one.sent:,}" if one.octets_known else "not said"
        p50, p99 = (_connected(one.connected.quantile_ns(q)) for q in (0.5, 0.99))
        rows.append(Row((name, f"{one.logins:,}", f"{one.encrypted:,}", p50, p99, octets)))
    return Section(
        "protocols", "lrrrrr", tuple(rows), ("logins", "with TLS", "connected p50", "p99", "octets in / out")
    )


def _top(title: str, counted: Iterable[tuple[str, int]]) -> Section:
    counted = list(counted)
    rows = [Row((name or "not said", f"{count:,}")) for name, count in counted[:_MAX_ROWS]]
    if rest := counted[_MAX_ROWS:]:
        rows.append(Row((f"{len(rest):,} others", f"{sum(count for _, count in rest):,}")))
    return Section(title, "lr", tuple(rows))


def _shown(value: float | str | None) -> str:
    if value is None:
        return "cannot be known"
    return value if isinstance(value, str) else f"{value:,}"


def _seconds(ns: float | None) -> float | None:
    return None if ns is None else round(ns / NS_PER_S, 3)


def _moment(at_ns: int | None) -> str | None:
    return None if at_ns is None else moment(at_ns)
