"""The fast paths of a server session give what the general path gives, whatever a client sends and in whatever pieces.

Two sessions get the same octets, each cut in its own way; one of them has no fast path. They must send the same
replies, accept the same messages for the same recipients in the same order, and end in the same state.
"""

from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.sink.policy.sessions import Clock
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.policy_hooks import PolicyHooks, Suspension
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.policy.faults import read
from trafficgen.sink.policy.limits import Limits, RateLimit
from trafficgen.sink.policy.policy import Policy, PolicyConfig
from trafficgen.sink.policy.responses import parse


class Accepted(NamedTuple):
    """What a receiver could see of a message when it was complete."""

    content: bytes
    copies: int
    sender: bytes | None
    recipients: list[bytes]
    parameters: dict[bytes, bytes]


class Box:
    """Keeps messages as their session accepts them; may have no room. Implements `Receiver`."""

    def __init__(self) -> None:
        self.session: ServerSession
        self.accepted: list[Accepted] = []
        self.refused = 0
        self.full = False
        self._content = b""

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        assert self._content == b""
        self.piece(data[:end].replace(b"\r\n.", b"\r\n"))
        self.ended(recipients)

    def piece(self, octets: bytes) -> None:
        self._content += octets

    def ended(self, recipients: int) -> None:
        if self.full:
            raise OSError("full")
        session = self.session
        self.accepted.append(
            Accepted(self._content, recipients, session.sender, list(session.recipients), dict(session.parameters))
        )
        self._content = b""

    def dropped(self) -> None:
        self.refused += bool(self._content)
        self._content = b""


class GeneralSession(ServerSession):
    """Without the fast paths."""

    __slots__ = ()

    def _fast_commands(self, data: bytes) -> bytes:
        return b""

    def _fast_message(self, data: bytes) -> bytes:
        return b""

    def _fast_chunks(self, data: bytes, replies: list[bytes]) -> bytes:
        return data


class CountingSession(ServerSession):
    """Counts what its fast paths took."""

    __slots__ = ("fast",)

    def __init__(self, box: Box, policy: PolicyHooks | None, capabilities: Capabilities) -> None:
        super().__init__(box, policy, capabilities)
        self.fast = {"commands": 0, "message": 0, "chunks": 0}

    def _fast_commands(self, data: bytes) -> bytes:
        reply = super()._fast_commands(data)
        self.fast["commands"] += bool(reply)
        return reply

    def _fast_message(self, data: bytes) -> bytes:
        reply = super()._fast_message(data)
        self.fast["message"] += bool(reply)
        return reply

    def _fast_chunks(self, data: bytes, replies: list[bytes]) -> bytes:
        before = len(replies)
        rest = super()._fast_chunks(data, replies)
        self.fast["chunks"] += len(replies) - before
        return rest


Cuts = tuple[list[int], list[int]] | None

MAIL, RCPT, DATA = b"MAIL FROM:<a@a.test>\r\n", b"RCPT TO:<b@b.test>\r\n", b"DATA\r\n"
ENVELOPE = MAIL + RCPT + DATA

FAULTS = [
    "reject mail:450:30%", "reject rcpt:550:30%", "reject data:451:30%", "reject dot:452:30%", "reject rcpt:421:5%",
    "delay mail:1s:30%", "delay rcpt:1s:30%", "delay data:1s:30%", "delay dot:1s:30%", "delay helo:1s:30%",
    "drip rcpt:1ms:30%", "drip data:1ms:30%", "drip dot:1ms:30%", "drop dot:after:5%", "drop data:before:5%",
    "stall dot:after:5%", "reset rcpt:5%", "garbage data:10%", "truncate data:5b:50%", "stall data:after:5%",
]  # fmt: skip

