"""A server session: RFC 5321 with PIPELINING and the usual extensions.

    > greeting, then any number of   < EHLO|HELO|LHLO >   < MAIL > < RCPT… > < DATA > 354 < message, end of data >
                                                          or           < BDAT n, octets >… < BDAT n LAST, octets >
    STARTTLS, AUTH, XCLIENT, XFORWARD between messages; RSET, NOOP, VRFY, HELP at any time; QUIT > 221 ends

Takes     octets received; a `Receiver` for the messages; a `PolicyHooks`, or none to accept everything
Gives     the replies to send, in one piece for each group of commands
Limits    `MAX_ERRORS` a session, `MAX_RECIPIENTS` a message
Fails     never: a command that breaks the rules is answered 5xx, and too many of them end the session
Not here  which command is legal when (server_table), what most clients send and is answered at once (fast_paths),
          octets to commands and messages (framing), sockets and the content of messages (sink)
"""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp import framing
from trafficgen.protocol.smtp.capabilities import (
    PARAMETER,
    Capabilities,
    read_mail,
    read_rcpt,
)
from trafficgen.protocol.smtp.fast_paths import MAX_RECIPIENTS, OK, FastPaths
from trafficgen.protocol.smtp.framing import MAX_COMMAND_OCTETS
from trafficgen.protocol.smtp.policy_hooks import PolicyHooks, Suspension
from trafficgen.protocol.smtp.receiver import Receiver
from trafficgen.protocol.smtp.server_auth import MAX_LINE_OCTETS as MAX_LOGIN_OCTETS
from trafficgen.protocol.smtp.server_auth import AuthExchange
from trafficgen.protocol.smtp.server_client import UNKNOWN, XCLIENT_NAMES, attributes, ip_address, origin
from trafficgen.protocol.smtp.server_table import ORDER, TABLE, Refusal, ServerState

__all__ = ["GREETING", "MAX_COMMAND_OCTETS", "MAX_ERRORS", "MAX_RECIPIENTS", "ServerSession"]

MAX_ERRORS: Final = 20

_BYE: Final = b"221 2.0.0 bye\r\n"
_READY_FOR_TLS: Final = b"220 2.0.0 go ahead\r\n"
_LOGGED_IN: Final = b"235 2.7.0 logged in\r\n"
_VRFY: Final = b"252 2.5.2 not verified; send mail to find out\r\n"
_HELP: Final = b"214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\r\n"
_UNKNOWN: Final = b"500 5.5.2 command not known\r\n"
_NUMBER: Final = b"501 5.5.4 expected the number of octets\r\n"
_NO_ARGUMENT: Final = b"501 5.5.4 expected no argument\r\n"
_XCLIENT: Final = b"501 5.5.4 expected NAME=value of those that EHLO lists, and in ADDR an IP address\r\n"
_XFORWARD: Final = b"501 5.5.4 expected NAME=xtext of those that EHLO lists, and in SOURCE LOCAL or REMOTE\r\n"
_TLS_FIRST: Final = b"530 5.7.0 start TLS first\r\n"
_LOGIN_FIRST: Final = b"530 5.7.0 log in first\r\n"
_NOT_UTF8: Final = b"501 5.6.7 expected an address in UTF-8\r\n"
_NOT_ASCII: Final = b"553 5.6.7 an address beyond ASCII needs SMTPUTF8\r\n"
_TOO_MANY_RECIPIENTS: Final = b"452 4.5.3 too many recipients\r\n"
_TOO_MANY_ERRORS: Final = b"421 4.7.0 too many errors\r\n"
_IDLE_TOO_LONG: Final = b"421 4.4.2 idle for too long\r\n"
_CAPABILITIES: Final = Capabilities()
GREETING: Final = _CAPABILITIES.greeting
_IDLE, _SENDER, _RECIPIENTS, _CHUNKS = ServerState  # a module's name costs less than an enum's member


_BDAT: Final = re.compile(rb"BDAT +([0-9]{1,18})( +LAST)? *", re.IGNORECASE).fullmatch


