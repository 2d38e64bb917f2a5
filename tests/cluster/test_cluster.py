"""A run by several hosts: one start, one account, whatever becomes of a shard."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.engines import HostsHere, hosts_here
from tests.mailbox.faulty_run import PROFILE
from tests.mailbox.faulty_run import plan_of as plan_of_users
from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store, listening
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for
from tests.sink.sink_process import sink_process
from trafficgen import Plan, Progress
from trafficgen.clock import NS_PER_S
from trafficgen.cluster import agreement, coordinator, words
from trafficgen.cluster.clocks import clock_of
from trafficgen.cluster.coordinator import Cluster
from trafficgen.cluster.host import ShardHost
from trafficgen.cluster.shard import HostShard
from trafficgen.engine.limits import check_memory
from trafficgen.errors import ExitCode, SetupError, TrafficgenError
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.results import Results
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Corpus, OpenLoop, Shard, TcpTarget, WeightedTarget
from trafficgen.proof import sent
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs.mailbox import run_mailbox_monitored
from trafficgen.runs.monitor import MonitorOptions

MS = 1_000_000
ALLOWED_NS = 5_000 * MS
"""Of a clock: this machine is busy with other tests, and then every answer is late."""


def plan_of(port: int, **given: Any) -> Plan:
    return plan_for(port, **{"messages": 300, "sessions": 4, "seed": 7, **given})


def run_by(engine: HostsHere, plan: Plan, **given: Any) -> Results:
    return Cluster(engine, ALLOWED_NS).run(plan, **given)


def adds_up(results: Results) -> Counts:
    """Both equations, and the results survive their file."""
    assert Results.from_dict(results.to_dict()) == results
    return counts(results)


def test_two_hosts_send_every_message_once_to_two_sinks(tmp_path: Path) -> None:
    """The proof is held against what both sinks have, and one manifest is of all."""
    seen: list[Progress] = []
    api = ("--api", "127.0.0.1:0")
    with (
        sink_process("127.0.0.1:0", *api) as first,
        sink_process("127.0.0.1:0", *api) as second,
        hosts_here(2) as engine,
    ):
        here, there = (
            TcpTarget("127.0.0.1", int(sink.wait_for(r"API on http://127\.0\.0\.1:(\d+)/")[1]))
            for sink in (first, second)
        )
        more = (WeightedTarget(TcpTarget("127.0.0.1", second.port)),)
        plan = plan_of(first.port, load=OpenLoop(400.0), more_targets=more)
        wait = DeliveryWait(here, 60_000 * MS, (there,))
        results = run_by(engine, plan, manifest=tmp_path / "manifest", progress=seen.append, delivery_wait=wait)
    assert adds_up(results) == Counts(accepted=300)
    assert results.ledger == LedgerCounts(expected=300, received=300, missing=0, duplicated=0, corrupted=0)
    assert results.delivery is not None
    assert results.delivery.in_time
    assert min(one.accepted for one in results.targets) > 0
    assert results.valid
    assert results.exit_code(keep_going=True) is ExitCode.DONE
    assert sorted(sent.read(tmp_path / "manifest").accepted.numbers.tolist()) == list(range(300))
    assert [one.number for one in results.shards] == [1, 2]
    assert len({one.start_at for one in results.shards}) == 1
    assert all(one.clock_error_ns is not None for one in results.shards)
    # Each shard took its share of the rate: the last message was due after 0.75 s, however late any of them was.
    response = results.latency_ns["response"]
    assert response is not None
    assert abs(results.run.duration_s - 300 / 400) < 0.3 + response.max / NS_PER_S
    assert all(now.snapshot.started <= now.planned for now in seen)
    # Every shard was prepared and begun once: nothing asks for one again.
    assert [engine.asked.count((host, what)) for host in engine.hosts for what in ("prepare", "begin")] == [1] * 4


def test_a_shard_that_was_ended_first_is_never_started() -> None:
    host = ShardHost()
    host.end("run/1")
    with pytest.raises(TrafficgenError, match="was started before, and is never started again"):
        host.prepare(words.ShardOrder("run/1", plan_of(25, shard=Shard(1, 2)), manifest=False))


def test_a_host_takes_a_shard_once() -> None:
    host = ShardHost()
    order = words.ShardOrder("run/1", plan_of(25, shard=Shard(1, 2)), manifest=False)
    host.prepare(order)
    try:
        with pytest.raises(TrafficgenError, match="shard 1/2 was started before, and is never started again"):
            host.prepare(order)
    finally:
        host.end("run/1")


def test_clocks_are_found_and_allowed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One 3 s ahead behind 80 ms of network, one 2 s behind: found within the error that is claimed. Shards are asked
    after meanwhile: with many hosts it takes longer than they wait for."""
    monkeypatch.setattr("trafficgen.cluster.coordinator._LOOK_NS", 0)
    monkeypatch.setattr("trafficgen.cluster.coordinator._LOOK_EACH_NS", 0)
    skews_ns = (3_000 * MS, -2_000 * MS)
    with private_sink() as sink, hosts_here(2, skews_ns=skews_ns, delays_s=(0.04, 0.0)) as engine:
        for host, skew_ns in zip(engine.hosts, skews_ns, strict=True):
            clock = clock_of(engine, host)
            assert abs(clock.offset_ns - skew_ns) <= clock.error_ns
        engine.asked.clear()
        results = run_by(engine, plan_of(sink.port, load=OpenLoop(400.0)))
    assert adds_up(results) == Counts(accepted=300)
    asked = [function for _host, function in engine.asked]
    assert "look" in asked[asked.index("clock") : asked.index("begin")]
    for one, skew_ns in zip(results.shards, skews_ns, strict=True):
        assert one.clock_offset_ns is not None
        assert one.clock_error_ns is not None
        assert abs(one.clock_offset_ns - skew_ns) <= one.clock_error_ns
    assert results.shards[0].clock_error_ns >= 40 * MS  # type: ignore[operator]


