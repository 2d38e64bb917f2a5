"""What whole mailbox runs cost, with sockets, loop, profile and account. One question at a time:

    python -m benchmarks.mailbox_runs idle [--sessions 10000]   resident memory of so many IMAP sessions in IDLE
    python -m benchmarks.mailbox_runs logins [--workers 1]      logins a second, IMAP and POP3
    python -m benchmarks.mailbox_runs commands                  CPU of an IMAP command, and of a POP3 retrieval
    python -m benchmarks.mailbox_runs dovecot                   our share of the machine beside a Dovecot at its limit

The first three have a scripted server in another process (`mailbox_server`) that does as little as it can; "dovecot"
starts a private one. CPU is user and system time of this process and its workers. "A core and s" is one second over
the CPU time of one: with other work on the machine, what a run itself reached says less.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import birth_certificate
from tests.peers import dovecot
from trafficgen.clock import NS_PER_S
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.plan import MailboxPlan, MailboxService
from trafficgen.mailbox.reading import parse_profile
from trafficgen.mailbox.table import Second
from trafficgen.measure.results import Results
from trafficgen.plan import TcpTarget
from trafficgen.runs.mailbox import run_mailbox

_PROFILE = """\
lmtp_port = 24
lmtp_max_parallel_count = {parallel}
total_user_count = {users}
rampup_time = {rampup}
user u {{
  count = 100%
  username_format = u%03n@example.com
  mail_inbox_delivery_interval = {interval}
  mail_session_length = {length}
  mail_action_delay = {delay}
  mail_action_repeat_delay = {delay}
  mail_inbox_delete_percentage = 100
}}
client c {{
  count = 100%
  connection_max_count = 1
  protocol = {protocol}
  login_interval = 0
  imap_fetch_immediate = UID FLAGS
  imap_fetch_manual = BODY.PEEK[]
}}
"""
_USUAL = {"parallel": 1, "rampup": "0", "interval": "0", "length": "0", "delay": "1 ms"}


@contextmanager
def server(mails: int = 10) -> Iterator[tuple[MailboxService, MailboxService]]:
    """The scripted server: IMAP and POP3."""
    command = [sys.executable, "-m", "benchmarks.mailbox_server", str(mails)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        imap, pop3 = (here(int(port)) for port in process.stdout.readline().split())
        try:
            yield imap, pop3
        finally:
            process.stdin.close()


def here(port: int) -> MailboxService:
    """A port of this machine."""
    return MailboxService(TcpTarget("127.0.0.1", port))


def plan_of(
    protocol: str, users: int, imap: MailboxService, pop3: MailboxService, delivery: int = 1, **settings: str
) -> MailboxPlan:
    """A run of so many users, all connected; `settings` go into the profile."""
    text = _PROFILE.format(protocol=protocol, users=users, **{**_USUAL, **settings})
    return MailboxPlan(parse_profile(text).profile, imap, pop3, here(delivery), connections=users)


def timed(plan: MailboxPlan, seconds: float, **more: Any) -> tuple[Results, float]:
    """Results, and CPU seconds of this process and its workers."""

    before = cpu_s()
    results = run_mailbox(replace(plan, duration_ns=round(seconds * NS_PER_S)), **more)
    assert not results.failures, results.failures
    return results, cpu_s() - before


def cpu_s() -> float:
    """User and system time of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def idle(sessions: int) -> None:
    """All log in within ten seconds; looked at when for two seconds nobody has said a word."""
    control = RunControl()
    before, during, quiet = resident_mb(), 0.0, 0

    def look(second: Second) -> None:
        nonlocal during, quiet
        quiet = quiet + 1 if second.speaking == sessions and not any(second.counts.values()) else 0
        if quiet == 2 and not during:
            during = resident_mb()
            control.stop()

    with server() as (imap, pop3):
        timed(plan_of("imap", sessions, imap, pop3, rampup="10s"), 300, on_second=look, control=control)
    assert during, "not all sessions came to idle"
    print(f"{sessions:,} idle IMAP sessions: {during:,.0f} MB resident, {before:,.0f} MB before (aim: 250 MB)")


def resident_mb() -> float:
    """Of this process (proc(5))."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


def logins(workers: int, seconds: float) -> None:
    """Users who find nothing and leave, and come back at once."""

    for name, protocol, command, length in (
        ("IMAP: LOGIN, LIST, SELECT, IDLE, LOGOUT", "imap", "login", "1 ms"),
        ("POP3: USER, PASS, UIDL, QUIT", "pop3", "pop3_login", "0"),
    ):
        with server(mails=0) as (imap, pop3):
            plan = replace(plan_of(protocol, 200, imap, pop3, length=length), workers=workers)
            results, cpu = timed(plan, seconds)
        show(name, results, cpu, results.commands[command].count)


def commands(seconds: float) -> None:
    """Users who read and delete mail as fast as they can."""
    for name, protocol, counted in (
        ("IMAP command, mail of 5000 octets", "imap", None),
        ("POP3 retrieval of 5000 octets, all included", "pop3", "retr"),
    ):
        with server() as (imap, pop3):
            plan = plan_of(protocol, 50, imap, pop3)

            results, cpu = timed(replace(plan, delete_foreign=True), seconds)
        found = results.commands
        show(name, results, cpu, found[counted].count if counted else sum(each.count for each in found.values()))


def show(name: str, results: Results, cpu: float, count: int) -> None:
    """A line of a table."""
    wall = results.run.duration_s
    print(
        f"{name:44} CPU {cpu / count * 1e6:7.1f} µs each, {count / cpu:8,.0f} a core and s; "
        f"reached {count / wall:8,.0f}/s with {cpu / wall:.0%} of a core"
    )


def beside_dovecot(seconds: float) -> None:
    """More deliveries than it takes, and users who fetch and delete them without a pause."""
    with dovecot.running() as store:
        for protocol, length in (("pop3", "0"), ("imap", "1s")):
            settings = {"parallel": "20", "interval": "50 ms", "length": length}
            plan = plan_of(protocol, 100, here(store.imap), here(store.pop3), store.lmtp, **settings)

            busy_before = busy_s()
            results, ours = timed(replace(plan, password=dovecot.PASSWORD), seconds)
            busy = busy_s() - busy_before
            cores, wall = os.cpu_count() or 1, results.run.duration_s
            counts = results.mailboxes
            assert counts is not None
            assert counts.clean
            done = sum(command.count for command in results.commands.values())
            print(
                f"{protocol}: {counts.delivered / wall:,.0f} deliveries/s ({counts.dropped:,} dropped), "
                f"{done / wall:,.0f} commands/s; of {cores} cores ours {ours / wall / cores:.0%} (aim: 25%), "
                f"all {busy / wall / cores:.0%}"
            )


def busy_s() -> float:
    """CPU time that all processes of this machine have had (proc(5), /proc/stat): not idle, not waiting for a disk."""
    user, nice, system, _idle, _waiting, *others = Path("/proc/stat").read_text(encoding="ascii").split()[1:9]
    return sum(map(int, (user, nice, system, *others))) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """One of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("idle", "logins", "commands", "dovecot"))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    work: dict[str, Callable[[], None]] = {
        "idle": lambda: idle(given.sessions),
        "logins": lambda: logins(given.workers, given.seconds),
        "commands": lambda: commands(given.seconds),
        "dovecot": lambda: beside_dovecot(given.seconds),
    }
    print(birth_certificate(f"python -m benchmarks.mailbox_runs {given.what}"))
    work[given.what]()


if __name__ == "__main__":
    main()