class ServerSession(FastPaths):
    """One session. `secure`: the connection is under TLS already."""

    __slots__ = (
        "_authenticated",
        "_capabilities",
        "_commands",
        "_errors",
        "_secure",
    )

    def __init__(
        self,
        receiver: Receiver,
        policy: PolicyHooks | None = None,
        capabilities: Capabilities = _CAPABILITIES,
        *,
        secure: bool = False,
    ) -> None:
        super().__init__(receiver, policy, lmtp=capabilities.lmtp)
        self._capabilities = capabilities
        self._commands = _commands(capabilities)
        self._secure = secure
        self._errors = 0  # commands that broke the rules, so far
        self._authenticated = False  # somebody is logged in
        self._open = not (capabilities.require_tls or capabilities.require_auth)  # MAIL needs neither first
        self._plain = self._open and policy is None and not capabilities.lmtp and "CHUNKING" not in capabilities.hidden

    @property
    def parameters(self) -> dict[bytes, bytes]:
        """Of the current message: the parameters of MAIL (key b"") and of each RCPT that was accepted."""
        owner, parameters = self._parameters
        return parameters if owner is self.recipients else {}  # no two messages have the same list

    # -- the connection ---------------------------------------------------------------------------------

    def greet(self) -> bytes:
        """The greeting. After a delay, call this again instead of `resume`."""
        self.suspension = None
        return self._perform(Phase.GREETING, b"", lambda _: self._capabilities.greeting)

    def secured(self) -> None:
        """TLS has started: the session begins anew (RFC 3207 section 4.2)."""
        self.suspension = None
        self._secure = True
        self._authenticated = False
        self._rest = b""
        self._reset()

    def expire(self) -> bytes:
        """The client has been silent for too long; returns the last reply."""
        self._close()
        return b"" if self._in_data or self._chunk else _IDLE_TOO_LONG

    # -- commands ---------------------------------------------------------------------------------------

    @property
    def _max_line(self) -> int:
        return MAX_COMMAND_OCTETS if self._login is None else MAX_LOGIN_OCTETS

    def _command(self, line: bytes) -> bytes:
        if self._login is not None:
            return self._continue_login(line)
        errors = self._errors
        if len(line) > MAX_COMMAND_OCTETS:
            return self._too_long()
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        handler, may_have_argument, refusals = self._commands.get(verb, _NO_COMMAND)
        if argument and not may_have_argument and argument.strip(b" "):
            reply = self._error(_NO_ARGUMENT)
        elif (refusal := refusals[self._state]) is None:
            reply = handler(self, line)
        else:
            reply = self._error(refusal[0]) if refusal[1] else refusal[0]
        return reply if errors == self._errors else self._too_many_errors(reply)

    @property
    def _state(self) -> ServerState:
        if self.sender is None:
            return _IDLE
        if self._chunked:
            return _CHUNKS
        return _RECIPIENTS if self.recipients else _SENDER

    def _error(self, reply: bytes) -> bytes:
        self._errors += 1
        return reply

    def _too_many_errors(self, reply: bytes) -> bytes:
        if self._errors > MAX_ERRORS:
            self._close()
            return reply + _TOO_MANY_ERRORS
        return reply

    def _perform(self, stage: Phase, argument: bytes, act: Callable[[bytes], bytes], octets: int = 0) -> bytes:
        """Process a command as usual unless the policy decides otherwise."""
        if self._policy is None:
            return act(argument)
        decision, self._decision = self._decision, None
        if decision is None:
            decision = self._policy.decide(stage, argument, self.sender or b"", octets)
            if decision is None:
                return act(argument)
            if self._must_wait(decision):
                return b""
        if decision.reply is not None:
            return self._carry_out(decision, decision.reply)
        if decision.receiver is not None:
            self._receiver = decision.receiver(self._receiver)
        return self._carry_out(decision, act(argument))

    def _on_ehlo(self, line: bytes) -> bytes:
        return self._perform(Phase.EHLO, line[5:], lambda _: self._hello(self._capabilities.ehlo(secure=self._secure)))

    def _on_helo(self, line: bytes) -> bytes:
        return self._perform(Phase.EHLO, line[5:], lambda _: self._hello(self._capabilities.helo))

    def _hello(self, reply: bytes) -> bytes:
        self._reset()
        return reply

    def _on_starttls(self, line: bytes) -> bytes:
        if self._secure:
            return self._error(ORDER)
        return self._perform(Phase.TLS, b"", self._start_tls)

    def _start_tls(self, _argument: bytes) -> bytes:
        self.suspension = Suspension.START_TLS
        return _READY_FOR_TLS

    def _on_auth(self, line: bytes) -> bytes:
        if self._authenticated:
            return self._error(ORDER)
        self._login = AuthExchange(self._capabilities.password)
        return self._after_login(self._login.start(line))

    def _continue_login(self, line: bytes) -> bytes:
        assert self._login is not None
        return self._after_login(self._login.next_line(line) if not self._login.done else b"")

    def _after_login(self, reply: bytes) -> bytes:
        login = self._login
        assert login is not None
        if not login.done:
            return reply
        if login.mechanism is None:
            self._login = None
            return self._too_many_errors(self._error(reply))
        reply = self._perform(Phase.AUTH, login.mechanism, self._log_in)
        if self.suspension is not Suspension.WAIT:
            self._login = None
        return reply

    def _log_in(self, _mechanism: bytes) -> bytes:
        self._authenticated = True
        return _LOGGED_IN

    def _on_xclient(self, line: bytes) -> bytes:
        said = attributes(line, XCLIENT_NAMES)
        if said is None:
            return self._error(_XCLIENT)
        value = said.get(b"ADDR", UNKNOWN[0])
        if value.upper() not in UNKNOWN:
            try:
                address = ip_address(value)
            except ValueError:
                return self._error(_XCLIENT)
            if self._policy is not None:
                self._policy.client(address)
        self._reset()
        return self._capabilities.greeting

    def _on_xforward(self, line: bytes) -> bytes:
        """Where the next message came from is for logs: limits are counted for who is connected."""
        return OK if origin(line) is not None else self._error(_XFORWARD)

    # -- the envelope -----------------------------------------------------------------------------------

    def _on_mail(self, line: bytes) -> bytes:
        if self._capabilities.require_tls and not self._secure:
            return _TLS_FIRST
        if self._capabilities.require_auth and not self._authenticated:
            return _LOGIN_FIRST
        found = read_mail(line)
        if isinstance(found, bytes):
            return self._error(found)
        if (refusal := self._refuse(found[0], found[2], found[2])) is not None:
            return self._error(refusal)
        return self._perform(Phase.MAIL, found[0], partial(self._begin, parameters=found[2]), found[1])

    def _refuse(self, address: bytes, parameters: bytes, of_mail: bytes) -> bytes | None:
        """The reply to parameters that were not offered, and to an address beyond ASCII in plain SMTP (RFC 6531)."""
        if parameters and not self._capabilities.know(parameters, secure=self._secure):
            return PARAMETER
        if address.isascii():
            return None
        if b"SMTPUTF8" not in of_mail.upper().split():
            return _NOT_ASCII
        try:
            address.decode()
        except UnicodeDecodeError:
            return _NOT_UTF8
        return None

    @property
    def _binary(self) -> bool:
        """Whether the message is in BINARYMIME, and so in chunks only (RFC 3030 section 3)."""
        return b"BODY=BINARYMIME" in self.parameters.get(b"", b"").upper().split()

    def _begin(self, sender: bytes, parameters: bytes) -> bytes:
        self.sender = sender
        if parameters:
            self._note(b"", parameters)
        return framing.SENDER_OK

    def _on_rcpt(self, line: bytes) -> bytes:
        found = read_rcpt(line)
        if isinstance(found, bytes):
            return self._error(found)
        if (refusal := self._refuse(found[0], found[1], self.parameters.get(b"", b""))) is not None:
            return self._error(refusal)
        if len(self.recipients) >= MAX_RECIPIENTS:
            return _TOO_MANY_RECIPIENTS
        return self._perform(Phase.RCPT, found[0], partial(self._add, parameters=found[1]))

    def _add(self, recipient: bytes, parameters: bytes) -> bytes:
        self.recipients.append(recipient)
        if parameters:
            self._note(recipient, parameters)
        return framing.RECIPIENT_OK

    def _note(self, address: bytes, parameters: bytes) -> None:
        owner, noted = self._parameters
        if owner is not self.recipients:
            noted = {}
            self._parameters = (self.recipients, noted)
        noted[address] = parameters

    def _on_data(self, _line: bytes) -> bytes:
        if self._binary:
            return self._error(ORDER)
        if self._policy is None:
            return self._enter_data(b"")
        return self._perform(Phase.DATA, b"\n".join(self.recipients), self._enter_data)

    def _enter_data(self, _argument: bytes) -> bytes:
        self._in_data = True
        if self._receiver is not self._session_receiver:
            self._begin_pieces()  # a receiver of its own gets pieces only
        return framing.GO_AHEAD

    def _on_bdat(self, line: bytes) -> bytes:
        found = _BDAT(line)
        if found is None:
            self._close()  # the number of octets is unknown, so nothing after this line can be read
            return _NUMBER
        octets, last = int(found[1]), found[2] is not None
        if self._chunked or not self.recipients:
            return self._open_chunk(octets, last=last)
        return self._perform(Phase.DATA, b"\n".join(self.recipients), lambda _: self._open_chunk(octets, last=last))

    def _open_chunk(self, octets: int, *, last: bool) -> bytes:
        self._discarding = not self.recipients
        if not self._chunked and not self._discarding:
            self._chunked = True
            self._octets = 0
        self._chunk = self._chunk_octets = octets
        self._last_chunk = last
        if octets:
            return b""
        replies: list[bytes] = []
        self._end_chunk(b"", replies)
        return b"".join(replies)

    # -- the rest ---------------------------------------------------------------------------------------

    def _on_rset(self, _line: bytes) -> bytes:
        self._reset()
        return OK

    def _on_noop(self, _line: bytes) -> bytes:
        return OK

    def _on_vrfy(self, _line: bytes) -> bytes:
        return _VRFY

    def _on_help(self, _line: bytes) -> bytes:
        return _HELP

    def _on_quit(self, _line: bytes) -> bytes:
        return self._perform(Phase.QUIT, b"", self._end)

    def _end(self, _argument: bytes) -> bytes:
        self._close()
        return _BYE