mails = st.sampled_from(
    [MAIL, MAIL, MAIL, b"MAIL FROM:<>\r\n", b"mail from:<c@c.test>\r\n", b"MAIL FROM:<a@a.test> SIZE=90\r\n",
     b"MAIL FROM:<a@a.test> BODY=8BITMIME\r\n", b"MAIL FROM:<a@a.test> SIZE=9999\r\n", b"MAIL FROM:a\r\n"]
)  # fmt: skip
rcpts = st.sampled_from(
    [RCPT, RCPT, RCPT, b"RCPT TO:<Big@Busy.test>\r\n", b"RCPT TO:<b@b.test> NOTIFY=NEVER\r\n", b"RCPT TO:<>\r\n",
     b"RCPT TO:<tempfail@b.test>\r\n", b"RCPT TO:<u@strict.test>\r\n", b"RCPT TO:<u@busy.test>\r\n"]
)  # fmt: skip
others = st.sampled_from(
    [b"RSET\r\n", b"RSET\r\n", b"NOOP\r\n", b"VRFY b\r\n", b"HELP\r\n", b"EHLO x\r\n", b"HELO x\r\n", b"LHLO x\r\n",
     b"what\r\n", b"\r\n", b"DATA now\r\n", b"RCPT TO:<b@b.test>\n\r\n", b"XCLIENT ADDR=192.0.2.9\r\n",
     b"QUIT\r\n"]
)  # fmt: skip
logins = st.sampled_from(
    [b"AUTH PLAIN AGEAYg==\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"AGEAYg==\r\n", b"YQ==\r\n", b"*\r\n"]
)
bodies = st.lists(
    st.sampled_from(
        [b"Subject: x\r\n", b"\r\n", b"text\r\n", b"..dot\r\n", b"..\r\n", b"bare\n.\nline\r\n", b"x\r.\r\n", b"end",
         b"QUIT\r\n", b".\n", b"\xff\x00\r\n", b"y" * 200 + b"\r\n"]
    ),
    max_size=5,
).map(b"".join)  # fmt: skip
cuts = st.lists(st.one_of(st.integers(1, 12), st.integers(1, 120), st.just(10**6)), min_size=1, max_size=6)
WHOLE = [10**6]
pieces = st.one_of(st.just((WHOLE, WHOLE)), st.just((WHOLE, WHOLE)), st.just(None), st.tuples(cuts, cuts))
"""How what is pending is cut for the fast and for the general session; None: it waits for more."""

settings_of_a_session = st.fixed_dictionaries(
    {
        "lmtp": st.sampled_from([False, False, True]),
        "policy": st.sampled_from(["none", "none", "none", "plain", "limits", "table"]),
        "auth": st.booleans(),
        "hidden": st.sampled_from([frozenset()] * 5 + [frozenset({"CHUNKING"})]),
        "require": st.sampled_from([""] * 6 + ["tls", "auth"]),
    }
)
some_faults = st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(FAULTS), min_size=1, max_size=2))
_TABLE = """
[default]
bounce = 20
defer = 10
[domain."strict.test"]
bounce = 50
stage = "rcpt"
[domain."busy.test"]
defer = 50
stage = "data"
"""


class TwoSessions(RuleBasedStateMachine):
    """What is said is sent to both sessions, cut for each of them, or waits to be sent with what follows."""

    sessions: tuple[ServerSession, ...] = ()
    policies: tuple[Policy, ...] = ()

    @initialize(given=settings_of_a_session, faults=some_faults)
    def begin(self, given: dict[str, object], faults: list[str]) -> None:
        capabilities = Capabilities(
            lmtp=bool(given["lmtp"]),
            starttls=True,
            auth=bool(given["auth"]),
            xclient=True,
            xforward=True,
            require_tls=given["require"] == "tls",
            require_auth=given["require"] == "auth",
            hidden=given["hidden"],  # type: ignore[arg-type]
        )
        self.boxes = Box(), Box()
        parts: list[PolicyHooks | None] = [None, None]
        if given["policy"] != "none":
            limits = Limits()
            if given["policy"] == "limits":
                second = 10**9
                limits = Limits(9, RateLimit(8, second), 9, 3, RateLimit(9, second), (), 400)
            config = PolicyConfig(
                **({"responses": parse(_TABLE)} if given["policy"] == "table" else {}),  # type: ignore[arg-type]
                limits=limits,
                faults=tuple(map(read, faults)),
                seed=7,
            )
            self.policies = (Policy(config, clock=Clock()), Policy(config, clock=Clock()))
            parts = [policy.session(b"192.0.2.1") for policy in self.policies]
        self.sessions = (
            ServerSession(self.boxes[0], parts[0], capabilities),
            GeneralSession(self.boxes[1], parts[1], capabilities),
        )
        for box, session in zip(self.boxes, self.sessions, strict=True):
            box.session = session
        self.pending = b""
        self.compare([self.after(session, session.greet(), [], greeting=True) for session in self.sessions])

    # -- what happens around them -------------------------------------------------------------------------

    @rule(lines=some_faults, full=st.sampled_from([False, False, True]))
    def something_changes(self, lines: list[str], full: bool) -> None:
        """Other faults, room for messages or none."""
        self.say(b"", (WHOLE, WHOLE))
        for policy in self.policies:
            policy.set_faults(map(read, lines))
        for box in self.boxes:
            box.full = full

    # -- the comparison -----------------------------------------------------------------------------------

    def say(self, octets: bytes, cut_as: Cuts, *, impatient: bool = False) -> None:
        self.pending += octets
        if cut_as is None:
            return
        octets, self.pending = self.pending, b""
        replies = []
        for session, sizes in zip(self.sessions, cut_as, strict=True):
            pieces = cut(octets, sizes)
            said = b""
            while pieces:
                said += self.after(session, session.feed(pieces.pop(0)), pieces if impatient else [])
            replies.append(said)
        self.compare(replies)

    def after(self, session: ServerSession, reply: bytes, pieces: list[bytes], *, greeting: bool = False) -> bytes:
        """The reply and all that follow it, once what the session waits for has passed; pieces may come meanwhile."""
        while (suspension := session.suspension) in (Suspension.WAIT, Suspension.DRIP, Suspension.START_TLS):
            if suspension is Suspension.START_TLS:
                session.secured()
                continue
            while pieces:
                assert session.feed(pieces.pop(0)) == b""
            reply += session.greet() if greeting and suspension is Suspension.WAIT else session.resume()
        return reply

    def compare(self, replies: list[bytes]) -> None:
        assert replies[0] == replies[1]
        fast, general = self.boxes
        assert fast.accepted == general.accepted
        assert fast.refused == general.refused
        fields = ("sender", "recipients", "parameters", "closed", "suspension", "smuggled", "unanswered", "drip_ns")
        states = [{field: getattr(session, field) for field in fields} for session in self.sessions]
        assert states[0] == states[1]
        for session in self.sessions:
            session.unanswered = False


