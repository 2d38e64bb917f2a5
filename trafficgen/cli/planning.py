"""All options of `send` together: a plan, and what people should be told about it.

Takes     the options as they were typed or found in the environment, not yet understood
Gives     a checked `Plan` with every default decided, and notices, a line each
Refuses   options that do not go together, with a `PlanError` that names one of them
Not here  what the options are called (options), what those of mail and TLS mean (workload, protection)
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from trafficgen import units
from trafficgen.cli import parsing, protection
from trafficgen.cli.extensions import extensions
from trafficgen.cli.flagged import check_command, parse_with
from trafficgen.cli.options import SendOptions
from trafficgen.cli.workload import workload
from trafficgen.errors import PlanError
from trafficgen.host.limits import cores
from trafficgen.plan import (
    DEFAULT_DURATION_NS,
    AddressRange,
    Arrivals,
    ClientPlan,
    Departure,
    ExchangerPlan,
    Injection,
    OpenLoop,
    Pipelining,
    Plan,
    ProxyProtocol,
    SessionPlan,
    ShapePlan,
    Shard,
    TcpTarget,
    draw_run_id,
    draw_seed,
    is_reserved,
    parse_service,
)
from trafficgen.plan.targets import SMTP_PORT

if TYPE_CHECKING:
    from trafficgen.proof.waiting import DeliveryWait

SESSIONS_PER_CORE: Final = 10
"""As KumoMTA's traffic-gen without --concurrency."""


class Planned(NamedTuple):
    """A plan, lines for people, and what a run is told besides: where its manifest goes, where delivery is awaited."""

    plan: Plan
    notices: list[str]
    manifest: Path | None
    delivery_wait: "DeliveryWait | None"


def make_plan(options: SendOptions) -> Planned:
    """Every option understood and every default decided. Reads the file of --domains-from and no other."""
    _check_lines(options)
    shard = _shard(options)
    notices: list[str] = []
    seed = options.seed
    if seed is None:
        seed = draw_seed()
        notices.append(f"seed {seed}: repeat this run's messages with --seed {seed}")
    manifest, delivery_wait = _manifest(options), _delivery_wait(options)
    load = _load(options)
    targets = parsing.parse_targets(options.target)
    plan = Plan(
        target=targets[0].target if targets else None,
        target_weight=targets[0].weight if targets else 1.0,
        more_targets=targets[1:],
        sessions=SESSIONS_PER_CORE * cores() if options.concurrency is None else options.concurrency,
        max_messages=options.message_count,
        duration_ns=_duration_ns(options, load),
        workload=workload(options, notices),
        load=load,
        session=protection.protected(options, _session(options), [one.target for one in targets], notices),
        keep_going=options.keep_going,
        retry=parsing.parse_retry(options.retry) if options.retry is not None else None,
        grace_ns=parse_with(units.parse_duration, options.grace, "grace_ns", "--grace"),
        workers=options.workers,
        seed=seed,
        run_id=draw_run_id() if options.run_id is None else parsing.parse_run_id(options.run_id),
        allow_public_target=options.allow_public_target,
        allow_real_domains=options.allow_real_domains,
        ledger=not options.no_ledger,
        shard=shard,
        trace_sessions=options.trace,
        exchangers=_exchangers(options),
        ip_version=int(options.ip_version or 0),
    )
    suffix = plan.workload.domain_suffix
    if suffix and not is_reserved(suffix):
        notices.append(f'"{suffix}" is not reserved for tests: make sure that mail for it cannot leave your network')
    return Planned(plan, notices, manifest, delivery_wait)