def test_a_clock_that_is_not_known_well_enough_is_refused() -> None:
    with private_sink() as sink, hosts_here(2, delays_s=(0.0, 0.06)) as engine:
        with pytest.raises(SetupError, match=r"shard 2 .*: its clock is known to .* ms only, expected 50 ms"):
            Cluster(engine).run(plan_of(sink.port))
        assert sink.received == 0


def cut_off_when_asked(engine: HostsHere, when: str) -> None:
    """The second host, as soon as it is asked for that."""
    ask = engine.ask

    def asked(host: str, function: str, *given: Any) -> Any:
        if (host, function) == ("host1", when):
            engine.cut_off.add(host)
        return ask(host, function, *given)

    engine.ask = asked  # type: ignore[method-assign]


def test_a_host_that_does_not_say_its_time_is_refused() -> None:
    with hosts_here(2) as engine, private_sink() as sink:
        cut_off_when_asked(engine, "clock")
        with pytest.raises(SetupError, match=r"shard 2 .* does not answer when it is asked for its clock: no route to"):
            run_by(engine, plan_of(sink.port))
        assert sink.received == 0


def test_a_shard_that_was_not_told_to_begin_is_lost() -> None:
    """Its host may answer again later: nobody waits for a shard that waits itself."""
    with hosts_here(2) as engine, private_sink() as sink:
        cut_off_when_asked(engine, "begin")
        results = run_by(engine, plan_of(sink.port, load=OpenLoop(400.0)))
    adds_up(results)
    (lost,) = [caveat for caveat in results.caveats if caveat.kind is CaveatKind.SHARD_LOST]
    assert "was lost: it was not told to begin: no route to host" in lost.text
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID


def killed(engine: HostsHere) -> None:
    engine.process("host1").send_signal(signal.SIGKILL)


def cut_off(engine: HostsHere) -> None:
    engine.cut_off.add("host1")


def suspended(engine: HostsHere) -> None:
    """Its host goes on, and answers that there is nothing new."""
    engine.process("host1").send_signal(signal.SIGSTOP)


