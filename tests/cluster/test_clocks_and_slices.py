"""Clocks of a cluster's hosts and slices by them, to the nanosecond: scripted hosts and a clock that stands still."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.cluster.test_merging_shards import PLAN, SOME, results_of
from tests.verdict.blocks import THROUGHPUT
from trafficgen.clock import NS_PER_MS, NS_PER_S
from trafficgen.cluster import slices, words
from trafficgen.cluster.clocks import EXCHANGES, Clock, clock_of
from trafficgen.cluster.slices import ClusterSlices
from trafficgen.cluster.turns import ClusterTurns
from trafficgen.errors import SetupError
from trafficgen.host import cpu_time
from trafficgen.host.signals import RunControl
from trafficgen.runs.slices import SideCounts
from trafficgen.verdict.gating import Side
from trafficgen.verdict.sequence import SliceDesign
from trafficgen.verdict.slices import Disturbance, Slice

if TYPE_CHECKING:
    from trafficgen.cluster.coordinator import Cluster
    from trafficgen.cluster.engine import Engine

A, B = Side.A, Side.B
EPOCH_NS = 1_800_000_000 * NS_PER_S
DESIGN = SliceDesign((THROUGHPUT,), seed=1, budget_ns=60 * NS_PER_S, slice_ns=80 * NS_PER_MS, skip_ns=40 * NS_PER_MS)

# -- one host's clock -------------------------------------------------------------------------------------


def answered(what: object) -> "Future[Any]":
    answer: Future[Any] = Future()
    if isinstance(what, BaseException):
        answer.set_exception(what)
    else:
        answer.set_result(what)
    return answer


@pytest.mark.parametrize("quickest", [0, 3, EXCHANGES - 1])
def test_of_eight_questions_the_quickest_says_what_time_it_is(quickest: int) -> None:
    """Offset and delay by RFC 5905 section 8; half of an odd delay is rounded up."""
    asked: list[tuple[str, str]] = []
    times, answers = [], []
    for number in range(EXCHANGES):
        base = 1_000_000 * number
        if number == quickest:
            times += [base + 1_000, base + 1_018]
            answers.append((base + 5_003, base + 5_010))
        else:
            times += [base, base + 1_000]
            answers.append((base + 9_000, base + 9_000))
    wall = iter(times)

    class Host:
        def ask(self, host: str, function: str) -> "Future[Any]":
            asked.append((host, function))
            return answered(answers[len(asked) - 1])

    assert clock_of(cast("Engine", Host()), "b", lambda: next(wall)) == Clock(offset_ns=3_997, error_ns=6)
    assert asked == [("b", "clock")] * 8
    assert next(wall, None) is None


@pytest.mark.parametrize(("raised", "text"), [(OSError("it is gone"), "it is gone"), (TimeoutError(), "TimeoutError")])
def test_a_host_that_does_not_answer_is_asked_once(raised: Exception, text: str) -> None:
    asked = []

    class Gone:
        def ask(self, host: str, function: str) -> "Future[Any]":
            asked.append(host)
            return answered(raised)

    with pytest.raises(OSError) as caught:
        clock_of(cast("Engine", Gone()), "a", lambda: 0)
    assert (str(caught.value), caught.value.__cause__, asked) == (text, raised, ["a"])


# -- slices by all hosts ----------------------------------------------------------------------------------


@dataclass
class Hosts:
    """Shards that serve what they are told at once; also their engine. `clocks`: what is found when they are asked, an
    OSError too; `served`: what a host says of an order."""

    clocks: dict[str, Clock | OSError]
    served: Callable[[str, words.ServeSlices], words.ShardServed]
    places: dict[str, str] = field(default_factory=dict)
    now_ns: int = 7 * NS_PER_S
    asked: list[str] = field(default_factory=list)
    orders: list[tuple[Side, str, words.ServeSlices]] = field(default_factory=list)

    @property
    def engine(self) -> "Hosts":
        return self

    @property
    def hosts(self) -> list[str]:
        return list(self.clocks)

    def wall_ns(self) -> int:
        return EPOCH_NS + self.now_ns

    def clock_of(self, _engine: object, host: str, _wall_ns: object) -> Clock:
        self.asked.append(host)
        found = self.clocks[host]
        if isinstance(found, OSError):
            raise found
        return found

    def run(self, *_: object, control: RunControl, turns: ClusterTurns, **__: object) -> object:
        turns.begin({
            host: words.ShardPrepared("1", host, (), {}, 1, self.places.get(host, host), parent=100 + number)
            for number, host in enumerate(self.hosts)
        })  # fmt: skip
        pause = threading.Event()
        while not control.count:
            for orders in turns.orders():
                for host, order in orders.items():
                    self.orders.append((order.mine, host, order))
                    turns.served(host, self.served(host, order))
            pause.wait(0.002)
        return results_of(SOME, range(len(SOME)), PLAN)


def counts(number: int) -> SideCounts:
    return SideCounts(number, number, 0, 0, 0)


def said(
    order: words.ServeSlices, *, late_ns: int = 0, wall_offset_ns: int = 0, ahead_ns: int = 1
) -> words.ShardServed:
    """Ten messages a slice."""
    mine = tuple(Slice(one, 0.08, 10.0, Disturbance(late_ns=late_ns)) for one in order.sides if one is order.mine)
    return words.ShardServed(order.serial, mine, counts(3), counts(5), wall_offset_ns, ahead_ns)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[ClusterSlices, Hosts]]]:
    """Slices by these hosts, by a clock that stands still until `Hosts.now_ns` is set."""
    generators: list[ClusterSlices] = []

    def open_(clocks: dict[str, Clock | OSError], served: Any = None, **given: Any) -> tuple[ClusterSlices, Hosts]:
        hosts = Hosts(clocks, served or (lambda _host, order: said(order)), **given)
        monkeypatch.setattr(slices, "now_ns", lambda: hosts.now_ns)
        monkeypatch.setattr(slices, "clock_of", hosts.clock_of)
        made = ClusterSlices(cast("Cluster", hosts), DESIGN, {A: PLAN, B: PLAN}, None, RunControl())
        generators.append(made.__enter__())
        return made, hosts

    yield open_
    for one in generators:
        one.__exit__()


Opened = Callable[..., tuple[ClusterSlices, Hosts]]


def test_what_a_clock_may_be_wrong_by_is_added_to_how_late_a_shard_was(opened: Opened) -> None:
    """Each shard's to its own; of the whole slice the worst counts. Messages of all shards add up."""
    late = {"x": 1_000, "y": 30}
    generator, _ = opened(
        {"x": Clock(0, 200_000), "y": Clock(0, 500_000)}, lambda host, order: said(order, late_ns=late[host])
    )
    found = generator.serve((A, B, B, A), None)
    assert [one.side for one in found.slices] == [A, B, B, A]
    for one in found.slices:
        assert [shard.late_ns for shard in one.shards] == [201_000, 500_030]
        assert (one.disturbance.late_ns, one.accepted) == (500_030, 20.0)
    assert found.before == {A: counts(6), B: counts(6)}
    assert found.after == {A: counts(10), B: counts(10)}


