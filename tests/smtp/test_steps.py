"""The client's table of steps, held against RFC 5321 and against what sessions do."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.conversation import Notebook, Opinions, Queue, letter, send_all
from tests.smtp.test_both_machines import recipients, sizes
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.steps import STEPS

MINUTE = 60


@pytest.mark.parametrize(
    ("phase", "limit_s"),
    [
        (Phase.GREETING, 5 * MINUTE),  # 4.5.3.2.1
        (Phase.MAIL, 5 * MINUTE),  # 4.5.3.2.2
        (Phase.RCPT, 5 * MINUTE),  # 4.5.3.2.3
        (Phase.DATA, 2 * MINUTE),  # 4.5.3.2.4
        (Phase.END_OF_DATA, 10 * MINUTE),  # 4.5.3.2.6
    ],
)
def test_time_limits_are_those_of_the_rfc(phase: Phase, limit_s: int) -> None:
    assert STEPS[phase].limit_s == limit_s


def test_codes_that_let_a_session_go_on_are_those_of_the_rfc() -> None:
    """RFC 5321 section 4.3.2; 3207 section 4, 4954 section 4, 2033 section 4.1; Postfix's XCLIENT and XFORWARD."""
    good = {phase: step.good for phase, step in STEPS.items() if step.good}
    two_fifty = (
        Phase.EHLO,
        Phase.HELO,
        Phase.LHLO,
        Phase.XFORWARD,
        Phase.MAIL,
        Phase.END_OF_DATA,
        Phase.RSET,
        Phase.NOOP,
    )
    assert good == {
        Phase.GREETING: (220,), Phase.TLS: (220,), Phase.XCLIENT: (220,), Phase.AUTH: (235,), Phase.RCPT: (250, 251),
        Phase.DATA: (354,), Phase.QUIT: (221,), **dict.fromkeys(two_fifty, (250,)),
    }  # fmt: skip


BETWEEN = {Phase.MAIL, Phase.RSET, Phase.QUIT}
FOLLOW = {
    Phase.GREETING: {Phase.EHLO, Phase.LHLO},
    Phase.EHLO: BETWEEN,
    Phase.HELO: BETWEEN,
    Phase.LHLO: BETWEEN,
    Phase.MAIL: {Phase.RCPT},
    Phase.RCPT: {Phase.RCPT, Phase.DATA, Phase.END_OF_DATA},  # RFC 3030: a chunk needs no DATA before it
    Phase.DATA: {Phase.END_OF_DATA},
    Phase.END_OF_DATA: {Phase.END_OF_DATA, Phase.EHLO, Phase.LHLO, *BETWEEN},  # RFC 2033 4.2; EHLO ends a batch
    Phase.RSET: {Phase.MAIL, Phase.QUIT},
    Phase.QUIT: set(),
}
"""What may be answered next, after a right reply: RFC 5321 section 4.1.4."""


class Diary(Notebook):
    """Also keeps replies in their order, and every hit of the cache as none at all."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Phase, int]] = []

    def reply(self, phase: Phase, reply: Reply, count: int = 1) -> None:
        super().reply(phase, reply, count)
        self.steps.append((phase, reply.code))


class NothingLearnt(ReplyCache):
    def learn(self, *_: Any) -> None:
        pass


answers = st.dictionaries(
    st.one_of(
        st.tuples(st.sampled_from(["MAIL", "DATA"]), st.integers(0, 9), st.just(0)),
        st.tuples(st.sampled_from(["RCPT", "END"]), st.integers(0, 9), st.integers(0, 3)),
    ),
    st.sampled_from([450, 550]),
    max_size=4,
)


@given(recipients, answers, sizes, st.integers(0, 3), st.booleans(), st.booleans(), st.integers(0, 3), st.booleans())
def test_after_a_right_reply_comes_a_step_that_the_protocol_allows(
    counts: list[int],
    said: dict[tuple[str, int, int], int],
    pieces: list[int],
    chunks: int,
    lock_step: bool,
    lmtp: bool,
    max_messages: int,
    knows_ehlo: bool,
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    opinions = Opinions(answers=said, chunking=chunks > 0, lmtp=lmtp, knows_ehlo=knows_ehlo or lmtp)
    diary = Diary()
    send_all(
        letters, opinions, sizes=pieces, chunks=chunks, lock_step=lock_step, max_messages=max_messages,
        cache=NothingLearnt(), hello=Phase.LHLO if lmtp else Phase.EHLO, notebook=diary,
    )  # fmt: skip
    assert len(diary.outcomes) == len(letters)
    for (phase, code), (following, _) in pairwise(diary.steps):
        new_session = following is Phase.GREETING
        assert new_session or code not in STEPS[phase].good or following in FOLLOW[phase], (phase, following)


def test_a_session_knows_how_long_its_server_may_take() -> None:
    queue = Queue([letter(0)])
    session = ClientSession(queue, Notebook(), SessionOptions(), ReplyCache())
    work = queue.take(0)
    assert work is not None
    session.greet(work, 0)
    limits = [session.limit_s]
    for said in (b"220 x\r\n", b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n"):
        session.feed(said, 0)
        limits.append(session.limit_s)
    assert [limit // MINUTE for limit in limits] == [5, 5, 5, 5, 2, 10, 5]