class Anything(TwoSessions):
    """Commands in any order, pipelined or not, whole or in pieces."""

    @rule(line=mails, cut_as=pieces)
    def mail(self, line: bytes, cut_as: Cuts) -> None:
        self.say(line, cut_as)

    @rule(line=rcpts, cut_as=pieces)
    def rcpt(self, line: bytes, cut_as: Cuts) -> None:
        self.say(line, cut_as)

    @rule(cut_as=pieces)
    def data(self, cut_as: Cuts) -> None:
        self.say(DATA, cut_as)

    @rule(mail=mails, all_rcpts=st.lists(rcpts, min_size=1, max_size=3), cut_as=pieces)
    def envelope(self, mail: bytes, all_rcpts: list[bytes], cut_as: Cuts) -> None:
        self.say(mail + b"".join(all_rcpts) + DATA, cut_as)

    @rule(body=bodies, cut_as=pieces)
    def part_of_a_message(self, body: bytes, cut_as: Cuts) -> None:
        self.say(body, cut_as)

    @rule(body=bodies, next_envelope=st.booleans(), cut_as=pieces)
    def message(self, body: bytes, next_envelope: bool, cut_as: Cuts) -> None:
        """The end of data with or without the next envelope."""
        line_end = b"" if not body or body.endswith(b"\r\n") else b"\r\n"
        self.say(body + line_end + b".\r\n" + (ENVELOPE if next_envelope else b""), cut_as)

    @rule(mail=mails, all_rcpts=st.lists(rcpts, min_size=1, max_size=3), body=bodies, cut_as=pieces)
    def lock_step(self, mail: bytes, all_rcpts: list[bytes], body: bytes, cut_as: Cuts) -> None:
        """A message, one line after another."""
        for line in (mail, *all_rcpts, DATA):
            self.say(line, (WHOLE, WHOLE))
        self.message(body, next_envelope=True, cut_as=cut_as)

    @rule(body=bodies, last=st.booleans(), more=st.sampled_from([0, 0, 0, -2, 3, 30]), cut_as=pieces)
    def bdat(self, body: bytes, last: bool, more: int, cut_as: Cuts) -> None:
        """Sometimes fewer octets follow than were announced, or more."""
        self.say(b"BDAT %d%b\r\n" % (max(len(body) + more, 0), b" LAST" if last else b"") + body, cut_as)

    @rule(
        all_bodies=st.lists(bodies, min_size=1, max_size=4),
        also=st.sampled_from([b"", b"", RCPT, b"NOOP\r\n"]),
        more=st.sampled_from([0, 0, 5]),
        cut_as=pieces,
    )
    def chunks(self, all_bodies: list[bytes], also: bytes, more: int, cut_as: Cuts) -> None:
        """Messages one after another, as a client sends them that pipelines chunks."""
        for body in all_bodies:
            self.pending += b"RSET\r\n" + MAIL + RCPT + also + b"BDAT %d LAST\r\n" % len(body) + body
        self.say(b"RSET\r\n" + MAIL + RCPT + b"BDAT %d LAST\r\nmore" % (4 + more), cut_as)

    @rule(line=logins, cut_as=pieces)
    @precondition(lambda self: self.sessions and self.sessions[0]._capabilities.auth)
    def login(self, line: bytes, cut_as: Cuts) -> None:
        self.say(line, cut_as)

    @rule(line=others, cut_as=pieces)
    def other(self, line: bytes, cut_as: Cuts) -> None:
        self.say(line, cut_as)

    @rule()
    def starttls(self) -> None:
        """On its own: what arrives with it is discarded, and that depends on the pieces (RFC 3207 section 4.2)."""
        self.say(b"", (WHOLE, WHOLE))
        self.say(b"STARTTLS\r\n", (WHOLE, WHOLE))

    @rule(cut_as=pieces, impatient=st.booleans())
    def flush(self, cut_as: Cuts, impatient: bool) -> None:
        self.say(b"", cut_as, impatient=impatient)


