"""A server that lies in every way there is, and has its own list of what it took. It shares no code with the client.

Its list goes by the order of the protocol: a message is in it when it was complete, and the reply in the place of its
end of data, counted from the first reply, was a 250 that came after that. What the server meant is kept beside it.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

_NUMBER = re.compile(rb"^X-Traffic-Gen: [0-9a-f]{16} (\d{12}) ", re.MULTILINE)
_GARBAGE = (
    b"\xff\xfe what\r\n", b"250\xc3\xa4 ok\r\n", b"hello\r\n", b"\r\n", b"25\r\n", b"250-never ends\r\n" * 101,
    b"250-no\r\n550 yes\r\n", b"550-no\r\n250 yes\r\n", b"250-x\r\n354 go\r\n", b"250 " + b"x" * 2100 + b"\r\n",
    b"999 x\r\n",
)  # fmt: skip
_CODES = (200, 211, 214, 220, 221, 235, 250, 251, 252, 299, 334, 354, 421, 450, 451, 452, 500, 503, 550, 552, 554, 599)

_PLAIN = {
    b"HELO": ("HELO", 250, "liar.test"),
    b"RSET": ("RSET", 250, "reset"),
    b"NOOP": ("NOOP", 250, "still here"),
    b"XCLI": ("XCLIENT", 220, "welcome"),
    b"XFOR": ("XFORWARD", 250, "forwarded"),
}


class Lie(StrEnum):
    """One way to break the rules."""

    EARLY = "replies before the command"
    EXTRA = "replies that nobody asked for"
    MISSING = "no reply"
    CODE = "wrong codes"
    GARBAGE = "garbage"
    CLOSE = "closes"
    SHUTDOWN = "421 at any time"
    RESET = "replies to RSET and EHLO"
    OFFER = "another EHLO each time"
    ALL = "all of them"


@dataclass
class Said:
    """What was said. `commands`: how many had been read by then; `together`: it goes out with what was said before.

    `crossed`: when it was heard, all that the other side had written was on its way already.
    """

    code: int
    octets: bytes
    commands: int
    together: bool
    crossed: bool = False


@dataclass
class Session:
    """What one session has seen. `ends`: message number to the places of its end of data among the commands: one, or in
    LMTP one for each recipient."""

    commands: list[str] = field(default_factory=list)
    replies: list[Said] = field(default_factory=list)
    ends: dict[int, range] = field(default_factory=dict)
    took: set[int] = field(default_factory=set)
    """Messages that were complete and answered with a 250 of their own, wherever that came to stand."""
    lies: set[Lie] = field(default_factory=set)
    forged_goodbye: bool = False
    """A 221 was said that nothing asked for: behind a reply too many it stands where QUIT's answer should."""

    @property
    def listed(self) -> set[int]:
        """The list by the order of the protocol."""
        return {
            number
            for number, places in self.ends.items()
            for at in places
            if at < len(self.replies) and self.replies[at].code == 250 and self.replies[at].commands > at
        }

    @property
    def unknowable(self) -> set[int]:
        """Answered before the end of data was here, but heard after it had gone out: nobody can tell."""
        return {
            number
            for number, places in self.ends.items()
            for at in places
            if at < len(self.replies) and self.replies[at].crossed and self.replies[at].commands <= at
        }