@pytest.mark.parametrize(
    ("blow", "load"),
    [(killed, None), (cut_off, OpenLoop(500.0)), (suspended, OpenLoop(500.0))],
    ids=["closed", "open", "silent"],
)
def test_a_shard_that_is_lost_is_in_doubt_and_ends_the_run(
    blow: Callable[[HostsHere], None], load: OpenLoop | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trafficgen.cluster.coordinator._LOST_NS", 2_000 * MS)
    monkeypatch.setattr("trafficgen.cluster.coordinator._SILENCE_NS", 4_000 * MS)
    struck = threading.Event()
    with private_sink() as sink, hosts_here(2) as engine:
        plan = plan_of(sink.port, messages=2_000_000, duration_s=600, load=load)

        def see(now: Progress) -> None:
            if now.snapshot.accepted > 100 and len(now.snapshot.workers) > 1 and not struck.is_set():
                struck.set()
                blow(engine)

        results = run_by(engine, plan, progress=see)
        found = adds_up(results)
        arrived = sink.arrivals(plan.run_id)
    assert not results.valid
    assert results.stopped_by is StoppedBy.WORKER_LOST
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID
    (lost,) = [caveat for caveat in results.caveats if caveat.kind is CaveatKind.SHARD_LOST]
    assert "shard 2" in lost.text
    assert results.messages.planned == (2_000_000 if load is None else 300_000)
    assert found.accepted <= arrived.numbers.size <= found.accepted + found.in_doubt
    assert (arrived.counts == 1).all()


def test_a_second_wish_does_not_wait_for_a_shard_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for what those that are well have time for."""
    assert coordinator._HURRY_NS < coordinator._PATIENCE_NS
    monkeypatch.setattr(coordinator, "_HURRY_NS", 2_000 * MS)
    monkeypatch.setattr(coordinator, "_PATIENCE_NS", 10**18)
    control = RunControl()
    with private_sink() as sink, hosts_here(2) as engine:

        def see(now: Progress) -> None:
            if len(now.snapshot.workers) > 1 and not control.count:
                suspended(engine)
                control.stop()
                control.stop()

        results = run_by(engine, plan_of(sink.port, messages=None, duration_s=600), progress=see, control=control)
    adds_up(results)
    assert "shard 2 (" in " ".join(one.text for one in results.caveats if one.kind is CaveatKind.SHARD_LOST)
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID


@pytest.mark.parametrize("when", ["prepare", "clock"])
def test_a_wish_before_the_start_ends_in_good_order(when: str) -> None:
    """Everything that was planned is not started, and nobody is to blame."""
    control = RunControl()
    with private_sink() as sink, hosts_here(2) as engine:
        ask = engine.ask

        def asked(host: str, function: str, *given: Any) -> Any:
            if function == when:
                control.stop()
            return ask(host, function, *given)

        engine.ask = asked  # type: ignore[method-assign]
        results = run_by(engine, plan_of(sink.port), control=control)
        assert sink.received == 0
        assert [function for _, function in engine.asked if function in ("begin", "stop")] == []
        for host in engine.here.values():
            for running in filter(None, host._taken.values()):
                assert running._process.wait(60) != 0  # ended, since nobody needs it
    adds_up(results)
    assert (results.messages.planned, results.messages.not_started, results.valid) == (300, 300, True)
    assert (results.stopped_by, results.exit_code(keep_going=True)) == (StoppedBy.INTERRUPTED, ExitCode.INTERRUPTED)


def test_the_first_wish_ends_all_shards_in_good_order() -> None:
    control = RunControl()
    with private_sink() as sink, hosts_here(3) as engine:
        plan = plan_of(sink.port, messages=None, duration_s=600)

        def see(now: Progress) -> None:
            if len(now.snapshot.workers) == 3 and not control.count:
                control.stop()

        results = run_by(engine, plan, progress=see, control=control)
        arrived = sink.arrivals(plan.run_id)
    found = adds_up(results)
    assert results.valid
    assert (results.stopped_by, results.exit_code(keep_going=True)) == (StoppedBy.INTERRUPTED, ExitCode.INTERRUPTED)
    assert found.accepted == arrived.numbers.size > 0
    assert found.in_doubt == 0


@pytest.mark.parametrize(("available", "words"), [(10**8, "and this machine has 100 MB to be had"), (None, None)])
def test_a_machine_without_memory_for_its_share_refuses(available: int | None, words: str | None) -> None:
    """None: the machine of this test, which has enough for little."""
    if words is None:
        check_memory(100, 1, 0, available)
    else:
        with pytest.raises(SetupError, match=words):
            check_memory(1_000, 2, 0, available)
    with pytest.raises(SetupError, match="need about 120,000,000,240 MB of memory"):
        check_memory(10**13, 1, 10**6, available)


def test_a_host_that_refuses_its_shard_says_why_before_anybody_sends(tmp_path: Path) -> None:
    missing = tmp_path / "corpus.mbox"
    with private_sink() as sink, hosts_here(2) as engine:
        plan = plan_of(sink.port)
        there = replace(plan, workload=replace(plan.workload, content=Corpus(missing)))
        with pytest.raises(TrafficgenError, match=r"corpus\.mbox"):
            run_by(engine, there)
        assert sink.received == 0


def found_by(number: int, **changes: Any) -> words.ShardPrepared:
    found = words.ShardPrepared("0.1.0", f"machine{number}", ("127.0.0.1:25",), {"/srv/a.mbox": "ff"}, 10)
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"files": {"/srv/a.mbox": "00"}}, 'shard 1 (machine1) and shard 2 (machine2) have different files: "/srv/a'),
        ({"addresses": ("10.0.0.9:25",)}, "is 127.0.0.1:25 for shard 1 (machine1) and 10.0.0.9:25 for shard 2 (machin"),
        ({"version": "9.9"}, "shard 2 (machine2) has traffic-gen 9.9, and this is 0.1.0"),
    ],
)
def test_hosts_that_differ_are_refused(changes: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trafficgen.cluster.agreement.VERSION", "0.1.0")
    order = words.ShardOrder("", plan_of(25), manifest=False)
    shards = [
        HostShard(f"host{number}", replace(order, plan=replace(order.plan, shard=Shard(number, 2))), 0)
        for number in (1, 2)
    ]
    for shard in shards:
        shard.prepared = found_by(shard.number)
    assert agreement.check("mx", shards) == "target mx is at 127.0.0.1:25 for all shards"
    shards[1].prepared = found_by(2, **changes)
    with pytest.raises(SetupError) as refused:
        agreement.check("mx", shards)
    assert expected in str(refused.value)


def test_users_of_mailboxes_on_two_hosts_are_one_run(tmp_path: Path) -> None:
    """By the same monitor as on one machine; a host that is lost leaves an account that adds up."""
    store, seen, logins = Store(), [], set()

    class Session(ImapSession):
        def on_login(self, argument: str) -> None:
            logins.add(argument.rpartition(" ")[2].strip('"'))
            super().on_login(argument)

    with ExitStack() as stack:
        kinds = (Session, Pop3Session, LmtpSession)
        ports = [stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer))) for kind in kinds]  # type: ignore[misc]
        engine = stack.enter_context(hosts_here(2))
        profile = parse_profile(PROFILE.format(protocol="imap", settings="mail_inbox_delete_percentage = 100")).profile
        secret = tmp_path / "password"
        secret.write_text("secret\n")
        plan = plan_of_users(profile, ports, duration_ns=2_000 * MS, connections=4, password_file=secret)
        results = run_mailbox_monitored(
            plan, MonitorOptions(), observers=[seen.append], runner=Cluster(engine, ALLOWED_NS).run_mailbox
        )
    assert adds_up(results) == Counts(accepted=results.messages.accepted)
    assert results.valid
    assert results.mailboxes is not None
    assert results.mailboxes.clean
    assert results.mailboxes.delivered == results.messages.accepted > 0
    assert results.commands["login"].count == 2
    assert set(store.mail) == {"u1@example.com", "u2@example.com"}
    assert [one.number for one in results.shards] == [1, 2]
    assert [one.complete for one in seen][-1]
    assert logins == {"secret"}
    assert "secret" not in results.to_json()


def test_one_host_is_no_cluster() -> None:
    with hosts_here(1) as engine, pytest.raises(SetupError, match="expected two hosts at least"):
        run_by(engine, plan_of(25))
