"""The workers of a mailbox run: users dealt to processes, their seconds added up, their accounts collected.

Takes     a plan; how many processes
Gives     an account from each; a `Second` of all of them, and their accounts so far, for every second; who was lost,
          and why
Never     waits for a worker longer than the plan's times allow: then it is ended, and lost
Not here  what a worker does (`worker`), who the users are (`population`)

Users of one mailbox are in one process, and what a user does depends on the seed and on him alone: so any number of
processes does the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

import uvloop

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import TrafficgenError
from trafficgen.host import processes
from trafficgen.host.limits import raise_open_files
from trafficgen.host.pipes import END, Inbox, Outbox, listen
from trafficgen.host.processes import Child
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.account import MailboxWorkerAccount
from trafficgen.mailbox.mail import Mail
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.mailbox.population import deliveries_at_once, populate
from trafficgen.mailbox.table import Second
from trafficgen.mailbox.worker import Routes, Worker
from trafficgen.outcomes import StoppedBy

_LOOK_S: Final = 0.05
_SPARE_NS: Final = 20 * NS_PER_S
"""Beyond the plan's own times, for a process to begin and to end."""


class Share(NamedTuple):
    """What one worker is told."""

    plan: MailboxPlan
    routes: Routes
    number: int


class MailboxWorkerReady(NamedTuple):
    """A worker could begin."""


class Start(NamedTuple):
    """All could: begin, with this as the run's start."""

    started_ns: int


class SaidLine(NamedTuple):
    """Something worth saying."""

    text: str


@dataclass(slots=True)
class _Handle:
    number: int
    child: Child
    outbox: Outbox
    ready: bool = False
    seconds: deque[Second] = field(default_factory=deque)
    so_far: MailboxWorkerAccount | None = None
    account: MailboxWorkerAccount | None = None
    lost: str | None = None
    last_words: str = "it ended without a word"

    @property
    def over(self) -> bool:
        return self.account is not None or self.lost is not None


def run_workers(
    plan: MailboxPlan,
    routes: Routes,
    on_second: Callable[[Second], None],
    on_accounts: Callable[[list[MailboxWorkerAccount]], None],
    say: Callable[[str], None],
    control: RunControl,
) -> tuple[list[MailboxWorkerAccount], dict[int, str]]:
    """Run all of them to the end; accounts, and what became of those that gave none."""
    inbox: Inbox[_Handle] = Inbox()
    handles: list[_Handle] = []
    try:
        for number in range(plan.workers):
            child = processes.start(_work, Share(plan, routes, number))
            handle = _Handle(number, child, Outbox(child.pipe))
            handles.append(handle)
            inbox.add(handle, child.pipe)
        _hear_all(plan, handles, inbox, on_second, on_accounts, say, control)
    finally:
        for handle in handles:
            if handle.account is None:
                handle.child.process.kill()
        processes.end([handle.child for handle in handles], 5.0)
        inbox.close()
        for handle in handles:
            handle.child.pipe.close()
    accounts = [handle.account for handle in handles if handle.account is not None]
    return accounts, {handle.number: handle.lost for handle in handles if handle.lost is not None}


def _hear_all(
    plan: MailboxPlan,
    handles: list[_Handle],
    inbox: Inbox[_Handle],
    on_second: Callable[[Second], None],
    on_accounts: Callable[[list[MailboxWorkerAccount]], None],
    say: Callable[[str], None],
    control: RunControl,
) -> None:
    said: set[str] = set()
    told = 0
    started = False
    ends_ns: int | None = now_ns() + _SPARE_NS + plan.timeout_ns
    while not all(handle.over for handle in handles):
        for handle, word in inbox.hear(_LOOK_S):
            if not isinstance(word, SaidLine):
                _take(handle, word, control)
            elif (kind := ": ".join(word.text.split(": ")[:3])) not in said:
                said.add(kind)
                say(word.text)
        if not started and all(handle.ready or handle.over for handle in handles):
            started = True
            start_ns = plan.time_zero_ns() if not control.count else now_ns()
            for handle in handles:
                handle.outbox.send(Start(start_ns))
            ends_ns = None if plan.duration_ns is None else start_ns + plan.duration_ns + plan.final_ns + _SPARE_NS
        for handle in handles:
            handle.outbox.flush()
        while told < control.count:
            told += 1
            for handle in handles:
                handle.outbox.send(control.why)
            rest_ns = plan.final_ns if told == 1 else 0
            ends_ns = now_ns() + rest_ns + _SPARE_NS
        if ends_ns is not None and now_ns() > ends_ns:
            _give_up(handles)
        accounts = [handle.so_far for handle in handles if handle.so_far is not None]
        if _tell_seconds(handles, on_second) and accounts:  # none yet when the run was over within its first second
            on_accounts(accounts)


def _give_up(handles: list[_Handle]) -> None:
    for handle in handles:
        if not handle.over:
            handle.lost = "it did not end in time"


def _take(handle: _Handle, word: object, control: RunControl) -> None:
    if word is END:
        if not handle.over:
            handle.lost = handle.last_words
    elif isinstance(word, MailboxWorkerReady):
        handle.ready = True
    elif isinstance(word, Second):
        handle.seconds.append(word)
    elif isinstance(word, MailboxWorkerAccount):
        handle.so_far = word
        if word.stopped_by is StoppedBy.UNFINISHED:
            return
        handle.account = word
        if word.stopped_by is StoppedBy.FIRST_ERROR and not control.count:
            control.stop(StoppedBy.FIRST_ERROR)
    elif isinstance(word, TrafficgenError):
        handle.last_words = str(word)


def _tell_seconds(handles: list[_Handle], on_second: Callable[[Second], None]) -> bool:
    """A second of all is complete when everybody who is not over has told his. Whether one was."""
    told = False
    while any(handle.seconds for handle in handles) and all(handle.seconds or handle.over for handle in handles):
        together = Second()
        for handle in handles:
            if handle.seconds:
                together += handle.seconds.popleft()
        on_second(together)
        told = True
    return told


def _work(pipe: Connection, share: Share) -> None:
    """A worker process from beginning to end."""
    plan = share.plan
    control = RunControl()
    connections = plan.share(plan.connections, share.number)
    parallel = plan.share(plan.profile.lmtp_max_parallel_count, share.number)
    users = populate(plan.profile, plan.seed).of_worker(*plan.shard.lane(share.number, plan.workers))
    raise_open_files(connections + deliveries_at_once(users, parallel))

    async def work(mail: Mail) -> MailboxWorkerAccount:
        begin: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def hear(word: object) -> None:
            if isinstance(word, Start):
                begin.set_result(word.started_ns)
            else:
                control.stop(word if isinstance(word, StoppedBy) else StoppedBy.INTERRUPTED)
                if not begin.done():
                    begin.set_result(now_ns())

        def alone() -> None:  # nobody is there to hear of it
            hear(StoppedBy.INTERRUPTED)
            hear(StoppedBy.INTERRUPTED)

        listen(pipe, hear, alone)
        pipe.send(MailboxWorkerReady())
        worker = Worker(
            plan,
            users,
            share.routes,
            mail,
            say=lambda text: pipe.send(SaidLine(text)),
            on_second=pipe.send,
            on_account=pipe.send,
            number=share.number,
            connections=connections,
            parallel=parallel,
        )
        return await worker.run(control, await begin)

    with Mail(plan.mbox, plan.run_id) as mail:
        account = uvloop.run(work(mail))
    pipe.send(account)
