"""A store that is gone in the middle of a run, and comes back: its users do as well, and the account is right."""

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.mailbox.faulty_run import PROFILE, S, counts_of, plan_of
from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store, bound, listening
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.reading import parse_profile
from trafficgen.mailbox.table import Second
from trafficgen.outcomes import StoppedBy
from trafficgen.runs.mailbox import run_mailbox

USERS = 2
LIMIT_S = 60


class Watched(Store):
    """Lets somebody wait for what happens in it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self.inside: list[str] = []
        self.delivered = self.fetched = 0

    def deliver(self, user: str, octets: bytes) -> str:
        answer = super().deliver(user, octets)
        with self._changed:
            self.delivered += 1
            self._changed.notify_all()
        return answer

    def came_in(self, user: str) -> None:
        with self._changed:
            self.inside.append(user)
            self._changed.notify_all()

    def was_fetched(self) -> None:
        with self._changed:
            self.fetched += 1
            self._changed.notify_all()

    def wait_for_everybody_and_mail(self) -> None:
        with self._changed:
            self.inside.clear()
            before = self.delivered, self.fetched
            assert self._changed.wait_for(
                lambda: len(set(self.inside)) == USERS and min(self._since(*before)) > 2 * USERS, LIMIT_S
            )

    def _since(self, delivered: int, fetched: int) -> tuple[int, int]:
        return self.delivered - delivered, self.fetched - fetched


class Imap(ImapSession):
    store: Watched

    def on_select(self, argument: str) -> None:
        super().on_select(argument)
        self.store.came_in(self.user)

    def content(self, octets: bytes, argument: str) -> bytes:
        if "X-Traffic-Gen" not in argument:
            self.store.was_fetched()
        return super().content(octets, argument)


class Pop3(Pop3Session):
    store: Watched

    def on_uidl(self, argument: str) -> None:
        super().on_uidl(argument)
        self.store.came_in(self.user)

    def on_retr(self, argument: str) -> None:
        self.store.was_fetched()
        super().on_retr(argument)


@pytest.mark.parametrize(("protocol", "words"), [("imap", "IMAP"), ("pop3", "POP3")])
def test_a_server_that_is_gone_and_comes_back(protocol: str, words: str):
    store, control = Watched(), RunControl()
    refused, seconds_of_it = threading.Event(), threading.Semaphore(0)
    kinds = (Imap, Pop3, LmtpSession)
    first, second = ExitStack(), ExitStack()
    said: list[str] = []
    faults: list[BaseException] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith(f"Error: {words} connect: connection refused"):
            refused.set()

    def on_second(_second: Second) -> None:
        if refused.is_set():
            seconds_of_it.release()

    def goes_and_comes(ports: list[int]) -> None:
        store.wait_for_everybody_and_mail()
        first.close()
        held = [bound(port) for port in ports]
        for server in held:
            second.callback(server.close)
        for _ in range(2):  # one of them is whole: deliveries were due in it, too
            assert seconds_of_it.acquire(timeout=LIMIT_S)
        for kind, server in zip(kinds, held, strict=True):
            second.enter_context(listening(lambda peer, kind=kind: kind(store, peer), server))  # type: ignore[misc]
        store.wait_for_everybody_and_mail()

    def watch(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            faults.append(error)
        finally:
            control.stop()

    profile = PROFILE.format(protocol=protocol, settings="mail_inbox_delete_percentage = 100")
    with first, second:
        ports = [
            first.enter_context(listening(lambda peer, kind=kind: kind(store, peer)))  # type: ignore[misc]
            for kind in kinds
        ]
        watcher = threading.Thread(target=watch, args=(lambda: goes_and_comes(ports),))
        watcher.start()
        plan = plan_of(parse_profile(profile).profile, ports, duration_ns=4 * LIMIT_S * S, final_ns=20 * S)
        results = run_mailbox(plan, say=say, on_second=on_second, control=control)
        watcher.join()
    assert not faults
    assert results.stopped_by is StoppedBy.INTERRUPTED
    counts = counts_of(results)
    assert counts.clean, counts
    assert counts.delivered == store.delivered - counts.in_doubt
    assert counts.read > USERS
    messages = results.messages
    assert messages.failed > 0
    assert messages.planned == messages.accepted + messages.failed + messages.in_doubt
    reasons = {(failure.phase, failure.reason): failure.count for failure in results.failures}
    assert 0 < reasons[f"{protocol}_connect", "connection refused"] <= 8  # asked less and less
    assert {reason for _, reason in reasons} <= {"connection refused", "connection reset", "closed by the server"}
    if protocol == "imap":  # both were inside; those on their way at the end are seen by nobody
        assert counts.seen >= counts.delivered - USERS
        cut = sum(count for (phase, _), count in reasons.items() if phase in (*results.commands, "imap_idle"))
        assert cut == USERS
    assert sum(line.startswith(f"Error: {words} connect") for line in said) == 1
