"""`traffic-gen mailbox`: imaptest's words or our options to a plan, one run, its table and summary, an exit code.

Takes     imaptest's `key=value` words and bare words, and options for the same; where both say something, the option
Gives     the table on stdout, notices on stderr, then the summary; results as JSON, JUnit and HTML where asked
Not here  the run itself (`trafficgen.mailbox`)
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from mboxgen.console import FILE
from trafficgen.cli.cluster import cluster_of
from trafficgen.cli.judging import RUN_OPTIONS, judged_by, judging_options, observers_for
from trafficgen.cli.options import GroupedCommand, GroupedOption, TextPerLine
from trafficgen.errors import ExitCode, PlanError

if TYPE_CHECKING:
    from trafficgen.host.signals import RunControl
    from trafficgen.mailbox.plan import MailboxPlan, MailboxService
    from trafficgen.measure.results import Results
    from trafficgen.plan import Mechanism
    from trafficgen.runs.monitor import MonitorOptions
    from trafficgen.verdict.thresholds import Threshold

EPILOG: Final = """\
imaptest's words: host= port= pass= user= userfile= mbox= profile= clients= secs=N[,FINAL] seed= output= mech=
stalled_disconnect_timeout= ssl[=any-cert] no_pipelining error_quit disconnect_quit rawlog. Those of its other modes are
not known here.

Examples:

\b
  traffic-gen mailbox pass=testpass host=127.0.0.1 mbox=testmbox profile=pop3-profile.conf clients=100 secs=20
  traffic-gen mailbox --host 10.0.0.9 --profile advanced.conf --password-file secret --duration 10m --json run.json