def test_a_clock_drifts_by_a_tenth_of_a_millisecond_in_a_second(opened: Opened) -> None:
    generator, hosts = opened({"x": Clock(0, 1_000), "y": Clock(0, 2_000)})
    hosts.now_ns += 10 * NS_PER_S
    (one,) = generator.serve((A,), None).slices
    assert [shard.late_ns for shard in one.shards] == [1_001_000, 1_002_000]


@pytest.mark.parametrize(("set_by_ns", "again"), [(NS_PER_MS + 500, False), (NS_PER_MS + 501, True)])
def test_a_clock_that_was_set_is_late_by_as_much_and_asked_for_again(
    opened: Opened, set_by_ns: int, again: bool
) -> None:
    """By more than it may be wrong, and a millisecond."""
    offsets = {1: 0, 2: -set_by_ns, 3: -set_by_ns}
    generator, hosts = opened(
        {"x": Clock(0, 500), "y": Clock(0, 700)},
        lambda host, order: said(order, wall_offset_ns=offsets[order.serial] if host == "x" else 9),
    )
    late = [[one.late_ns for one in generator.serve((A, B), None).slices[0].shards] for _ in range(3)]
    assert late == [[500, 700], [500 + set_by_ns, 700], [500, 700]]
    assert hosts.asked == ["x", "y"] * (1 + again)


def test_clocks_are_asked_for_again_after_thirty_seconds(opened: Opened) -> None:
    generator, hosts = opened({"x": Clock(0, 500), "y": Clock(0, 700)})
    hosts.now_ns += 30 * NS_PER_S
    generator.serve((A, B), None)
    assert hosts.asked == ["x", "y"]
    hosts.now_ns += 1
    generator.serve((A, B), None)
    assert hosts.asked == ["x", "y"] * 2


def test_a_host_that_does_not_say_its_time_again_keeps_the_clock_that_it_had(opened: Opened) -> None:
    """Which is less well known by then; a better answer takes its place."""
    generator, hosts = opened({"x": Clock(0, 500), "y": Clock(40, 700)})
    hosts.now_ns += 31 * NS_PER_S
    hosts.clocks |= {"x": OSError("gone"), "y": Clock(50, 600)}
    (one,) = generator.serve((A,), None).slices
    assert [shard.late_ns for shard in one.shards] == [500 + 3_100_000, 600]


