"""Who waits in a queue and how long: recipients by domain and age, as Postfix's own tools list them."""

import json
import os
import smtplib
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.postfix import Postfix, private_postfix
from tests.server.test_spool import long_id, queued_by_postfix
from trafficgen.measure.observed import (
    SHAPE_LIMITS_S,
    QueueShape,
    Recording,
    RunClock,
    ServerSamples,
    on_the_runs_clock,
)
from trafficgen.server.agent import Observed, Observer
from trafficgen.server.postqueue import Postqueue
from trafficgen.server.shape import MAX_DOMAINS, OTHERS, News, PostfixShape, _domains_in, recipients_in, shape_of
from trafficgen.server.spool import PostfixSpool

DEFERRED = "defer_transports = smtp relay\nqueue_run_delay = 300s"
MESSAGES = 30
NS = 1_000_000_000


def record(kind: str, text: bytes) -> bytes:
    length = len(text)
    sevens = bytes([length & 0x7F | 0x80, length >> 7]) if length > 0x7F else bytes([length])
    return kind.encode() + sevens + text


HEAD = record("C", b"1 2 3") + record("T", b"1795729985 190775") + record("S", b"s@out.test")


def test_recipients_are_read_up_to_the_message() -> None:
    long = b"u" * 200 + b"@long.test"
    served = record("D", b"served@a.test")
    head = HEAD + record("R", b"a@a.test") + served + record("R", long) + record("M", b"") + record("R", b"no@a.test")
    assert list(recipients_in(head)) == ["a@a.test", long.decode()]


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_octets_and_any_cut_end_the_reading(octets: bytes, cut: int) -> None:
    whole = HEAD + record("R", b"a@a.test") + octets
    assert all(isinstance(one, str) for one in recipients_in(octets))
    assert list(recipients_in(whole[:cut]))[:1] in ([], ["a@a.test"])


def test_ages_are_counted_below_the_first_limit_that_they_do_not_reach() -> None:
    messages = [(100.0, ("a",)), (95.1, ("a", "b")), (95.0, ("a",)), (0.0, ("b",)), (-2000.0, ("a",))]
    found = shape_of(messages, 9, 100.0)
    assert (found["looked"], found["waiting"]) == (5, 9)
    assert found["domains"] == {"a": [2, 1, 0, 0, 0, 0, 0, 0, 0, 1], "b": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]}


def test_domains_beyond_the_table_are_counted_together() -> None:
    messages = [(0.0, (f"d{number:02}",)) for number in range(MAX_DOMAINS + 5)]
    found = shape_of(messages, len(messages), 1.0)["domains"]
    assert len(found) == MAX_DOMAINS + 1
    assert found[OTHERS][0] == 5


def fill(postfix: Postfix) -> None:
    """Some with two recipients."""
    with smtplib.SMTP("127.0.0.1", postfix.port) as client:
        for number in range(MESSAGES):
            to = [f"u@d{number % 3}.test", *(["v@D0.test"] if number % 5 == 0 else [])]
            client.sendmail("s@out.test", to, f"Subject: {number}\r\n\r\nx\r\n")
    deadline = time.monotonic() + 60
    while {str(one["queue_name"]) for one in queued_by_postfix(postfix)} != {"deferred"}:
        assert time.monotonic() < deadline


def said_by_postfix(postfix: Postfix) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in queued_by_postfix(postfix):
        recipients = one["recipients"]
        assert isinstance(recipients, list)
        found.update(to["address"].rpartition("@")[2].lower() for to in recipients)
    return found


def shapes_in(lines: list[str]) -> list[dict[str, dict[str, list[int]]]]:
    return [entry["shape"] for entry in map(json.loads, lines) if "shape" in entry]


def test_a_spool_and_postqueue_give_the_same_shape_as_postfix_says() -> None:
    with private_postfix(1, DEFERRED) as postfix:
        fill(postfix)
        said = said_by_postfix(postfix)
        assert said.total() == MESSAGES + MESSAGES // 5
        lines = Observer(Observed(postfix_queue=postfix.folder / "queue").samplers()).look()
        (seen,) = shapes_in(lines)
        assert {domain: sum(row) for domain, row in seen["domains"].items()} == said

        asked = Postqueue(postfix.folder / "queue", postfix.folder / "config")
        values = answered(asked)
        spool = PostfixSpool(postfix.folder / "queue")
        for queue in ("maildrop", "incoming", "active", "deferred", "hold"):
            spool.look(queue)
        others = spool.values(time.time())
        assert {name: value for name, value in values.items() if "age" not in name and "old" not in name} == {
            name: value for name, value in others.items() if "age" not in name and "old" not in name
        }
        assert values["queue.oldest"] == pytest.approx(others["queue.oldest"], abs=2)
        shape = asked.shape()
        assert shape is not None
        assert {domain: sum(row) for domain, row in shape["domains"].items()} == said