Exit codes: 0 done, 1 not possible, or commands failed without --keep-going, 2 wrong usage, 99 a threshold failed or
mail is missing, doubled, damaged or in somebody else's mailbox, 105 interrupted, 121 the measurement is not valid.
"""

_SWITCHES: Final = frozenset({"ssl", "no_pipelining", "error_quit", "disconnect_quit", "no_tracking", "rawlog"})
_KEYS: Final = frozenset(
    {
        "host", "port", "pass", "user", "userfile", "mbox", "profile", "clients", "secs", "seed", "output", "mech",
        "stalled_disconnect_timeout", "ssl",
    }
)  # fmt: skip
_NO_EFFECT: Final = {
    "no_tracking": "what was delivered is always held against what was read",
    "user": "the profile names the users",
    "userfile": "the profile names the users",
}
_LOGINS: Final = ("password", "plain", "login", "scram-sha-256", "cram-md5", "xoauth2")
_PROTECTIONS: Final = ("none", "tls", "starttls")


_OPTIONS: Final[list[tuple[str, tuple[str, ...], dict[str, Any]]]] = [
    ("Servers", ("--host",), {"metavar": "HOST", "help": "Where IMAP, POP3 and LMTP are served.  [127.0.0.1]"}),
    (
        "Servers",
        ("--imap",),
        {"metavar": "HOST:PORT", "help": "Where IMAP is served, if not at --host.  [port 143, with TLS 993]"},
    ),
    ("Servers", ("--pop3",), {"metavar": "HOST:PORT", "help": "Where POP3 is served.  [port 110, with TLS 995]"}),
    (
        "Servers",
        ("--lmtp",),
        {"metavar": "HOST:PORT", "help": "Where mail is delivered by LMTP.  [the profile's lmtp_port]"},
    ),
    ("Servers", ("--smtp",), {"metavar": "HOST:PORT", "help": "Deliver by SMTP to this server instead."}),
    ("Servers", ("--imap-tls",), {"type": click.Choice(_PROTECTIONS), "help": "How IMAP is protected.  [none]"}),
    (
        "Servers",
        ("--pop3-tls",),
        {"type": click.Choice(_PROTECTIONS), "help": "How POP3 is protected; starttls is STLS.  [none]"},
    ),
    ("Servers", ("--lmtp-tls",), {"type": click.Choice(_PROTECTIONS), "help": "How deliveries are protected.  [none]"}),
    ("Servers", ("--any-certificate",), {"is_flag": True, "help": "Do not check certificates."}),
    (
        "Servers",
        ("--allow-public-target",),
        {"is_flag": True, "help": "Allow servers outside of private networks: yours."},
    ),
    (
        "Servers",
        ("--allow-real-domains",),
        {"is_flag": True, "help": "Deliver to users on any domain, not only on reserved ones (.test, .example)."},
    ),
    (
        "Users",
        ("--profile",),
        {"type": FILE, "metavar": "FILE", "help": "imaptest's profile: who the users are, and what they do."},
    ),
    ("Users", ("--password",), {"metavar": "TEXT", "help": "Of all users that have none of their own.  [pass]"}),
    (
        "Users",
        ("--password-file",),
        {"type": FILE, "metavar": "FILE", "help": "Read it from the first line of this file."},
    ),
    (
        "Users",
        ("--login",),
        {
            "type": click.Choice(_LOGINS, case_sensitive=False),
            "help": "The command LOGIN, or USER and PASS; or a mechanism of SASL.  [password]",
        },
    ),
    (
        "Users",
        ("--mbox",),
        {"type": FILE, "metavar": "FILE", "help": "The mail that is delivered.  [small mail made on the spot]"},
    ),
    (
        "Users",
        ("--delete-foreign",),
        {"is_flag": True, "help": "Also delete and move mail that is not ours, as the profile says."},
    ),
    (
        "Users",
        ("--seed",),
        {"type": click.IntRange(0), "metavar": "N", "help": "The same seed, the same behaviour.  [0]"},
    ),
    (
        "Load",
        ("--clients",),
        {"type": click.IntRange(1, 1_000_000), "metavar": "N", "help": "Sessions at a time.  [10]"},
    ),
    ("Load", ("--workers",), {"type": click.IntRange(1, 1024), "metavar": "N", "help": "Processes.  [1]"}),
    ("Load", ("--run-id",), {"metavar": "HEX", "help": "16 hexadecimal digits that mark this run's mail.  [random]"}),
    ("Load", ("--start-at",), {"metavar": "TIME", "help": "Begin at this time, such as 2026-12-01T10:00:00Z.  [now]"}),
    (
        "Load",
        ("--shard",),
        {
            "metavar": "I/N",
            "help": "Be part I of N that are started on as many machines with the same options, with its part of the "
            "users. Needs --start-at and --run-id; traffic-gen merge makes one run of the results.",
        },
    ),
    (
        "Load",
        ("--cluster",),
        {
            "metavar": "WHERE",
            "help": "Have the users on several hosts, as one: local:4, tcp://SCHEDULER:8786 of Dask, or ssh:FILE with "
            'a host a line; needs the extra "cluster" there and here.',
        },
    ),
    (
        "Load",
        ("--cluster-hosts",),
        {
            "metavar": "N",
            "type": click.IntRange(2, 10_000),
            "help": "Wait for so many of its workers, and use no more.  [all that are there]",
        },
    ),
    (
        "Load",
        ("--clock-error",),
        {"metavar": "TIME", "default": "50ms", "help": "The most by which a host's clock may be uncertain.  [50ms]"},
    ),
    ("Load", ("--duration",), {"metavar": "TIME", "help": "Begin nothing more after this.  [until Ctrl-C]"}),
    ("Load", ("--final",), {"metavar": "TIME", "help": "For sessions to end by themselves after that.  [30s]"}),
    ("Load", ("--timeout",), {"metavar": "TIME", "help": "For every answer, and for a whole delivery.  [60s]"}),
    ("Load", ("--no-pipelining",), {"is_flag": True, "help": "One command at a time, in LMTP and IMAP."}),
    ("Load", ("--keep-going",), {"is_flag": True, "help": "Exit with 0 also when commands failed."}),
    ("Output", ("--json",), {"metavar": "FILE", "type": FILE, "help": "Write all results as JSON."}),
    (
        "Verdict",
        ("--threshold",),
        {
            "multiple": True,
            "type": TextPerLine(),
            "metavar": "EXPR",
            "help": "What the run must keep to: 'command{fetch}.p99<200ms', 'seen.p95<1s', 'delivery.lost==0'.",
        },
    ),
    (
        "Output",
        ("--rawlog",),
        {"is_flag": True, "help": "Write all that is said by IMAP and POP3 to files rawlog.N here; with passwords."},
    ),
    ("Output", ("--quiet",), {"is_flag": True, "help": "No table and no notices."}),
]


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = judging_options(command, only=RUN_OPTIONS)
    for group, names, settings in reversed(_OPTIONS):
        command = click.option(*names, cls=GroupedOption, group=group, **settings)(command)
    return command


@click.command("mailbox", cls=GroupedCommand, epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_with_options
def command(words: tuple[str, ...], **given: Any) -> ExitCode:
    """Let users get mail by LMTP, and read it and throw it away by POP3 and IMAP, as a profile of imaptest says.

    Every mail carries a mark, and is followed from its delivery to the one who reads it; the account adds up.
    """
    from trafficgen.host.output import Output
    from trafficgen.host.signals import CountedSignals, RunControl

    said, notices = read_words(words)
    plan, more = make_plan(said, given)
    monitor = judged_by(_thresholds(given["threshold"]), given["abort_on_fail"], given["warm_up"], plan.duration_ns)
    files = {f"--{name}": given[name] for name in ("json", "junit", "html") if given[name]}
    outputs = {flag: Output(Path(str(name)), flag) for flag, name in files.items() if name != "-"}
    for output in outputs.values():
        output.check()
    say = (lambda _line: None) if given["quiet"] else _say
    for notice in (*notices, *more):
        say(notice)
    control = RunControl()
    with CountedSignals(control):
        results = _run(plan, monitor, control, given, rows=said.get("output"))
        _write(results, outputs, to_stdout=given["json"] == "-")
    return results.exit_code(keep_going=given["keep_going"])


def read_words(words: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """imaptest's words, and what is to be said about them. PlanError for one that is not known here."""
    said: dict[str, str] = {}
    notices: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not (key in _KEYS if equals else key in _SWITCHES):
            known = ", ".join([*sorted(f"{key}=" for key in _KEYS), *sorted(_SWITCHES)])
            raise _wrong(f'expected one of imaptest\'s words for profiles ({known}), got "{word}"', "words")
        said[key] = value
        if key in _NO_EFFECT:
            notices.append(f"{key} has no effect: {_NO_EFFECT[key]}")
    return said, notices