def test_each_host_is_told_the_same_instant_by_its_own_clock(opened: Opened) -> None:
    generator, hosts = opened({"x": Clock(3_000, 1), "y": Clock(-2_000, 1)})
    hosts.now_ns += 5
    generator.serve((A, B), None)
    begin_ns = EPOCH_NS + 7 * NS_PER_S + 5 + 500 * NS_PER_MS
    assert {(mine, host): order.begin_at_ns for mine, host, order in hosts.orders} == {
        (A, "x"): begin_ns + 3_000, (B, "x"): begin_ns + 3_000, (A, "y"): begin_ns - 2_000, (B, "y"): begin_ns - 2_000,
    }  # fmt: skip
    for _, _, order in hosts.orders:
        assert (order.serial, order.sides, order.metrics) == (1, (A, B), ("throughput",))
        assert order.times.whole_ns == 120 * NS_PER_MS


def test_whoever_hears_of_slices_too_late_hears_of_the_next_ones_sooner(opened: Opened) -> None:
    """Twice as soon each time, up to eight seconds."""
    ahead = {"x": 0, "y": -1}
    generator, hosts = opened(
        {"x": Clock(0, 1), "y": Clock(0, 1)}, lambda host, order: said(order, ahead_ns=ahead[host])
    )
    for _ in range(6):
        generator.serve((A,), None)
    ahead["y"] = 0
    generator.serve((A,), None)
    begun = {order.serial: order.begin_at_ns - EPOCH_NS - hosts.now_ns for _, _, order in hosts.orders}
    assert [begun[serial] / NS_PER_S for serial in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]


def test_whose_processes_are_not_foreign(opened: Opened) -> None:
    """A shard's own on each host, and those of others beside it; builds and this process where they are."""
    clocks: dict[str, Clock | OSError] = {name: Clock(0, 1) for name in ("here", "there", "beside")}
    places = {"here": cpu_time.place(), "there": "far away", "beside": "far away"}
    generator, hosts = opened(clocks, places=places)
    generator.serve((A,), {55})
    generator.serve((A,), None)
    roots = {(order.serial, host): order.roots for mine, host, order in hosts.orders if mine is A}
    assert roots == {
        (1, "here"): {100, 55, os.getpid()}, (1, "there"): {101, 102}, (1, "beside"): {101, 102},
        (2, "here"): None, (2, "there"): {101, 102}, (2, "beside"): {101, 102},
    }  # fmt: skip


def test_two_errors_of_a_clock_must_fit_into_what_is_not_measured(opened: Opened) -> None:
    opened({"x": Clock(0, 20 * NS_PER_MS - 1), "y": Clock(0, 1)})
    text = "the clock of shard 2 is known to 20.0 ms only, and two such errors .* not measured, 40 ms: serve longer"
    with pytest.raises(SetupError, match=text):
        opened({"x": Clock(0, 1), "y": Clock(0, 20 * NS_PER_MS)})


def test_a_shard_that_never_said_its_time_is_named(opened: Opened) -> None:
    with pytest.raises(SetupError, match=r"^shard 2 does not answer when it is asked for its clock$"):
        opened({"x": Clock(0, 1), "y": OSError("gone")})


def test_a_side_that_cannot_begin_leaves_the_other_one_not_at_work(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[RunControl] = []
    run = Hosts.run

    def one_begins(hosts: Hosts, *_: object, control: RunControl, turns: ClusterTurns, **__: object) -> object:
        begun.append(control)
        if len(begun) == 2:
            raise SetupError("no room")
        return run(hosts, control=control, turns=turns)

    monkeypatch.setattr(Hosts, "run", one_begins)
    with pytest.raises(SetupError, match=r"^no room$"):
        opened({"x": Clock(0, 1), "y": Clock(0, 1)})
    assert [control.count for control in begun] == [1, 1]


def test_whoever_leaves_the_slices_ends_both_runs(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[RunControl] = []
    run = Hosts.run

    def begins(hosts: Hosts, *_: object, control: RunControl, turns: ClusterTurns, **__: object) -> object:
        begun.append(control)
        return run(hosts, control=control, turns=turns)

    monkeypatch.setattr(Hosts, "run", begins)
    generator, _ = opened({"x": Clock(0, 1), "y": Clock(0, 1)})
    assert [control.count for control in begun] == [0, 0]
    generator.__exit__()
    assert [control.count for control in begun] == [1, 1]


def test_both_accounts_are_there_at_the_end(opened: Opened) -> None:
    generator, _ = opened({"x": Clock(0, 1), "y": Clock(0, 1)})
    ended = generator.end()
    assert {side: one.messages.accepted for side, one in ended.items()} == {A: len(SOME), B: len(SOME)}
