"""A sink in a thread of this process, for the length of a test.

Takes     how it behaves: TLS, AUTH, LMTP, extensions, faults
Gives     where it listens, and the messages that have come; waits for as many as a test expects
Limits    all of them are held in memory. Nothing is written, sent or looked up; no process is started
Fails     SetupError when the port cannot be had, PlanError for a fault that cannot be meant, MailNotReceivedError when
          a wait is over; an error of the sink's own is raised where its block ends
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from mboxgen.counted import number_of
from trafficgen.plan import Security, TcpTarget
from trafficgen.protocol.smtp.capabilities import Capabilities, extension
from trafficgen.protocol.smtp.dots import unstuff
from trafficgen.sink.listen.certificate import self_signed
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.policy import faults as fault_lines
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.store.counting import CountingStore
from trafficgen.sink.store.tee import Tee
from trafficgen.testing.received_mail import ReceivedMail
from trafficgen.testing.witness import WitnessPolicy

if TYPE_CHECKING:
    from trafficgen.sink.store.interface import Store

_PATIENCE_S: Final = 10.0
_SHOWN: Final = 20
"""Messages and sessions in an error."""

_made_here = cache(self_signed)  # one certificate for all sinks of a process: 1 ms instead of 10
_Value = TypeVar("_Value")


class MailNotReceivedError(AssertionError):
    """Fewer messages came in time than a test waited for. Its text says what came instead."""


class MailSink:
    """Use as a context manager; with pytest, as the fixture `mail_sink`.

    >>> import smtplib
    >>> from trafficgen.testing import MailSink
    >>> with MailSink() as sink:
    ...     sink.reject("rcpt", 450, times=1)
    ...     with smtplib.SMTP(sink.host, sink.port) as client:
    ...         try:
    ...             _ = client.sendmail("a@example.com", "b@example.com", "Subject: hello\\r\\n\\r\\n")
    ...         except smtplib.SMTPRecipientsRefused as error:
    ...             print(error.recipients["b@example.com"][0], len(sink.messages))
    ...         _ = client.sendmail("a@example.com", "b@example.com", "Subject: hello\\r\\n\\r\\n")
    ...     [str(mail) for mail in sink.wait_for(1)]
    450 0
    ["<a@example.com> to <b@example.com>: 'hello'"]
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        security: Security | str = Security.PLAIN,
        auth: bool = False,
        password: str = "",
        lmtp: bool = False,
        hide: Sequence[str] = (),
        max_octets: int | None = None,
        faults: Iterable[str] = (),
    ) -> None:
        """`port` 0: a free one. `security`: "plain", "starttls" (offered, not demanded) or "tls" from the first octet;
        see `client_context`. `auth`: offered; any name and `password` are right, any password when it is "". `hide`:
        extensions that EHLO leaves out, such as "CHUNKING". `max_octets`: of a message; beyond, 552. `faults`: see the
        property.
        """
        chosen = Security(security)
        if chosen is Security.STARTTLS_IF_OFFERED:
            raise ValueError(f'expected security to be "plain", "starttls" or "tls", got "{chosen.value}"')
        self.host = host
        self.port = port
        """Where it listens, once it does."""
        self._secured = chosen
        self._capabilities = Capabilities(
            lmtp=lmtp,
            starttls=chosen is Security.STARTTLS,
            auth=auth,
            password=password.encode(),
            max_octets=max_octets or 0,
            hidden=frozenset(map(extension, hide)),
        )
        self._policy = WitnessPolicy(Limits(max_octets=max_octets), map(fault_lines.read, faults))
        self._messages: list[ReceivedMail] = []
        self._news = threading.Condition()
        self._listeners: set[Callable[[], None]] = set()
        self._errors: list[BaseException] = []
        self._listens: Future[TcpTarget] = Future()
        self._thread = threading.Thread(target=self._run, name="mail sink", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        address = self._listens.result()
        self.host, self.port = address.host, address.port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._over.set)
        self._thread.join()
        if self._errors and kind is None:
            raise self._errors[0]

    # -- what has come ----------------------------------------------------------------------------------

    @property
    def messages(self) -> tuple[ReceivedMail, ...]:
        """Those accepted so far, in order."""
        with self._news:
            return tuple(self._messages)

    def wait_for(self, count: int, timeout_s: float = _PATIENCE_S) -> tuple[ReceivedMail, ...]:
        """All messages, as soon as there are `count` or more. MailNotReceivedError when that takes longer.

        It blocks its thread: where the mail is sent by a task of the same event loop, `await wait_for_async`.
        """
        with self._news:
            if self._news.wait_for(lambda: len(self._messages) >= count, timeout_s):
                return tuple(self._messages)
        raise MailNotReceivedError(self._what_came_instead(count, timeout_s, blocked=_in_a_loop()))

    async def wait_for_async(self, count: int, timeout_s: float = _PATIENCE_S) -> tuple[ReceivedMail, ...]:
        """The same in an asyncio loop, which goes on meanwhile."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(news.set)

        with self._news:
            self._listeners.add(tell)
        try:
            async with asyncio.timeout(timeout_s):
                while len(found := self.messages) < count:
                    await news.wait()
                    news.clear()
                return found
        except TimeoutError:
            raise MailNotReceivedError(self._what_came_instead(count, timeout_s, blocked=False)) from None
        finally:
            with self._news:
                self._listeners.discard(tell)

    def clear(self) -> None:
        """Forget the messages so far."""
        with self._news:
            self._messages.clear()

    # -- faults -----------------------------------------------------------------------------------------

    @property
    def faults(self) -> tuple[str, ...]:
        """What goes wrong, as lines: an option of `traffic-gen sink` and its value, "reject rcpt:450:10%",
        "delay dot:50ms", "drop dot:after" (docs/reference/sink.md). Assign other lines, or none, to replace them all;
        those with `times` are not shown, and are taken away as well. PlanError for what is no fault.
        """
        return tuple(map(str, self._call(lambda: self._policy.listed)))

    @faults.setter
    def faults(self, lines: Iterable[str]) -> None:
        listed = [fault_lines.read(line) for line in lines]
        self._call(lambda: self._policy.set_faults(listed))

    def inject(self, line: str, *, times: int | None = None) -> None:
        """One more of these lines, `times` or until it is taken away."""
        fault = fault_lines.read(line)
        self._call(lambda: self._policy.add_fault(fault, times))

    def reject(self, stage: str = "rcpt", code: int = 450, *, times: int | None = None) -> None:
        """Answer with this code at connect, helo, starttls, auth, mail, rcpt, data, dot (the end of data) or quit."""
        self.inject(f"reject {stage}:{code}", times=times)

    def delay(self, stage: str = "dot", wait: str = "1s", *, times: int | None = None) -> None:
        """Wait before the answer: "50ms", "uniform:10ms-2s"."""
        self.inject(f"delay {stage}:{wait}", times=times)

    def drop(self, stage: str = "dot", when: str = "before", *, times: int | None = None) -> None:
        """Close the connection "before" the command is carried out or "after" that, without an answer. A message
        dropped after "dot" is received, and its sender may send it again (RFC 1047)."""
        self.inject(f"drop {stage}:{when}", times=times)

    # -- TLS --------------------------------------------------------------------------------------------

    def client_context(self) -> ssl.SSLContext:
        """A context for clients that trusts this sink, and nobody else. The certificate is for localhost, 127.0.0.1
        and ::1."""
        return ssl.create_default_context(cadata=_made_here()[1])

    # -- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            # Whatever loop the tests use: nothing here is theirs.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._listens.done():
                self._errors.append(error)
            else:
                self._listens.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note_error)
        self._over = asyncio.Event()
        async with _KeepingSink(self, TcpTarget(self.host, self.port)) as sink:
            assert isinstance(sink.address, TcpTarget)
            self._listens.set_result(sink.address)
            await self._over.wait()
            await sink.accept_no_more()
        async with asyncio.timeout(_PATIENCE_S):
            while sink.links:
                await _turns()

    def _note_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        self._errors.append(error if isinstance(error, BaseException) else RuntimeError(str(context["message"])))

    def _call(self, call: Callable[[], _Value]) -> _Value:
        """What `call` returns in the sink's thread."""
        if not self._thread.is_alive():
            raise RuntimeError("a mail sink listens only inside its with block")
        done: Future[_Value] = Future()

        def work() -> None:
            try:
                done.set_result(call())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(work)
        return done.result()

    def _receive(self, mail: ReceivedMail) -> None:
        with self._news:
            self._messages.append(mail)
            self._news.notify_all()
            for tell in self._listeners:
                tell()

    def _what_came_instead(self, count: int, timeout_s: float, *, blocked: bool) -> str:
        messages, conversations = self.messages, self._call(self._policy.conversations.lines)
        total = self._policy.conversations.sessions
        lines = [f"expected {number_of(count, 'message')} within {timeout_s:g} s, got {len(messages)}"]
        lines += [f"  message {number}: {mail}" for number, mail in enumerate(messages[:_SHOWN], 1)]
        if not total:
            lines.append(f"  nobody connected to {self.host}:{self.port}")
        lines += [f"  {line}" for line in conversations]
        if faults := self.faults:
            lines.append(f"  faults at work: {', '.join(faults)}")
        if blocked:
            lines.append("  wait_for was called inside an event loop, which it blocks: await wait_for_async instead")
        return "\n".join(lines)