def make_plan(said: dict[str, str], given: dict[str, Any]) -> "tuple[MailboxPlan, list[str]]":
    """The plan, and notes on the profile. PlanError for what makes no sense."""
    from trafficgen import units
    from trafficgen.cli.flagged import parse_with
    from trafficgen.cli.parsing import parse_shard
    from trafficgen.mailbox.plan import Delivering, MailboxPlan
    from trafficgen.mailbox.reading import read_profile

    path = given["profile"] or said.get("profile")
    if not path:
        raise _wrong("expected a profile: profile=FILE", "--profile")
    profile, notes = read_profile(Path(path))
    secs, _, final = said.get("secs", "").partition(",")

    def time(option: str, word: str, flag: str) -> int | None:
        text = given[option] or word
        return parse_with(units.parse_duration, text, option, flag) if text else None

    clients = given["clients"] or _number(said.get("clients"), "clients=") or 10
    seed = given["seed"] if given["seed"] is not None else _number(said.get("seed"), "seed=") or 0
    mbox = given["mbox"] or said.get("mbox")
    times = {
        "duration_ns": time("duration", secs, "--duration"),
        "final_ns": time("final", final, "--final"),
        "timeout_ns": time("timeout", said.get("stalled_disconnect_timeout", ""), "--timeout"),
    }
    imap, pop3, delivery = _services(said, given, profile.lmtp_port)
    plan = MailboxPlan(
        profile=profile,
        imap=imap,
        pop3=pop3,
        delivery=delivery,
        delivering=Delivering.SMTP if given["smtp"] else Delivering.LMTP,
        password=_password(said, given),
        password_file=Path(given["password_file"]) if given["password_file"] else None,
        login=_login(said, given),
        mbox=Path(mbox) if mbox else None,
        connections=clients,
        workers=given["workers"] or 1,
        pipelining=not (given["no_pipelining"] or "no_pipelining" in said),
        first_error_ends="error_quit" in said or "disconnect_quit" in said,
        delete_foreign=given["delete_foreign"],
        verify_tls=not (given["any_certificate"] or said.get("ssl") == "any-cert"),
        allow_public_target=given["allow_public_target"],
        rawlog=str(Path.cwd()) if given["rawlog"] or "rawlog" in said else None,
        allow_real_domains=given["allow_real_domains"],
        seed=seed,
        run_id=(given["run_id"] or "").lower(),
        shard=parse_shard(
            given["shard"],
            {"--run-id": (given["run_id"], "it tells the mail of this run from all other")},
            given["start_at"],
        ),
        **{name: ns for name, ns in times.items() if ns is not None},
    )
    if given["cluster"] is None:
        return plan.with_password(), list(notes)
    if given["shard"] or given["start_at"]:
        text = "the hosts of a cluster are given their shards and their start: expected neither --shard nor --start-at"
        raise _wrong(text, "--cluster")
    if given["password"] or said.get("pass"):
        text = "a password would go through the cluster's scheduler: give --password-file, which each host reads"
        raise _wrong(text, "--cluster")
    if plan.rawlog or said.get("output"):
        text = "what is said on other hosts is not written here: expected neither rawlog nor output="
        raise _wrong(text, "--cluster")
    return plan.identified(), list(notes)


