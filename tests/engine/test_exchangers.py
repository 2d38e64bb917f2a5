"""Mail goes where MX records say, each domain's to its own servers; asked of a small name server on loopback."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.check.name_server import Zone, name_server
from tests.peers.certificates import make_certificate
from tests.peers.independent import aiosmtpd_server
from tests.peers.ports import free_port
from tests.peers.private_sink import PrivateSink, private_sink
from tests.peers.running import Counts, counts, plan_for
from tests.smtp.conversation import letter
from trafficgen import OpenLoop, PlanError, Results, TcpTarget, TlsOptions, run
from trafficgen.cli.parsing import parse_domain
from trafficgen.cli.program import call
from trafficgen.engine.exchangers import look_up
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.engine.sorting import MOST_WAITING, Sorting
from trafficgen.engine.targets import apportioned
from trafficgen.errors import ExitCode, SetupError
from trafficgen.guard import Route
from trafficgen.plan import ExchangerPlan, Plan, Retried, RetryPlan, Security, ShapePlan
from trafficgen.protocol.smtp.interfaces import Work
from trafficgen.workload import AS_DELIVERED
from trafficgen.workload.envelopes import Envelopes

ZONE: Zone = {
    ("a.test", "MX"): ["10 mx1.a.test.", "20 mx.b.test."],
    ("mx1.a.test", "A"): "127.0.0.1",
    ("b.test", "MX"): "5 mx.b.test.",
    ("mx.b.test", "A"): "127.0.0.2",
    ("none.test", "A"): "127.0.0.3",
    ("none.test", "AAAA"): "::1",
    ("null.test", "MX"): "0 .",
    ("mixed.test", "MX"): ["0 .", "10 mx1.a.test."],
    ("dangling.test", "MX"): "10 gone.test.",
    ("public.test", "MX"): ["10 mx1.a.test.", "20 mx.public.test."],
    ("mx.public.test", "A"): "192.0.2.7",
    ("broken.test", "MX"): "SERVFAIL",
    ("even.test", "MX"): ["10 mx.b.test.", "10 mx1.a.test.", "20 mx4.test."],
    ("mx4.test", "A"): "127.0.0.4",
}


@pytest.fixture(scope="module")
def resolver() -> Iterator[TcpTarget]:
    with name_server(ZONE) as port:
        yield TcpTarget("127.0.0.1", port)


def plan(resolver: TcpTarget, port: int, *domains: str, **words: Any) -> Plan:
    workload = {"domains": tuple(map(parse_domain, domains)), "domain_suffix": "", **words.pop("workload", {})}
    fields = {"sessions": 4, "messages": 1, **words}
    return plan_for(None, exchangers=ExchangerPlan(port, resolver), workload=workload, **fields)


@contextmanager
def sinks(*hosts: str) -> Iterator[tuple[int, list[PrivateSink]]]:
    """Sinks at one port of these addresses."""
    port = free_port()
    with ExitStack() as stack:
        yield port, [stack.enter_context(private_sink(TcpTarget(host, port))) for host in hosts]


def domains_of(results: Results, sent: Plan) -> list[set[int]]:
    """Numbers of the messages for each domain."""
    drawn = Envelopes(sent, AS_DELIVERED).domain_of(0)[: results.messages.planned]
    return [{int(number) for number in (drawn == at).nonzero()[0]} for at in range(len(results.targets))]


# -- where mail goes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"session": {"max_messages": 1}, "workers": 2},
        {"session": {"chunks": 4}},
        {"session": {"shape": ShapePlan(think_ns=1)}, "load": OpenLoop(4000.0)},
        {"retry": RetryPlan(Retried.REFUSED_FOR_NOW, 1, 1_000_000), "load": OpenLoop(4000.0)},
    ],
    ids=["kept", "one a session", "chunks", "rate", "retry"],
)
def test_every_server_gets_the_mail_of_its_domains_and_no_other(resolver: TcpTarget, words: dict[str, Any]) -> None:
    with sinks("127.0.0.1", "127.0.0.2") as (port, (one, other)):
        sent = plan(resolver, port, "a.test:3", "b.test:1", messages=200, **words)
        results = run(sent)
        arrived = [set(sink.arrivals(sent.run_id).numbers.tolist()) for sink in (one, other)]
    assert counts(results) == Counts(accepted=200)
    assert arrived == domains_of(results, sent)
    assert [(target.target, target.weight) for target in results.targets] == [
        (f"a.test:{port}", 0.75), (f"b.test:{port}", 0.25),
    ]  # fmt: skip
    assert [target.accepted for target in results.targets] == list(map(len, arrived))
    assert all(target.sessions for target in results.targets)
    assert results.run.addresses == (f"127.0.0.1:{port}", f"127.0.0.2:{port}", f"127.0.0.2:{port}")


def test_a_server_that_does_not_answer_is_passed_over_for_the_next_one(resolver: TcpTarget) -> None:
    with sinks("127.0.0.2") as (port, (second,)):
        results = run(plan(resolver, port, "a.test", messages=20, session={"max_messages": 1}))
        assert second.received == 20
    assert counts(results) == Counts(accepted=20)


def test_servers_of_one_preference_share_the_sessions(resolver: TcpTarget) -> None:
    with sinks("127.0.0.1", "127.0.0.2", "127.0.0.4") as (port, found):
        sent = plan(resolver, port, "even.test", "b.test", messages=80, sessions=2, session={"max_messages": 1})
        results = run(sent)
        ours = [sink.arrivals(sent.run_id).numbers.tolist() for sink in found]
    assert counts(results) == Counts(accepted=80)
    even = domains_of(results, sent)[0]
    first, second = (len(even & set(numbers)) for numbers in ours[:2])
    assert abs(first - second) <= 1
    assert ours[2] == []


def test_a_domain_whose_servers_are_gone_fails_alone(resolver: TcpTarget) -> None:
    with sinks("127.0.0.2") as (port, (sink,)):
        results = run(plan(resolver, port, "b.test", "none.test", messages=40, session={"max_messages": 1}))
        reached, lost = results.targets
        assert reached.accepted == sink.received == reached.started
    assert (lost.failed, lost.accepted) == (lost.started, 0)
    assert counts(results) == Counts(accepted=reached.accepted, failed=lost.failed)


def test_a_certificate_is_for_the_exchanger_and_not_for_the_domain(resolver: TcpTarget, tmp_path: Path) -> None:
    (tmp_path / "authority").mkdir()
    authority = make_certificate(tmp_path / "authority", host="authority.test")
    shown = make_certificate(tmp_path, host="mx1.a.test", signed_by=authority)
    session = {"security": Security.STARTTLS, "tls": TlsOptions(authority=authority.certificate)}
    with aiosmtpd_server(starttls=shown.server_context()) as (port, mailbox):
        results = run(plan(resolver, port, "a.test", messages=2, session=session))
        other = run(plan(resolver, port, "public.test", messages=1, session=session, allow_public_target=True))
    assert counts(results) == Counts(accepted=2)
    assert counts(other) == Counts(accepted=1)
    assert len(mailbox.messages) == 3


# -- what the DNS says ----------------------------------------------------------------------------------


def routes(resolver: TcpTarget, *domains: str, **words: Any) -> list[Route]:
    return list(look_up(ResolvedPlan.of(plan(resolver, 25, *domains, **words)))[1])


def hosts(route: Route) -> list[tuple[str, str]]:
    return [(route.host_at(at), str(address)) for at, address in enumerate(route.addresses)]


def test_exchangers_come_by_preference_and_a_domain_without_any_is_its_own(resolver: TcpTarget) -> None:
    a, none = routes(resolver, "a.test", "none.test")
    assert hosts(a) == [("mx1.a.test", "127.0.0.1:25"), ("mx.b.test", "127.0.0.2:25")]
    assert hosts(none) == [("none.test", "127.0.0.3:25"), ("none.test", "[::1]:25")]
    assert (a.equal, none.equal) == (1, 2)


def test_those_of_one_preference_come_in_random_order_which_the_seed_decides(resolver: TcpTarget) -> None:
    orders = [hosts(routes(resolver, "even.test", seed=seed)[0]) for seed in range(12)]
    assert {len(order) for order in orders} == {3}
    assert {order[2] for order in orders} == {("mx4.test", "127.0.0.4:25")}
    assert {order[0][0] for order in orders} == {"mx1.a.test", "mx.b.test"}
    assert hosts(routes(resolver, "even.test", seed=3)[0]) == orders[3]


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("null.test", '"null.test" takes no mail: it says so'),
        ("mixed.test", '"mixed.test" takes no mail: a null MX stands beside others'),
        ("dangling.test", 'nobody takes mail for "dangling.test": no address for gone.test'),
        ("unknown.test", 'nobody takes mail for "unknown.test": it has neither MX records nor an address'),
        ("broken.test", 'cannot look up where mail for "broken.test" goes: MX of broken.test'),
    ],
)
def test_a_domain_that_nobody_takes_mail_for_is_one_line_before_the_run(
    resolver: TcpTarget, domain: str, words: str
) -> None:
    with pytest.raises(SetupError, match=words):
        run(plan(resolver, 25, "a.test", domain))


def test_every_exchanger_passes_the_guard_and_is_named(resolver: TcpTarget) -> None:
    words = r'"mx\.public\.test", which takes mail for "public\.test", is at 192\.0\.2\.7, which is not a loopback'
    with pytest.raises(PlanError, match=words):
        run(plan(resolver, 25, "public.test"))


def test_each_domain_needs_a_session_in_every_worker(resolver: TcpTarget) -> None:
    with pytest.raises(PlanError, match="expected a session for each of 2 domains, got 1"):
        run(plan(resolver, 25, "a.test", "b.test", sessions=1))
    resolved = ResolvedPlan.of(plan(resolver, 25, "a.test", "b.test", sessions=5))
    (one, *more) = look_up(resolved)[1]
    assert resolved.at(one, 16, tuple(more)).workers == 2


# -- sorting --------------------------------------------------------------------------------------------


class Drawn:
    """A source whose messages are for these domains, in this order."""

    next_due_ns = None

    def __init__(self, domains: list[int]) -> None:
        self.left = list[Work]((letter(at)._replace(domain=one), -1) for at, one in enumerate(domains))[::-1]
        self.stopped = False

    @property
    def exhausted(self) -> bool:
        return self.stopped or not self.left

    def take(self, _now_ns: int) -> Work | None:
        return None if self.stopped or not self.left else self.left.pop()

    def give_back(self, work: Work) -> None:
        self.left.append(work)

    def stop(self) -> None:
        self.stopped = True


class Soon:
    """Calls at once what a loop would call soon."""

    def call_soon(self, act: Any, *given: Any) -> None:
        act(*given)


@given(
    domains=st.lists(st.integers(0, 2), max_size=300), asking=st.lists(st.integers(0, 2), max_size=400),
    stop_at=st.integers(0, 400),
)  # fmt: skip
def test_whoever_asks_gets_its_own_mail_in_order_and_all_of_it_is_somewhere(
    domains: list[int], asking: list[int], stop_at: int
) -> None:
    source = Drawn(domains)
    sorting = Sorting(source, 3, Soon(), lambda _at: None)  # type: ignore[arg-type]
    got: list[list[int]] = [[], [], []]
    for step, one in enumerate(asking):
        if step == stop_at:
            sorting.stop()
        if (work := sorting.shares[one].take(0)) is not None:
            assert work[0].domain == one
            got[one].append(work[0].number)
    assert [numbers == sorted(numbers) for numbers in got] == [True] * 3
    assert sum(map(len, got)) + sorting.waiting + len(source.left) == len(domains)
    assert len(asking) <= stop_at or sorting.waiting == 0


def test_what_waits_for_one_domain_is_bounded_and_then_everybody_waits() -> None:
    source = Drawn([0, *[1] * 3000, 0, 0])
    woken: Counter[int] = Counter()
    sorting = Sorting(source, 2, Soon(), lambda at: woken.update([at]))  # type: ignore[arg-type]
    mine, other = sorting.shares
    assert mine.take(0) is not None
    while len(source.left) + MOST_WAITING > 3002:
        assert mine.take(0) is None  # the loop would ask again soon
    before = woken[0]
    assert mine.take(0) is None
    assert sorting.waiting == MOST_WAITING
    assert woken[0] == before
    assert not mine.exhausted
    for _ in range(MOST_WAITING // 2):
        assert other.take(0) is not None
    assert woken[0] == before + 1


@given(weights=st.lists(st.integers(1, 1000), min_size=1, max_size=12), more=st.integers(0, 200))
def test_sessions_are_shared_by_weight_and_nobody_is_without(weights: list[int], more: int) -> None:
    count = len(weights) + more
    given_ = apportioned(count, weights)
    assert sum(given_) == count
    assert min(given_) >= 1
    lowered = [count * one / sum(weights) for one in weights]
    if min(lowered) >= 1:
        assert all(abs(one - wanted) < 1 for one, wanted in zip(given_, lowered, strict=True))


# -- the command line -----------------------------------------------------------------------------------


def test_the_command_says_where_mail_goes(resolver: TcpTarget, capsys: pytest.CaptureFixture[str]) -> None:
    with sinks("127.0.0.1", "127.0.0.2") as (port, found):
        options = [
            "--mx", "--mx-port", str(port), "--resolver", str(resolver), "--domain", "a.test:3", "--domain", "b.test",
            "--domain-suffix", "", "--message-count", "40", "--concurrency", "4", "--workers", "1",
        ]  # fmt: skip
        assert call(options) is ExitCode.DONE
        assert sum(sink.received for sink in found) == 40
    out, err = capsys.readouterr()
    assert f"mail for a.test goes to mx1.a.test at 127.0.0.1:{port}, mx.b.test at 127.0.0.2:{port}" in err
    assert f"a.test:{port}  75.00%" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mx", "--target", "127.0.0.1"], "expected no --target where mail goes by MX records"),
        (["--mx", "--cluster", "local:2"], "expected no --cluster where mail goes by MX records"),
        (["--mx-port", "26"], "add --mx"),
        (["--resolver", "127.0.0.1"], "add --mx"),
        (["--mx", "--resolver", "names"], 'expected ADDRESS[:PORT], got "names"'),
        (["--mx", "--mx-port", "0"], "expected a port from 1 to 65535, got 0"),
        (["--mx", "--recipients", "2"], "expected one recipient a message"),
        (["--mx", "--proxy-protocol", "v1", "--proxy-from", "10.0.0.1"], "expected one target with a PROXY header"),
        (["--mx", "--shard", "1/2", "--seed", "1", "--run-id", "0" * 16, "--concurrency", "4", "--start-at",
          "2036-01-01T00:00:00Z"], "the same for all shards"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_it_is_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*options, "--message-count", "2", "--dry-run"]) is ExitCode.USAGE
    assert words in capsys.readouterr().err
