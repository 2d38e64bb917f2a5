"""Ctrl-C in a terminal: once, users log out and the account is told; twice, it ends at once, with its account."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.mailbox.faulty_run import PROFILE
from tests.mailbox.store import ImapSession, LmtpSession, Store, listening
from trafficgen.errors import ExitCode
from trafficgen.measure.results import read_results
from trafficgen.outcomes import StoppedBy

USERS = 4


class Counting(Store):
    """Tells when everybody has begun to idle, and when everybody has asked to leave."""

    def __init__(self) -> None:
        super().__init__()
        self.idling, self.leaving = threading.Semaphore(0), threading.Semaphore(0)


class Polite(ImapSession):
    first = True
    store: Counting

    def on_idle(self, argument: str) -> None:
        if self.first:
            self.first = False
            self.store.idling.release()
        super().on_idle(argument)

    def on_logout(self, argument: str) -> None:
        self.store.leaving.release()
        super().on_logout(argument)


class NeverLetsGo(Polite):
    def on_logout(self, argument: str) -> None:
        self.store.leaving.release()
        self.read()  # nothing comes any more


def wait_for_all(semaphore: threading.Semaphore) -> None:
    for _ in range(USERS):
        assert semaphore.acquire(timeout=60)


@contextmanager
def running(store: Store, imap: type[ImapSession], folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The command, in a process group of its own, as a shell starts it."""
    with ExitStack() as stack:
        ports = [
            stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer)))  # type: ignore[misc]
            for kind in (imap, LmtpSession)
        ]
        profile = PROFILE.format(protocol="imap", settings="mail_inbox_delete_percentage = 100")
        (folder / "profile.conf").write_text(profile.replace("count = 2", f"count = {USERS}"))
        command = [
            sys.executable, "-m", "trafficgen", "mailbox", "profile=profile.conf", "secs=600,600", "--json", "run.json",
            "--imap", f"127.0.0.1:{ports[0]}", "--lmtp", f"127.0.0.1:{ports[1]}", *words,
        ]  # fmt: skip
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def ctrl_c(process: "subprocess.Popen[str]") -> None:
    """What a terminal does: the signal goes to the whole group."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_once_everybody_logs_out_and_there_is_an_account(tmp_path: Path, workers: str):
    store = Counting()
    with running(store, Polite, tmp_path, "--workers", workers) as process:
        wait_for_all(store.idling)
        ctrl_c(process)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == ExitCode.INTERRUPTED, said
    results = read_results(tmp_path / "run.json")
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert results.mailboxes is not None
    assert results.mailboxes.clean
    assert results.mailboxes.adds_up
    assert results.commands["logout"].count == results.commands["login"].count == USERS == store.said.count("LOGOUT")
    assert not results.failures
    assert re.search(r"^Totals:$", said, re.MULTILINE)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_twice_it_ends_at_once_and_the_account_says_who_was_cut_off(tmp_path: Path, workers: str):
    store = Counting()
    with running(store, NeverLetsGo, tmp_path, "--workers", workers) as process:
        wait_for_all(store.idling)
        ctrl_c(process)
        wait_for_all(store.leaving)
        assert process.poll() is None
        ctrl_c(process)
        said, _ = process.communicate(timeout=60)  # a tenth of what it may take by itself
        assert process.returncode == ExitCode.INTERRUPTED, said
    results = read_results(tmp_path / "run.json")
    assert results.mailboxes is not None
    assert results.mailboxes.clean
    assert results.mailboxes.adds_up
    assert results.commands["logout"].errors == USERS
    assert {failure.reason for failure in results.failures} == {"ended by us"}  # deliveries under way, too
    assert [failure.count for failure in results.failures if failure.phase == "logout"] == [USERS]