def _services(
    said: dict[str, str], given: dict[str, Any], lmtp_port: int
) -> "tuple[MailboxService, MailboxService, MailboxService]":
    from trafficgen.mailbox.plan import MailboxService, Protection
    from trafficgen.plan import TcpTarget, parse_target

    host = given["host"] or said.get("host") or "127.0.0.1"
    port = _number(said.get("port"), "port=")

    def service(name: str, usual: tuple[int, int], flag: str, text: str | None) -> MailboxService:
        protection = Protection(given[f"{name}_tls"] or ("tls" if "ssl" in said and name != "lmtp" else "none"))
        standard = usual[protection is Protection.TLS]
        target = parse_target(text, name, flag) if text else TcpTarget(_host_of(host), port or standard)
        if not isinstance(target, TcpTarget):
            raise _wrong("expected HOST:PORT, not a UNIX socket", flag)
        if text and ":" not in text.rpartition("]")[2]:
            target = TcpTarget(target.host, standard)
        return MailboxService(target, protection)

    imap = service("imap", (143, 993), "--imap", given["imap"])
    pop3 = service("pop3", (110, 995), "--pop3", given["pop3"])
    port = None  # imaptest's port= is not that of LMTP
    if given["smtp"]:
        return imap, pop3, service("lmtp", (25, 465), "--smtp", given["smtp"])
    return imap, pop3, service("lmtp", (lmtp_port, lmtp_port), "--lmtp", given["lmtp"])


def _host_of(text: str) -> str:
    from trafficgen.plan import TcpTarget, parse_target

    target = parse_target(text, "host", "--host")
    if not isinstance(target, TcpTarget):
        raise _wrong("expected a host, not a UNIX socket", "--host")
    return target.host


def _password(said: dict[str, str], given: dict[str, Any]) -> str:
    password: str = given["password"] or said.get("pass") or "pass"
    return password


def _login(said: dict[str, str], given: dict[str, Any]) -> "Mechanism | None":
    from trafficgen.plan import Mechanism

    name: str = given["login"] or ("password" if said.get("mech", "login").lower() == "login" else said["mech"])
    if name.lower() == "password":
        return None
    if name.lower() not in _LOGINS:
        raise _wrong(f'expected mech= to be one of {", ".join(_LOGINS[1:])}, got "{name}"', "mech=")
    return Mechanism(name.upper())