class LockStep(TwoSessions):
    """One command or one message in each piece; mostly what is legal then."""

    @property
    def general(self) -> ServerSession:
        return self.sessions[1]

    def one(self, octets: bytes) -> None:
        self.say(octets, (WHOLE, WHOLE))

    @rule(line=mails)
    @precondition(lambda self: self.general.sender is None)
    def mail(self, line: bytes) -> None:
        self.one(line)

    @rule(line=st.sampled_from([ENVELOPE, MAIL + RCPT + RCPT + DATA]))
    @precondition(lambda self: self.general.sender is None)
    def envelope(self, line: bytes) -> None:
        self.one(line)

    @rule(line=rcpts)
    @precondition(lambda self: self.general.sender is not None and not self.general._in_data)
    def rcpt(self, line: bytes) -> None:
        self.one(line)

    @rule()
    @precondition(lambda self: self.general.recipients and not self.general._in_data)
    def data(self) -> None:
        self.one(DATA)

    @rule(octets=st.sampled_from([b"BDAT 3\r\nabc", b"BDAT 30\r\nabc", b"BDAT 3 LAST\r\nabc", b"BDAT 40 LAST\r\n"]))
    @precondition(lambda self: self.general.recipients and not self.general._in_data)
    def bdat(self, octets: bytes) -> None:
        """All of a chunk, or its beginning: then what follows belongs to it."""
        self.one(octets)

    @rule(
        body=bodies.filter(bool),
        behind=st.sampled_from([b"", b"", ENVELOPE, MAIL + RCPT + RCPT + DATA, MAIL, b"QUIT\r\n"]),
    )
    @precondition(lambda self: self.general._in_data)
    def message(self, body: bytes, behind: bytes) -> None:
        self.one(body + (b"" if not body or body.endswith(b"\r\n") else b"\r\n") + b".\r\n" + behind)

    @rule(begin=st.sampled_from([b"", b"", b"BDA"]))
    @precondition(lambda self: self.general.sender is None)
    def chunk(self, begin: bytes) -> None:
        """A whole message by BDAT, sometimes behind the beginning of a line."""
        self.one(begin)
        self.one(b"RSET\r\n" + MAIL + RCPT + b"BDAT 3 LAST\r\nabc")

    @rule(octets=st.sampled_from([b"AUTH LOGIN\r\n", b"AUTH PLAIN\r\n"]))
    @precondition(lambda self: self.general.sender is None)
    def login(self, octets: bytes) -> None:
        self.one(octets)

    @rule(
        octets=st.one_of(mails, rcpts, logins, others, st.sampled_from([DATA, ENVELOPE, b"text\r\n", b".\r\n", b"BDA"]))
    )
    def anything(self, octets: bytes) -> None:
        self.one(octets)


def cut(octets: bytes, sizes: list[int]) -> list[bytes]:
    """`octets` in pieces of these sizes, in turn."""
    pieces = []
    at = turn = 0
    while at < len(octets):
        size = sizes[turn % len(sizes)]
        pieces.append(octets[at : at + size])
        at += size
        turn += 1
    return pieces


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
TestLockStep = LockStep.TestCase
TestLockStep.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("policy", [None, Policy(PolicyConfig())])
def test_the_fast_paths_are_taken(policy: Policy | None) -> None:
    box = Box()
    session = CountingSession(box, policy.session(b"192.0.2.1") if policy else None, Capabilities())
    box.session = session
    for line in (MAIL, RCPT, RCPT, DATA):
        session.feed(line)
    session.feed(b"one\r\n.\r\n")
    session.feed(ENVELOPE)
    session.feed(b"two\r\n.\r\n" + ENVELOPE)
    session.feed(b"three\r\n.\r\n")
    session.feed((b"RSET\r\n" + MAIL + RCPT + b"BDAT 3 LAST\r\nfou") * 2)
    assert [message.content for message in box.accepted] == [b"one\r\n", b"two\r\n", b"three\r\n", b"fou", b"fou"]
    assert session.fast == {"commands": 5, "message": 3, "chunks": 0 if policy else 2}


def test_after_a_reply_in_drips_the_fast_path_leaves_the_same_state() -> None:
    both = LockStep()
    plain = {"lmtp": False, "policy": "plain", "auth": False, "hidden": frozenset(), "require": ""}
    both.begin(given=plain, faults=["drip rcpt:1ms:30%", "drip rcpt:1ms:30%"])
    for _ in range(20):
        both.envelope(line=ENVELOPE)
        both.message(behind=b"", body=b"Subject: x\r\n")
    both.teardown()