def _exchangers(options: SendOptions) -> ExchangerPlan | None:
    """Whether mail goes where MX records say."""
    if not options.mx:
        for flag, value in (("--mx-port", options.mx_port), ("--resolver", options.resolver)):
            if value is not None:
                raise PlanError("expected domains whose mail exchangers are looked up: add --mx", "exchangers", flag)
        return None
    for flag, given in (("--target", options.target), ("--cluster", options.cluster)):
        if given:
            raise PlanError(f"expected no {flag} where mail goes by MX records", "exchangers", "--mx")
    return ExchangerPlan(
        port=SMTP_PORT if options.mx_port is None else options.mx_port,
        resolver=None if options.resolver is None else parsing.parse_resolver(options.resolver, "--resolver"),
    )


def _shard(options: SendOptions) -> Shard:
    """Which part of the run is sent here. What would differ from machine to machine must have been given."""
    if options.cluster is not None and (options.shard or options.start_at):
        text = "the hosts of a cluster are given their shards and their start: expected neither --shard nor --start-at"
        raise PlanError(text, "cluster", "--cluster")
    if options.cluster is not None and options.trace:
        raise PlanError("sessions of other hosts are not shown: expected no --trace", "cluster", "--cluster")
    shard = parsing.parse_shard(
        options.shard,
        {
            "--seed": (options.seed, "all shards draw the same messages from it"),
            "--run-id": (options.run_id, "it tells the mail of this run from all other"),
            "--concurrency": (options.concurrency, "it is of all shards together"),
        },
        options.start_at,
    )
    if shard.of > 1 and options.wait_for_delivery is not None:
        text = "a shard cannot wait for the delivery of mail that others send: use --manifest, and traffic-gen verify"
        raise PlanError(text, "shard", "--wait-for-delivery")
    return shard


def _manifest(options: SendOptions) -> Path | None:
    """Where the manifest goes, if anywhere."""
    if options.manifest is None:
        return None
    if not options.manifest or not options.manifest.isprintable():
        raise PlanError("expected the path of a file", "manifest", "--manifest")
    return Path(options.manifest)


def _delivery_wait(options: SendOptions) -> "DeliveryWait | None":
    """Where to wait for delivery, and how long, if at all."""
    if options.wait_for_delivery is None and not options.sink_api:
        return None
    from trafficgen.proof.waiting import DeliveryWait

    if options.wait_for_delivery is None or not options.sink_api or not options.target:
        text = "expected a --target, and a sink behind it: --sink-api and --wait-for-delivery together"
        raise PlanError(text, "drain", "--wait-for-delivery")
    sinks: list[TcpTarget] = []
    for text in options.sink_api:
        sink = parse_service(text, "drain", "--sink-api")
        if not isinstance(sink, TcpTarget) or sink in sinks:
            raise PlanError(f'expected [HOST:]PORT, each once, got "{sink}"', "drain", "--sink-api")
        sinks.append(sink)
    patience_ns = parse_with(units.parse_duration, options.wait_for_delivery, "drain", "--wait-for-delivery")
    return DeliveryWait(sinks[0], patience_ns, tuple(sinks[1:]))


def _check_lines(options: SendOptions) -> None:
    """What goes into reports and commands stays on its line."""
    given = (
        ("--cluster", options.cluster),
        ("--clock-error", options.clock_error),
        ("--junit", options.junit),
        ("--before", options.before),
        ("--after", options.after),
    )
    more = (("--html", options.html), ("--warm-up", options.warm_up), ("--abort-on-fail", options.abort_on_fail))
    server = (
        ("--observe", options.observe),
        ("--observe-queue", options.observe_queue),
        ("--observe-cgroup", options.observe_cgroup),
        ("--observe-doveadm", options.observe_doveadm),
        ("--observe-drain", options.observe_drain),
        *(("--observe-metrics", text) for text in options.observe_metrics),
    )
    for flag, text in (*given, *more, *server, *(("--threshold", text) for text in options.threshold)):
        if text is not None and any(c in text for c in "\r\n\0"):
            raise PlanError("expected one line of text", "verdict", flag)
    check_command(options.before, "before", "--before", "./prepare")
    check_command(options.after, "after", "--after", "./clean-up")


