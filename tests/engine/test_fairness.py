"""However many sessions have something to read, the loop's other work has its turn; no reply is taken for another."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.engine.owner import Freed
from tests.engine.wire import Wire
from tests.smtp.conversation import Notebook, letter, session_for
from trafficgen.engine.fairness import SLICE_NS, Turns
from trafficgen.engine.link import Link
from trafficgen.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

GREETING = b"220 hello\r\n"
HELLO = (GREETING, b"250-there\r\n250 PIPELINING\r\n")
IN_DATA = (*HELLO, b"250 ok\r\n250 ok\r\n354 go\r\n")
TAKEN = b"250 taken\r\n"


class SlowWire(Wire):
    """A transport that writes nothing anywhere, and takes its time for it."""

    def __init__(self, loop: "Loop") -> None:
        super().__init__()
        self.loop = loop
        self.written: list[bytes] = []

    def write(self, octets: bytes) -> None:
        self.written.append(octets)
        self.loop.now += self.loop.write_ns

    def get_extra_info(self, name: str) -> object:
        """As of TLS: nothing goes past this."""
        return self if name == "ssl_object" else None


class Loop:
    """What is to be called soon, and a clock that only a write moves."""

    def __init__(self) -> None:
        self.now = 10**18
        self.write_ns = 0
        self.soon: list[Callable[[], None]] = []
        self.turns = Turns(self.soon.append)

    def turn(self) -> int:
        """Call what is due; how much it was."""
        due, self.soon[:] = self.soon[:], []
        for act in due:
            act()
        return len(due)

    def make_late(self) -> None:
        """As if this turn had lasted for long."""
        self.turn()
        self.now = max(self.now, self.turns.ends_ns) + 1
        assert not self.turns.over(self.now)
        self.now += SLICE_NS + 1

    def link(self, letters: int = 1, *, said: tuple[bytes, ...] = ()) -> tuple[Link, SlowWire, Notebook, Freed]:
        """A connected link whose server has said that; what has been written meanwhile is forgotten."""
        session, _, book = session_for([letter(number) for number in range(letters)])
        freed = Freed()
        link, wire = Link(session, self.turns, freed), SlowWire(self)
        link.connection_made(cast("Any", wire))
        for reply in said:
            link.data_received(reply)
        wire.written.clear()
        return link, wire, book, freed


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    for module in ("fairness", "link"):
        monkeypatch.setattr(f"trafficgen.engine.{module}.now_ns", lambda: loop.now)
    return loop


def test_within_a_slice_links_act_at_once_and_the_loop_is_asked_once(loop: Loop) -> None:
    for _ in range(50):
        link, wire, _, _ = loop.link()
        link.data_received(GREETING)
        assert wire.written == [b"EHLO client.test\r\n"]
    assert loop.turn() == 1
    assert loop.turn() == 0


def test_after_a_slice_reads_wait_in_their_order_and_others_are_called_between(loop: Loop) -> None:
    wires, seen = [], []
    loop.make_late()
    for _ in range(6):
        link, wire, _, _ = loop.link()
        wires.append(wire)
        link.data_received(GREETING)
        assert wire.written == []
    loop.write_ns = SLICE_NS // 2
    while loop.soon:
        loop.turn()
        seen.append([bool(wire.written) for wire in wires].count(True))
        assert [bool(wire.written) for wire in wires] == sorted([bool(wire.written) for wire in wires], reverse=True)
    assert seen == [3, 6, 6]
    link, wire, _, _ = loop.link()
    link.data_received(GREETING)
    assert wire.written != []


def test_whoever_comes_while_others_wait_is_behind_them(loop: Loop) -> None:
    loop.make_late()
    first, second = loop.link(), loop.link()
    first[0].data_received(GREETING)
    loop.write_ns = SLICE_NS + 1
    second[0].data_received(GREETING)
    loop.turn()
    assert (first[1].written != [], second[1].written != []) == (True, False)
    loop.write_ns = 0
    third = loop.link()
    third[0].data_received(GREETING)
    assert third[1].written == []
    loop.turn()
    assert second[1].written
    assert third[1].written


def test_what_came_in_two_reads_is_looked_at_as_one(loop: Loop) -> None:
    """A second reply that had come before the next envelope went out is not the reply to that."""
    link, wire, book, freed = loop.link(letters=1, said=IN_DATA)
    loop.make_late()
    link.data_received(TAKEN)
    link.data_received(b"250 one more\r\n")
    assert (freed, book.outcomes) == ([], [])
    loop.turn()
    assert book.outcomes == [(0, Outcome.IN_DOUBT)]
    assert wire.closed


@pytest.mark.parametrize("end", ["eof_received", "connection_lost", "stop"])
def test_a_reply_that_was_put_off_counts_when_the_connection_ends(loop: Loop, end: str) -> None:
    link, _, book, freed = loop.link(said=IN_DATA)
    loop.make_late()
    link.data_received(TAKEN)
    assert book.outcomes == []
    getattr(link, end)(*{"eof_received": (), "connection_lost": (None,), "stop": ("stopped", "")}[end])
    assert book.outcomes == [(0, Outcome.ACCEPTED)]
    assert freed
    loop.turn()
    assert book.outcomes == [(0, Outcome.ACCEPTED)]


def test_a_session_that_waits_for_nothing_hears_at_once(loop: Loop) -> None:
    link, _, _, freed = loop.link(said=(*IN_DATA, TAKEN))
    freed.clear()
    loop.make_late()
    link.data_received(b"421 4.4.2 idle for too long\r\n")
    assert link.session.closed
    assert freed == [link]


def test_a_reply_while_octets_wait_here_is_looked_at_at_once(loop: Loop) -> None:
    link, wire, book, _ = loop.link(said=IN_DATA)
    wire.waiting = b"x" * 10
    link.pause_writing()
    loop.make_late()
    link.data_received(TAKEN)
    assert book.outcomes == [(0, Outcome.FAILED)]
