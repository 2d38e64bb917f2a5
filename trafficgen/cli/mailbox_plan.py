"""imaptest's words and our options for the same, understood: a plan.

Takes     `key=value` words and bare words; options by name
Gives     a `MailboxPlan`; where a word and an option say something, the option
Refuses   words that are none of imaptest's for profiles, values that make no sense: PlanError
Not here  the options themselves (`mailbox_options`), the profile's file (mailbox.reading)
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trafficgen.cli.mailbox_options import LOGINS
from trafficgen.errors import PlanError

if TYPE_CHECKING:
    from trafficgen.mailbox.plan import MailboxPlan, MailboxService
    from trafficgen.plan import Mechanism

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
WORDS_OF: Final = {
    "host": "host", "password": "pass", "password_file": "pass", "mbox": "mbox", "profile": "profile",
    "clients": "clients", "duration": "secs", "seed": "seed", "login": "mech", "timeout": "stalled_disconnect_timeout",
}  # fmt: skip
"""imaptest's word for what an option says."""


def read_words(words: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """imaptest's words, and what is to be said about them. PlanError for one that is not known here."""
    said: dict[str, str] = {}
    notices: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not (key in _KEYS if equals else key in _SWITCHES):
            known = ", ".join([*sorted(f"{key}=" for key in _KEYS), *sorted(_SWITCHES)])
            raise wrong(f'expected one of imaptest\'s words for profiles ({known}), got "{word}"', "words")
        said[key] = value
        if key in _NO_EFFECT:
            notices.append(f"{key} has no effect: {_NO_EFFECT[key]}")
    return said, notices


def make_plan(said: dict[str, str], given: dict[str, Any]) -> "tuple[MailboxPlan, list[str]]":
    """The plan, and notes on the profile. PlanError for what makes no sense."""
    from trafficgen import units
    from trafficgen.cli.flagged import parse_with
    from trafficgen.cli.parsing import parse_run_id, parse_shard
    from trafficgen.mailbox.plan import Delivering, MailboxPlan
    from trafficgen.mailbox.reading import read_profile

    path = given["profile"] or said.get("profile")
    if not path:
        raise wrong("expected a profile: profile=FILE", "--profile")
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
        run_id=parse_run_id(given["run_id"]) if given["run_id"] is not None else "",
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
        raise wrong(text, "--cluster")
    if given["password"] or said.get("pass"):
        text = "a password would go through the cluster's scheduler: give --password-file, which each host reads"
        raise wrong(text, "--cluster")
    if plan.rawlog or said.get("output"):
        text = "what is said on other hosts is not written here: expected neither rawlog nor output="
        raise wrong(text, "--cluster")
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
            raise wrong("expected HOST:PORT, not a UNIX socket", flag)
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
    if not isinstance(target, TcpTarget) or text not in (target.host, f"[{target.host}]"):
        raise wrong(f'expected a host alone (ports are those of --imap, --pop3 and --lmtp), got "{text}"', "--host")
    return target.host


def _password(said: dict[str, str], given: dict[str, Any]) -> str:
    password: str = given["password"] or said.get("pass") or "pass"
    return password


def _login(said: dict[str, str], given: dict[str, Any]) -> "Mechanism | None":
    from trafficgen.plan import Mechanism

    name: str = given["login"] or ("password" if said.get("mech", "login").lower() == "login" else said["mech"])
    if name.lower() == "password":
        return None
    if name.lower() not in LOGINS:
        raise wrong(f'expected mech= to be one of {", ".join(LOGINS[1:])}, got "{name}"', "mech=")
    return Mechanism(name.upper())


def _number(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise wrong(f'expected a whole number, got "{text}"', flag)
    return int(text)


def wrong(text: str, flag: str) -> PlanError:
    """A PlanError about this option."""
    return PlanError(text, field=flag.strip("-="), flag=flag)
