"""Two machines in memory: letters to send, a notebook to write into, a server with opinions, and a wire between."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple
from zlib import crc32

from trafficgen.outcomes import Outcome, Phase
from trafficgen.proof import trace_header
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.dots import DotReader, stuff, unstuff
from trafficgen.protocol.smtp.interfaces import SessionOptions, Work
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import ReplyCache

RUN_ID = "9f3a6c1e02b4d857"
FIELDS = ("number", "outcome", "domain", "due", "start", "ready", "sent", "end", "octets")


class Letter(NamedTuple):
    """A message made by hand."""

    number: int
    domain: int
    recipients: int
    envelope: bytes
    head: bytes
    body: bytes
    tail: bytes
    octets: int
    eight_bit: bool


def letter(number: int, *, recipients: int = 1, body: bytes = b"hello\r\n", eight_bit: bool = False) -> Letter:
    """Message `number`, whose sender's address is its number."""
    head = trace_header.render(RUN_ID, number, crc32(body)) + b"Subject: x\r\n\r\n"
    envelope = b"MAIL FROM:<%d@a.test>%b\r\n" % (number, b" BODY=8BITMIME" * eight_bit)
    envelope += b"".join(b"RCPT TO:<r%d@b.test>\r\n" % index for index in range(recipients))
    return Letter(
        number, 0, recipients, envelope + b"DATA\r\n", head, stuff(body), b".\r\n", len(head) + len(body), eight_bit
    )


def in_chunks(sent: Letter) -> Letter:
    """The same message, laid out for chunks."""
    chunk = b"BDAT %d LAST\r\n" % sent.octets
    envelope = sent.envelope.removesuffix(b"DATA\r\n") + chunk
    return sent._replace(envelope=envelope, body=unstuff(sent.body), tail=sent.tail.removesuffix(b".\r\n"))


class Queue:
    """Letters in their order, laid out for `chunks`; what is given back comes next. Implements `interfaces.Source`."""

    def __init__(self, letters: Iterable[Letter], chunks: int = 0) -> None:
        lay_out: Callable[[Letter], Letter] = in_chunks if chunks else Letter._make
        self.waiting: list[Work] = [(lay_out(each), -1) for each in reversed(list(letters))]
        self.returned: list[int] = []

    def take(self, now_ns: int) -> Work | None:
        return self.waiting.pop() if self.waiting else None

    def give_back(self, work: Work) -> None:
        self.returned.append(work[0].number)
        self.waiting.append(work)


class Notebook:
    """Keeps everything it is told. Implements `interfaces.SessionAccount`."""

    def __init__(self) -> None:
        self.rows: array[int] = array("q")
        self.phases: list[tuple[Phase, int]] = []
        self.replies: Counter[tuple[Phase, int, str]] = Counter()
        self.texts: dict[tuple[Phase, int, str], str] = {}
        self.failures: list[tuple[Phase, str, str]] = []
        self.harmed: list[int] = []
        """How many messages each failure cost."""
        self.partial: dict[int, int] = {}
        """Messages that only some of their recipients took: number to those."""
        self.recipients: dict[int, tuple[int, ...]] = {}
        """Messages whose recipients did not all end alike: number to recipients by outcome."""
        self.troubles: list[str] = []

    def phase(self, phase: Phase, elapsed_ns: int) -> None:
        self.phases.append((phase, elapsed_ns))

    def reply(self, phase: Phase, reply: Reply, count: int = 1) -> None:
        self.replies[phase, reply.code, reply.enhanced] += count
        self.texts.setdefault((phase, reply.code, reply.enhanced), reply.text)

    def failure(self, phase: Phase, reason: str, example: str, count: int = 1) -> None:
        self.failures.append((phase, reason, example))
        self.harmed.append(count)

    def recipients_differ(self, number: int, outcome: Outcome, recipients: tuple[int, ...]) -> None:
        self.recipients[number] = recipients
        if outcome is Outcome.ACCEPTED:
            self.partial[number] = recipients[Outcome.ACCEPTED]

    def trouble(self, words: str) -> None:
        self.troubles.append(words)

    @property
    def messages(self) -> list[dict[str, int]]:
        """Rows by the names of their columns."""
        size = len(FIELDS)
        return [dict(zip(FIELDS, self.rows[at : at + size], strict=True)) for at in range(0, len(self.rows), size)]

    @property
    def outcomes(self) -> list[tuple[int, Outcome]]:
        """(number, outcome) in the order in which they were decided."""
        return [(row["number"], Outcome(row["outcome"])) for row in self.messages]


def session_for(
    letters: Iterable[Letter], *, lock_step: bool = False, max_messages: int = 0, cache: ReplyCache | None = None
) -> tuple[ClientSession, Queue, Notebook]:
    """A session that has been given the first letter and waits for the greeting."""
    queue, notebook = Queue(letters), Notebook()
    options = SessionOptions(b"client.test", max_messages, not lock_step)
    session = ClientSession(queue, notebook, options, cache or ReplyCache())
    work = queue.take(0)
    assert work is not None
    session.greet(work, 0)
    session.connected(0)
    return session, queue, notebook