class LyingServer:
    """One session. `share`: how often it lies, for each reply that is due. `interrupts`: also within a message.

    `offers`: what it says to EHLO, if not the usual; without any it does not know EHLO. `lmtp`: it knows LHLO alone.
    """

    def __init__(
        self,
        random: Random,
        lie: Lie,
        share: float,
        *,
        chunking: bool,
        interrupts: bool = True,
        offers: tuple[str, ...] | None = None,
        lmtp: bool = False,
    ) -> None:
        self._random = random
        self._lie = lie
        self._share = share
        self._interrupts = interrupts
        self._offers = ("PIPELINING", "8BITMIME", *(["CHUNKING"] if chunking else [])) if offers is None else offers
        self._lmtp = lmtp
        self._rest = b""
        self._content: bytes | None = None
        self._chunk: int | None = None
        self._sender = False
        self._granted = 0
        self._out: list[Said] = []
        self._answered = False  # the message that is coming, before it was here
        self.grants, self.takes = 0.95, 0.8
        """How often it says yes before the content, and to it."""
        self.lets_data_through = False
        """It answers DATA with 354 though every recipient was refused (RFC 2920 section 3.1)."""
        self.hung_up = False
        self.session = Session()

    def _lies(self, *kinds: Lie) -> bool:
        """Whether to lie now in one of these ways."""
        if self._lie is Lie.ALL or self._lie in kinds:
            return self._random.random() < (self._share / 4 if self._lie is Lie.ALL else self._share)
        return False

    def greeting(self) -> list[Said]:
        self._answer("GREETING", 220, "liar.test")
        return self._taken()

    def feed(self, data: bytes) -> list[Said]:
        """What the client sent; returns what is said to it."""
        self._rest += data
        while not self.hung_up and self._step():
            pass
        if self._interrupts and self._content is not None and not self.hung_up and self._lies(Lie.EARLY, Lie.SHUTDOWN):
            self._speak_too_soon()
        return self._taken()

    def _taken(self) -> list[Said]:
        said, self._out = self._out, []
        return said

    def _step(self) -> bool:
        if self._content is not None:
            return self._read_content()
        if self._chunk is not None:
            if len(self._rest) < self._chunk:
                return False
            content, self._rest, self._chunk = self._rest[: self._chunk], self._rest[self._chunk :], None
            self._end_of_data(content)
            return True
        line, newline, rest = self._rest.partition(b"\r\n")
        if not newline:
            return False
        self._rest = rest
        self._command(line)
        return True

    def _read_content(self) -> bool:
        assert self._content is not None
        before, end, after = (b"\r\n" + self._content + self._rest).partition(b"\r\n.\r\n")
        if not end:
            self._content, self._rest = self._content + self._rest, b""
            return False
        self._content, self._rest = None, after
        self._end_of_data(before)
        return True

    def _command(self, line: bytes) -> None:
        match line[:4]:
            case b"LHLO" | b"EHLO" if self._lmtp == (line[:1] == b"L") and self._offers:
                self._sender, self._granted = False, 0
                self._ehlo()
            case b"MAIL":
                self._granted = 0
                self._sender = self._answer("MAIL", 250 if self._yes() else 450, "sender") == 250
            case b"RCPT" if self._sender:
                self._granted += self._answer("RCPT", 250 if self._yes() else 550, "recipient") in (250, 251)
            case b"DATA":
                goes_on = self._yes() if self._granted else self.lets_data_through and not self._lmtp
                if self._answer("DATA", 354 if goes_on else 554, "go ahead") == 354:
                    self._content = b""
            case b"BDAT":
                self._chunk = int(line.split()[1])
            case b"RSET" | b"XCLI":
                self._sender, self._granted = False, 0
                self._answer(*_PLAIN[line[:4]])
            case word if word in _PLAIN:
                self._answer(*_PLAIN[word])
            case b"QUIT":
                self._answer("QUIT", 221, "bye")
                self.hung_up = True
            case _:
                self._answer("UNKNOWN", 503, "not now")

    def _yes(self) -> bool:
        return self._random.random() < self.grants

    def _ehlo(self) -> None:
        again = "EHLO" in self.session.commands
        offers = [word for word in self._offers if not (self._lies(Lie.OFFER) and self._random.random() < 0.5)]
        if self._lies(Lie.RESET, Lie.OFFER) and (again or self._random.random() < 0.3):
            self._note(Lie.RESET)
            self._answer("EHLO", self._random.choice(_CODES), "what")
        else:
            self._answer("EHLO", 250, "\n".join(["liar.test", *offers]))

    def _end_of_data(self, content: bytes) -> None:
        found = _NUMBER.search(content)
        number = int(found[1]) if found else -1
        granted, self._granted, self._sender = self._granted, 0, False
        known = granted > 0 and number >= 0
        each = max(granted, 1) if self._lmtp else 1
        at = len(self.session.commands)
        if known:
            self.session.ends[number] = range(at, at + each)
        for _ in range(each):
            takes = known and self._random.random() < self.takes
            if self._answer("END", 250 if takes else 550, "taken" if takes else "refused") == 250 and known:
                self.session.took.add(number)
            if self.hung_up:
                break

    # -- what is said -----------------------------------------------------------------------------------

    def _answer(self, command: str, code: int, text: str) -> int:
        """The reply that is due, with whatever lies; returns the code that it has, or would have had."""
        self.session.commands.append(command)
        if self._lies(Lie.CLOSE):
            self._note(Lie.CLOSE)
            self.hung_up = True
            return 0
        if self._lies(Lie.EXTRA):
            self._speak_unasked()
        if self._lies(Lie.SHUTDOWN):
            self._note(Lie.SHUTDOWN)
            self._say(421, "closing", together=self._random.random() < 0.5)
            self.hung_up = self._random.random() < 0.5
            if self.hung_up:
                return 0
        if command == "END" and self._answered:
            self._answered = False
            return 0
        if self._lies(Lie.MISSING):
            self._note(Lie.MISSING)
            return 0 if command == "END" else code
        if self._lies(Lie.GARBAGE):
            self._note(Lie.GARBAGE)
            self._out.append(Said(0, self._random.choice(_GARBAGE), len(self.session.commands), False))
            self.session.replies.append(self._out[-1])
            if self._random.random() < 0.5:
                return 0
        if (command == "RSET" and self._lies(Lie.RESET)) or self._lies(Lie.CODE):
            self._note(Lie.CODE)
            code = self._random.choice(_CODES)
        self._say(code, text)
        if command == "DATA" and code == 354 and self._lies(Lie.EARLY):
            self._note(Lie.EARLY)
            self._say(self._random.choice((250, 250, 550)), "before it came", together=True)
        if self._lies(Lie.EXTRA):
            self._speak_unasked()
        return code

    def _speak_unasked(self) -> None:
        self._note(Lie.EXTRA)
        together = self._random.random() < 0.5
        for _ in range(self._random.choice((1, 1, 1, 2, 4))):
            code = self._random.choice((250, 250, 250, *_CODES))
            self.session.forged_goodbye |= code == 221
            self._say(code, "by the way", together=together)

    def _speak_too_soon(self) -> None:
        """Within a message that has not come whole."""
        self._note(Lie.EARLY)
        if self._lie is Lie.SHUTDOWN:
            self._say(421, "closing")
            self.hung_up = self._random.random() < 0.5
        else:
            self._say(self._random.choice((250, 250, 550)), "before it came")
            self._answered = self._random.random() < 0.5

    def _say(self, code: int, text: str, *, together: bool = False) -> None:
        *before, last = text.split("\n")
        octets = b"".join(b"%d-%s\r\n" % (code, line.encode()) for line in before) + b"%d %s\r\n" % (
            code,
            last.encode(),
        )
        self._out.append(Said(code, octets, len(self.session.commands), together))
        self.session.replies.append(self._out[-1])

    def _note(self, lie: Lie) -> None:
        self.session.lies.add(lie)