def _thresholds(texts: tuple[str, ...]) -> "list[Threshold]":
    from trafficgen.cli.flagged import parse_with
    from trafficgen.mailbox.operations import PHASES
    from trafficgen.verdict.thresholds import parse_threshold

    found = [
        parse_with(lambda text: parse_threshold(text, PHASES), text, "thresholds", "--threshold") for text in texts
    ]
    for threshold in found:
        name = threshold.quantity.command
        if name is not None and name not in PHASES.commands:
            raise _wrong(f'expected a command among {", ".join(PHASES.commands)}, got "{name}"', "--threshold")
    return found


def _run(
    plan: "MailboxPlan", monitor: "MonitorOptions", control: "RunControl", given: dict[str, Any], *, rows: str | None
) -> "Results":
    from trafficgen.mailbox.table import ConsoleTable, Second, tabbed, tabbed_header
    from trafficgen.measure.journal import Journal
    from trafficgen.report.live import Live
    from trafficgen.runs.mailbox import run_mailbox, run_mailbox_monitored

    say = (lambda _line: None) if given["quiet"] else _say
    table = ConsoleTable(plan.connections)
    stream = sys.stderr if given["json"] == "-" else sys.stdout
    with ExitStack() as stack:
        file = stack.enter_context(_opened(rows)) if rows else None
        if file is not None:
            file.write(tabbed_header())
        live = None
        if not given["quiet"] and stream.isatty():
            live = stack.enter_context(Live(planned=None, duration_ns=plan.duration_ns, stream=stream))

        def tell(line: str) -> None:
            if live is not None:
                live.line(line)
            elif not given["quiet"]:
                click.echo(line, file=stream)

        def show(second: Second) -> None:
            if file is not None:
                file.write(tabbed(second))
            for line in table.row(second):
                tell(line)

        runner = run_mailbox
        if (where := given["cluster"]) is not None:
            cluster = cluster_of(where, given["cluster_hosts"], given["clock_error"])
            runner = stack.enter_context(cluster).run_mailbox
        results = run_mailbox_monitored(
            plan,
            monitor,
            journal=Journal(Path(given["json"])) if given["json"] not in (None, "-") else None,
            observers=stack.enter_context(observers_for(given["live_port"], given["metrics_port"], say)),
            on_second=show,
            progress=live.update if live is not None else None,
            say=say,
            control=control,
            runner=runner,
        )
        for line in (*table.totals(), "") if given["cluster"] is None else ():
            tell(line)
    return results


def _write(results: "Results", outputs: dict[str, Any], *, to_stdout: bool) -> None:
    from trafficgen.host.output import attempt_all
    from trafficgen.report import tables
    from trafficgen.report.to_html import to_html
    from trafficgen.report.to_text import write_summary

    made: dict[str, Callable[[], str]] = {
        "--json": results.to_json,
        "--junit": lambda: tables.to_junit([results]),
        "--html": lambda: to_html([results]),
    }
    steps: list[tuple[str, Callable[[], None]]] = [
        (flag, lambda flag=flag, output=output: output.write(made[flag]()))  # type: ignore[misc]
        for flag, output in outputs.items()
    ]
    if to_stdout:
        steps.append(("stdout", lambda: click.echo(results.to_json(), nl=False)))
    stream = sys.stderr if to_stdout else sys.stdout
    steps.append(("stdout", lambda: write_summary(results, stream)))
    attempt_all(steps)


def _opened(path: str) -> TextIO:
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise _wrong(f'cannot write "{path}": {error.strerror}', "output=") from error


def _number(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _wrong(f'expected a whole number, got "{text}"', flag)
    return int(text)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _wrong(text: str, flag: str) -> PlanError:
    return PlanError(text, field=flag.strip("-="), flag=flag)