_HANDLERS: Final[dict[bytes, Callable[[ServerSession, bytes], bytes]]] = table_of(
    TABLE,
    {
        b"EHLO": ServerSession._on_ehlo,
        b"HELO": ServerSession._on_helo,
        b"LHLO": ServerSession._on_ehlo,
        b"STARTTLS": ServerSession._on_starttls,
        b"AUTH": ServerSession._on_auth,
        b"XCLIENT": ServerSession._on_xclient,
        b"XFORWARD": ServerSession._on_xforward,
        b"MAIL": ServerSession._on_mail,
        b"RCPT": ServerSession._on_rcpt,
        b"DATA": ServerSession._on_data,
        b"BDAT": ServerSession._on_bdat,
        b"RSET": ServerSession._on_rset,
        b"NOOP": ServerSession._on_noop,
        b"VRFY": ServerSession._on_vrfy,
        b"HELP": ServerSession._on_help,
        b"QUIT": ServerSession._on_quit,
    },
)

_Command = tuple[Callable[[ServerSession, bytes], bytes], bool, tuple[Refusal | None, ...]]
"""What processes it, whether it may have an argument, and its refusals by state."""

_NO_COMMAND: Final[_Command] = (ServerSession._on_noop, True, ((_UNKNOWN, True),) * len(ServerState))


@lru_cache(maxsize=64)
def _commands(capabilities: Capabilities) -> dict[bytes, _Command]:
    """Those that a session with these capabilities knows."""
    return {
        verb: (_HANDLERS[verb], row.argument, row.refusals) for verb, row in TABLE.items() if row.offered(capabilities)
    }