def written(buffers: Iterable[bytes | memoryview]) -> bytes:
    """What a transport would have been given."""
    return b"".join(bytes(buffer) for buffer in buffers)


# -- a server with opinions -----------------------------------------------------------------------------


@dataclass
class Opinions:
    """What a server answers. Keys are (command word, message number, index of the recipient); absent means yes.

    `hang_up_after`: it drops the connection, without a word, once it has given this many replies.
    """

    answers: dict[tuple[str, int, int], int] = field(default_factory=dict)
    hang_up_after: int | None = None
    pipelining: bool = True
    knows_ehlo: bool = True
    lets_data_through: bool = False
    """RFC 2920 3.1: answers DATA with 354 though every recipient was refused."""
    queue_ids: bool = False
    multi_line: bool = False
    eight_bit: bool = False
    chunking: bool = False
    """RFC 3030: what it answers to DATA or to the end of data, it answers to BDAT."""
    lmtp: bool = False
    """RFC 2033: LHLO, and an answer to the end of data ("END", number, index) for each recipient it accepted."""


class OpinionatedServer:
    """A server that keeps the rules and answers as its opinions say. `taken`: message number to accepted recipients.

    Written for these tests, line by line and slowly; the server of `trafficgen.protocol.smtp` shares no code with it.
    """

    def __init__(self, opinions: Opinions, *, said: int = 0) -> None:
        self.opinions = opinions
        self.taken: list[tuple[int, int]] = []
        self.commands: list[bytes] = []
        self.hung_up = False
        self._said = said
        self._rest = b""
        self._dots: DotReader | None = None
        self._chunk: int | None = None
        self.chunks: list[tuple[int, bytes]] = []
        self._number = -1
        self._asked = self._granted = 0
        self._granted_to: list[int] = []
        self.delivered: set[tuple[int, int]] = set()
        """LMTP: message number and index of the recipient."""

    def greeting(self) -> bytes:
        return self._say("BANNER", 220, "server.test ESMTP")

    def feed(self, data: bytes) -> bytes:
        out = b""
        self._rest += data
        while not self.hung_up and (reply := self._step()) is not None:
            out += reply
        return out

    def _step(self) -> bytes | None:
        if self._dots is not None:
            rest, self._rest = self._rest, b""
            _, after = self._dots.feed(rest)
            if after is None:
                return None
            self._dots, self._rest = None, after
            return self._end_of_data()
        if self._chunk is not None:
            if len(self._rest) < self._chunk:
                return None
            chunk, self._rest, self._chunk = self._rest[: self._chunk], self._rest[self._chunk :], None
            self.chunks.append((self._number, chunk))
            opinion = self.opinions.answers.get(("DATA", self._number, 0))
            if not opinion or not self._granted:
                return self._end_of_data()
            each = self._granted if self.opinions.lmtp else 1
            return b"".join(self._say("DATA", opinion, "") for _ in range(each))
        line, newline, rest = self._rest.partition(b"\r\n")
        if not newline:
            return None
        self._rest = rest
        self.commands.append(line)
        return self._command(line)

    def _command(self, line: bytes) -> bytes:
        match line[:4]:
            case b"LHLO" | b"EHLO" if self.opinions.knows_ehlo and (line[:1] == b"L") == self.opinions.lmtp:
                self._number, self._asked, self._granted = -1, 0, 0  # RFC 5321 section 4.1.4
                return self._ehlo()
            case b"HELO":
                return self._say("HELO", 250, "server.test")
            case b"MAIL" if self._number >= 0:
                return self._say("ORDER", 503, "5.5.1 not now")
            case b"MAIL":
                self._number = int(line.partition(b"<")[2].partition(b"@")[0])
                self._asked = self._granted = 0
                self._granted_to = []
                reply = self._say("MAIL", 250, "2.1.0 ok")
                self._number = self._number if reply[:1] == b"2" else -1
                return reply
            case b"RCPT" if self._number >= 0:
                reply = self._say("RCPT", 250, "2.1.5 ok", self._asked)
                if reply[:1] == b"2":
                    self._granted_to.append(self._asked)
                self._asked += 1
                self._granted += reply[:1] == b"2"
                return reply
            case b"DATA" if self._granted or (self._asked and self.opinions.lets_data_through):
                reply = self._say("DATA", 354, "go ahead")
                self._dots = DotReader() if reply[:1] == b"3" else None
                return reply
            case b"BDAT" if self.opinions.chunking:
                self._chunk = int(line.split()[1])
                return b""
            case b"RCPT" | b"DATA":
                return self._say("ORDER", 503, "5.5.1 not now")
            case b"RSET":
                self._number, self._asked, self._granted = -1, 0, 0
                return self._say("RSET", 250, "2.0.0 ok")
            case b"QUIT":
                reply = self._say("QUIT", 221, "2.0.0 bye")
                self.hung_up = True
                return reply
            case _:
                return self._say("UNKNOWN", 500, "5.5.2 what?")

    def _ehlo(self) -> bytes:
        lines = ["server.test", *["PIPELINING"] * self.opinions.pipelining, "ENHANCEDSTATUSCODES"]
        lines += ["CHUNKING"] * self.opinions.chunking + ["8BITMIME"] * self.opinions.eight_bit
        return self._say("EHLO", 250, "\n".join(lines))

    def _end_of_data(self) -> bytes:
        queue_id = f" queued as {len(self.taken):X}" if self.opinions.queue_ids else ""
        granted, number = self._granted, self._number
        self._number, self._asked, self._granted = -1, 0, 0
        if not granted:
            return self._say("EMPTY", 554, "5.5.1 no valid recipients")
        if self.opinions.lmtp:
            return self._end_for_each(number)
        reply = self._say("END", 250, "2.0.0 taken" + queue_id, number=number)
        if reply[:1] == b"2":
            self.taken.append((number, granted))
        return reply

    def _end_for_each(self, number: int) -> bytes:
        replies = b""
        for index in self._granted_to:
            reply = self._say("END", 250, "2.0.0 taken", index, number=number)
            replies += reply
            if reply[:1] == b"2":
                self.delivered.add((number, index))
            if self.hung_up:
                break
        return replies

    def _say(self, word: str, code: int, text: str, index: int = 0, number: int | None = None) -> bytes:
        opinion = self.opinions.answers.get((word, self._number if number is None else number, index))
        if opinion is not None:
            code, text = opinion, "4.3.0 later" if opinion < 500 else "5.7.1 never"
        if self.opinions.hang_up_after is not None and self._said >= self.opinions.hang_up_after:
            self.hung_up = True
            return b""
        self._said += 1
        if code == 421:
            self.hung_up = True
        lines = [
            *["first of several"] * (self.opinions.multi_line and code < 300 and word != "EHLO"),
            *text.split("\n"),
        ]
        return b"".join(b"%d-%s\r\n" % (code, each.encode()) for each in lines[:-1]) + (
            b"%d %s\r\n" % (code, lines[-1].encode())
        )