class _KeepingSink(Sink):
    """The sink itself: what it accepts goes to a `MailSink`."""

    def __init__(self, owner: MailSink, listen: TcpTarget) -> None:
        secured = owner._secured
        super().__init__(
            listen,
            ledger=False,
            capabilities=owner._capabilities,
            policy=owner._policy,
            tls=None if secured is Security.PLAIN else _made_here()[0],
            tls_at_once=secured is Security.TLS,
        )
        self._receive = owner._receive

    async def accept_no_more(self) -> None:
        """Let connections that are being accepted become links, and end handshakes, so that no socket stays open.

        asyncio leaves one open whose server is closed before its transport is made, or its handshake done.
        """
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener)
        await _turns()
        handshakes = asyncio.all_tasks() - {asyncio.current_task()}
        for task in handshakes:
            task.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        await _turns()

    def store(self) -> "Store":
        return _KeepingStore(CountingStore(self.totals), self._receive)


class _KeepingStore(Tee):
    """Holds the messages of one session in memory."""

    __slots__ = ("_pieces", "_receive")

    def __init__(self, store: "Store", receive: Callable[[ReceivedMail], None]) -> None:
        super().__init__(store)
        self._receive = receive
        self._pieces: list[bytes] = []  # of the message under way

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self._keep(unstuff(data[:end]))
        super().whole(data, end, recipients)

    def piece(self, octets: bytes) -> None:
        self._pieces.append(octets)
        super().piece(octets)

    def ended(self, recipients: int) -> None:
        self._keep(b"".join(self._pieces))
        self._pieces.clear()
        super().ended(recipients)

    def dropped(self) -> None:
        self._pieces.clear()
        super().dropped()

    def _keep(self, octets: bytes) -> None:
        sender, *recipients = (
            name.decode("utf-8", "replace") for name in (self._envelope.sender or b"", *self._envelope.recipients)
        )
        self._receive(ReceivedMail(sender, tuple(recipients), octets))


async def _turns() -> None:
    """Let the loop do what it has to do by now, and what comes of that."""
    for _ in range(4):
        await asyncio.sleep(0)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