class Opened(PostfixShape):
    """Counts the files that it opens."""

    def __init__(self, spool: PostfixSpool, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(spool)
        self.opened = 0

        def counted(path: str) -> tuple[str, ...] | None:
            self.opened += 1
            return _domains_in(path)

        monkeypatch.setattr("trafficgen.server.shape._domains_in", counted)


def test_a_queue_that_says_nothing_new_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the files never gets a recipient; it is not opened for ever."""
    for queue in ("incoming", "active", "deferred"):
        (tmp_path / queue).mkdir()

    def put(number: int, *recipients: bytes) -> None:
        envelope = HEAD + b"".join(record("R", one) for one in recipients)
        (tmp_path / "deferred" / long_id(1_795_000_000, number)).write_bytes(envelope)

    put(0)
    for number in range(1, 20):
        put(number, b"ann@mx.test")
    spool = PostfixSpool(tmp_path)
    shape = Opened(spool, monkeypatch)
    assert not shape.due(0.0)
    for queue in ("incoming", "active", "deferred"):
        spool.look(queue)
    assert shape.due(0.0)
    shape.sample(0.0)
    found = shape.shape()
    assert found is not None
    assert (found["looked"], found["waiting"], list(found["domains"])) == (19, 20, ["mx.test"])
    assert [shape.due(at) for at in (1.0, 9.9, 10.0)] == [False, False, True]
    shape.sample(10.0)
    assert shape.opened == 20
    put(20, b"ann@mx.test")
    spool.look("deferred")
    assert shape.due(11.0)  # a tenth more


def test_a_shape_is_news_every_ten_seconds_and_when_a_tenth_more_is_in_it() -> None:
    news = News()
    domains: tuple[str, ...] = ("mx.test",)
    looks = [(0.0, 10), (1.0, 10), (1.0, 11), (10.9, 11), (11.0, 11), (12.0, 10), (30.0, 0)]
    found = [news.new(at, [(1.0, domains)] * messages, 12) is not None for at, messages in looks]
    assert found == [True, False, True, False, True, False, False]


def test_what_postqueue_says_wrong_is_missing(tmp_path: Path) -> None:
    asked = Postqueue(tmp_path)
    assert asked._read(0, b'{"queue_name": 7}\n', 0.0) == {}
    assert asked._read(75, b"", 0.0) == {}
    assert len(asked.missing) == 2
    assert all(word.startswith("postqueue -j") for word in asked.missing)


def answered(asked: Postqueue) -> dict[str, float]:
    deadline = time.monotonic() + 60
    while not (values := asked.sample(time.monotonic())):
        assert time.monotonic() < deadline
        assert not asked.missing
    return values


def test_where_the_spool_may_not_be_read_postqueue_is_asked() -> None:
    with private_postfix(1, DEFERRED) as postfix:
        os.seteuid(65534)
        try:
            samplers = Observed(postfix_queue=postfix.folder / "queue").samplers()
            lines = Observer(samplers).look()
        finally:
            os.seteuid(0)
    names = [type(one).__name__ for one in samplers]
    assert "Postqueue" in names
    assert "_PostfixQueues" not in names
    assert any("host.running" in json.loads(line).get("values", {}) for line in lines)


def test_postqueue_is_asked_seldom_and_only_of_the_queue_that_is_meant(tmp_path: Path) -> None:
    with private_postfix(1, DEFERRED) as postfix:
        config = postfix.folder / "config"
        asked = Postqueue(postfix.folder / "queue", config)
        answered(asked)
        at = time.monotonic()
        assert asked.sample(at + 20) == {}
        assert asked._asked is None
        other = Postqueue(tmp_path, config)
        assert other.sample(0.0) == {}
        assert [word for word in other.missing if "postqueue's is" in word]


def line(at_s: float, waiting: int) -> str:
    shape = {"looked": 1, "waiting": waiting, "domains": {"a.test": [waiting, *[0] * 9]}}
    return json.dumps({"mono_ns": round(at_s * NS), "wall_ns": 1, "shape": shape})


def test_results_keep_the_shape_of_when_the_queue_was_fullest_since_the_run_began() -> None:
    recording = Recording()
    assert recording.add(json.dumps({"samples": 1, "host": "mx", "boot_id": "b", "every_s": 1.0}))
    for at_s, waiting in ((1.0, 90), (3.0, 10), (5.0, 30), (7.0, 30), (9.0, 20)):
        assert recording.add(json.dumps({"mono_ns": round(at_s * NS), "wall_ns": 1, "values": {"queue.depth": 1}}))
        assert recording.add(line(at_s, waiting))
    assert recording.add(line(5.0, 30))  # two lines of one moment
    found = on_the_runs_clock(recording, RunClock("b", 2 * NS, 0), "local").shape
    assert found is not None
    assert (found.at_s, found.waiting, found.domains["a.test"][0]) == (3.0, 30, 30)
    assert not recording.add('{"mono_ns": 1, "shape": {"looked": 1, "waiting": 1, "domains": {"a": [1]}}}')


def test_a_table_with_a_wrong_number_of_columns_is_refused() -> None:
    assert tuple(5 * 2**place for place in range(9)) == SHAPE_LIMITS_S
    right = QueueShape(0.0, 1, 1, (5, 10), {"a": (1, 2, 3)})
    ServerSamples("local", "mx", "same", 1.0, 0.0, (0.0,), {}, shape=right).check()
    shape = QueueShape(0.0, 1, 1, (5, 10), {"a": (1, 2)})
    with pytest.raises(ValueError, match="a count for each limit"):
        ServerSamples("local", "mx", "same", 1.0, 0.0, (0.0,), {}, shape=shape).check()