def _duration_ns(options: SendOptions, load: OpenLoop | None) -> int | None:
    if options.duration is not None:
        return parse_with(units.parse_duration, options.duration, "duration_ns", "--duration")
    if options.message_count is not None:
        return None
    return (load.stages_duration_ns if load else None) or DEFAULT_DURATION_NS


def _load(options: SendOptions) -> OpenLoop | None:
    arrivals = Arrivals(options.arrivals)
    if options.rate is None and not options.stage:
        if arrivals is not Arrivals.CONSTANT:
            raise PlanError("expected a rate or stages for arrivals to follow: add --rate", "load", "--arrivals")
        return None
    stages = tuple(parsing.parse_stage(text) for text in options.stage)
    rate_per_s = 0.0
    if options.rate is not None:
        rate_per_s = parse_with(units.parse_rate, options.rate, "rate", "--rate")
    return OpenLoop(rate_per_s, stages, arrivals)


def _session(options: SendOptions) -> SessionPlan:
    messages = parsing.parse_messages_per_session(options.messages_per_session)
    return SessionPlan(
        extensions=extensions(options),
        security=protection.asked(options),
        max_messages=messages if isinstance(messages, int) else 0,
        shape=_shape(options, () if isinstance(messages, int) else messages),
        pipelining=Pipelining(options.pipelining),
        chunks=options.chunking,
        injection=Injection(
            options.http_defer_spool,
            options.http_defer_generation,
            parsing.parse_path(options.http_authorization_file, "--http-authorization-file")
            if options.http_authorization_file is not None
            else None,
        ),
        ehlo_name=parsing.parse_ehlo_name(options.ehlo_name[0]).name if options.ehlo_name else "",
        client=_client(options),
        connect_timeout_ns=parse_with(
            units.parse_duration, options.connect_timeout, "connect_timeout_ns", "--connect-timeout"
        ),
        reply_timeout_ns=parse_with(units.parse_duration, options.timeout, "reply_timeout_ns", "--timeout"),
    )


def _shape(options: SendOptions, messages: tuple[tuple[int, float], ...]) -> ShapePlan:
    slow = parsing.parse_slow(options.slow_senders) if options.slow_senders is not None else (0.0, 0)
    leave = [parsing.parse_departure(text, "--leave-share") for text in options.leave_share]
    drop = [parsing.parse_departure(text, "--drop-share") for text in options.drop_share]
    return ShapePlan(
        slow_share=slow[0],
        slow_octets_per_s=slow[1],
        messages=messages,
        leave_share=sum((one for one in leave if isinstance(one, float)), 0.0),
        drop_share=sum((one for one in drop if isinstance(one, float)), 0.0),
        departures=tuple(one for one in leave + drop if isinstance(one, Departure)),
        think_ns=parse_with(units.parse_duration, options.think_time, "think_ns", "--think-time"),
        reset_between=options.rset_between,
        idle_sessions=options.idle_sessions,
        noop_ns=parse_with(units.parse_duration, options.noop_every, "noop_ns", "--noop-every"),
    )


def _client(options: SendOptions) -> ClientPlan:
    names = [parsing.parse_ehlo_name(text) for text in options.ehlo_name]

    def ranges(texts: tuple[str, ...], flag: str) -> tuple[AddressRange, ...]:
        return tuple(parsing.parse_range(text, flag) for text in texts)

    return ClientPlan(
        sources=ranges(options.source_ip, "--source-ip"),
        ehlo_names=tuple(names) if len(names) > 1 else (),
        proxy=ProxyProtocol(options.proxy_protocol or "none"),
        proxy_from=ranges(options.proxy_from, "--proxy-from"),
        xclient_from=ranges(options.xclient_from, "--xclient-from"),
        xforward_from=ranges(options.xforward_from, "--xforward-from"),
        xclient=tuple(parsing.parse_attribute(text, "--xclient") for text in options.xclient),
        xforward=tuple(parsing.parse_attribute(text, "--xforward") for text in options.xforward),
    )