# -- the wire -------------------------------------------------------------------------------------------


@dataclass
class Wire:
    """Carries octets both ways in pieces of the given sizes, as a network might."""

    sizes: Iterator[int]
    client_wrote: bytes = b""
    now_ns: int = 0

    def run(
        self, session: ClientSession, greeting: bytes, serve: Callable[[bytes], bytes], hung_up: Callable[[], bool]
    ) -> None:
        """Until the session is over, or idle with nothing under way. Fails when that never comes."""
        to_client, to_server = greeting, b""
        for _ in range(200_000):
            size = next(self.sizes)
            self.now_ns += 1
            if to_server and (size % 2 or not to_client) and not hung_up():
                piece, to_server = to_server[:size], to_server[size:]
                to_client += serve(piece)
            elif to_client:
                piece, to_client = to_client[:size], to_client[size:]
                sent = written(session.feed(piece, self.now_ns))
                self.client_wrote += sent
                to_server += sent
            elif hung_up():
                session.lost("closed by the server", "", self.now_ns)
            if session.closed or not (session.busy or to_client or to_server or hung_up()):
                return
        raise AssertionError("the conversation does not end")


def send_all(
    letters: list[Letter],
    opinions: Opinions,
    *,
    sizes: Iterable[int] = (1 << 20,),
    lock_step: bool = False,
    max_messages: int = 0,
    cache: ReplyCache | None = None,
    chunks: int = 0,
    hello: Phase = Phase.EHLO,
    notebook: Notebook | None = None,
) -> tuple[Notebook, list[tuple[int, int]], bytes]:
    """One session after another until every letter has an outcome: our account, the server's, what we wrote."""
    queue, notebook, cache = (
        Queue(letters, 0 if lock_step else chunks),
        notebook or Notebook(),
        cache or ReplyCache(),
    )
    wire = Wire(cycle(sizes))
    taken: list[tuple[int, int]] = []
    options = SessionOptions(b"client.test", max_messages, not lock_step, chunks, hello)
    while (work := queue.take(0)) is not None:
        server = OpinionatedServer(opinions)
        session = ClientSession(queue, notebook, options, cache)
        session.greet(work, wire.now_ns)
        session.connected(wire.now_ns)
        wire.run(session, server.greeting(), server.feed, lambda server=server: server.hung_up)  # type: ignore[misc]
        session.lost("closed by the server", "", wire.now_ns)
        taken += server.taken
    cache.tally_all(notebook)
    return notebook, taken, wire.client_wrote
