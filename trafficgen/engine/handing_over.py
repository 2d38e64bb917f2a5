"""What a worker's sessions speak, and how messages lie in memory for it: SMTP, LMTP or injection by HTTP.

Takes     a worker's part of the plan
Gives     session options, a maker of sessions for each target, the layout of messages
Not here  connections (opening), who is next (lane)
"""

from collections.abc import Callable
from typing import Final

from mboxgen.enums import table_of
from trafficgen.engine.control import WorkerConfig
from trafficgen.engine.link import Session
from trafficgen.outcomes import Phase
from trafficgen.plan import Dialect, Pipelining, Plan, Target, TcpTarget
from trafficgen.protocol.http.client import InjectionOptions, InjectionSession
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import SessionAccount, SessionOptions, Source
from trafficgen.protocol.smtp.layout import layout_for
from trafficgen.protocol.smtp.leaving import LeavingSession
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.workload import AS_DELIVERED
from trafficgen.workload.address_book import uses_smtputf8
from trafficgen.workload.mail_layout import MailLayout

_HELLO: Final = table_of(Dialect, {
    Dialect.SMTP: Phase.EHLO,
    Dialect.LMTP: Phase.LHLO,
    Dialect.HTTP: Phase.EHLO,  # never said
    Dialect.HTTPS: Phase.EHLO,
})  # fmt: skip


def session_options(plan: Plan) -> SessionOptions:
    """How all sessions of a run behave."""
    extensions, shape = plan.session.extensions, plan.session.shape
    return SessionOptions(
        ehlo_name=plan.session.ehlo_name.encode("ascii"),
        max_messages=plan.session.max_messages,
        pipelining=plan.session.pipelining is Pipelining.AUTO,
        chunks=plan.session.chunks,
        hello=_HELLO[plan.target.dialect if plan.target else Dialect.SMTP],
        reset_between=shape.reset_between,
        needed=extensions.needed + ("SMTPUTF8",) * uses_smtputf8(plan.workload),
        declares_size=extensions.declare_size,
    )


def session_maker(
    config: WorkerConfig,
    options: SessionOptions,
    source: Source,
    target: Target | None,
    account: SessionAccount,
    replies: ReplyCache,
) -> Callable[[SessionOptions | None], Session]:
    """What makes a session for a new connection to this target."""
    plan = config.plan
    if not _injects(plan):

        def new_session(own: SessionOptions | None) -> Session:
            kind = LeavingSession if own is not None and own.leaving is not None else ClientSession
            return kind(source, account, own or options, replies)

        return new_session
    assert isinstance(target, TcpTarget)
    injecting = InjectionOptions(
        host=target.authority.encode("ascii"),
        path=target.path.encode("ascii"),
        authorization=config.resolved.authorization.encode("ascii"),
        defer_spool=plan.session.injection.defer_spool,
        defer_generation=plan.session.injection.defer_generation,
        max_messages=plan.session.max_messages,
    )
    return lambda _own: InjectionSession(source, account, injecting)


def layout(plan: Plan) -> MailLayout:
    """How messages lie in memory for the protocol that hands them over."""
    if _injects(plan):
        return AS_DELIVERED
    chunks = plan.session.chunks if plan.session.pipelining is Pipelining.AUTO else 0
    return layout_for(chunks, plan.session.extensions, plan.run_id)


def _injects(plan: Plan) -> bool:
    """Whether mail goes by HTTP."""
    return plan.target is not None and plan.target.dialect.injects
