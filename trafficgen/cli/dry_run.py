"""A plan in words, and its first messages as they would go over the wire.

Takes     a `ResolvedPlan`, the same that a run would be made from
Gives     text for people; connects to nothing and resolves no name
Refuses   what a run would refuse once it opens its files
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from mboxgen.counted import number_of
from mboxgen.enums import table_of
from mboxgen.recipe.sizes import format_size, parse_sizes
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.plan import Arrivals, Auth, BodyFile, Corpus, Pipelining, Plan, Retried, Security, SizedBodies
from trafficgen.plan.extensions import ExtensionPlan
from trafficgen.plan.identity import AddressRange, ClientPlan
from trafficgen.plan.shape import ShapePlan
from trafficgen.protocol.smtp.layout import BY_DATA
from trafficgen.units import format_duration
from trafficgen.workload import BuiltMessage, Messages
from trafficgen.workload.address_book import given
from trafficgen.workload.bodies import is_whole_message
from trafficgen.workload.contents import is_preset

SHOWN_MESSAGES: Final = 2
SHOWN_DOMAINS: Final = 15
SHOWN_BODY_OCTETS: Final = 600


def describe(resolved: ResolvedPlan) -> str:
    """The whole text of `--dry-run`."""
    plan = resolved.plan
    date = format_datetime(datetime.now(UTC))
    signatures = resolved.signed(date).signatures
    messages = Messages(plan, date=date, body=resolved.body, layout=BY_DATA, signatures=signatures)
    shown = min(SHOWN_MESSAGES, plan.max_messages or SHOWN_MESSAGES)
    parts = [
        "dry run: nothing is sent, no name is resolved",
        "\n".join(f"{title:<12}{words}" for title, words in _plan_in_words(resolved)),
        "\n".join(_domains(resolved)),
        *(f"-- message {message.number} --\n{_wire(message)}" for message in messages.block(0, shown)),
    ]
    return "\n\n".join(parts)


def _plan_in_words(resolved: ResolvedPlan) -> Iterator[tuple[str, str]]:
    plan = resolved.plan
    yield (
        "target",
        plan.destination
        or ("mail exchangers, looked up when a run begins" if plan.exchangers else "")
        or "the embedded sink, on a free loopback port",
    )
    yield "sessions", _sessions(plan)
    if plan.shard.of > 1:
        yield "shard", f"{plan.shard}: {resolved.sessions:,} of the sessions, and its share of what is said below"
    for title, words in (
        ("client", _client(plan.session.client, plan.session.ehlo_name)),
        ("TLS", _tls(plan)),
        ("extensions", _extensions(plan.session.extensions)),
        ("injection", _injection(plan)),
    ):
        if words:
            yield title, ", ".join(words)
    session = plan.session
    reply = format_duration(session.reply_timeout_ns) if session.reply_timeout_ns else "as long as RFC 5321 asks for"
    yield "time limits", f"{format_duration(session.connect_timeout_ns)} to connect, {reply} for a reply"
    yield "load", _load(plan)
    yield "ends", _ends(resolved)
    yield "recipients", _recipients(plan)
    named = plan.workload.from_addresses
    senders = ", ".join(one.address for one in named[:3]) + (", …" if len(named) > 3 else "")
    yield "senders", senders or f"{number_of(plan.workload.senders, 'address')} on the recipient domains"
    yield "content", _content(resolved)
    if plan.workload.dkim_keys:
        yield "signed", ", ".join(f"{key.domain} by {key.selector}" for key in plan.workload.dkim_keys) + " (DKIM)"
    for header in plan.workload.headers:
        total = sum(weight for _, weight in header.values)
        values = (
            f"{value} ({weight / total:.1%})" if len(header.values) > 1 else value for value, weight in header.values
        )
        yield "header", f"{header.name}: {' | '.join(values)}"
    if plan.retry is not None:
        what = "refused for now" if plan.retry.what is Retried.REFUSED_FOR_NOW else "not accepted"
        most, wait = plan.retry.most, format_duration(plan.retry.wait_ns)
        yield "retries", f"what was {what}, up to {most} more each, {wait} after each try"
    yield "errors", "counted, the run carries on" if plan.keep_going else "the first one ends the run"
    yield "seed", f"{plan.seed}, run id {plan.run_id}"
    if plan.workload.real_domains and (plan.target or plan.exchangers) and not plan.allow_real_domains:
        yield "refused", "mail for real domains may reach real people: this run needs --allow-real-domains"


_SECURITY: Final = table_of(Security, {
    Security.PLAIN: "plain", Security.STARTTLS: "STARTTLS", Security.STARTTLS_IF_OFFERED: "STARTTLS if offered",
    Security.TLS: "TLS",
})  # fmt: skip


def _sessions(plan: Plan) -> str:
    session = plan.session
    each = f"{_messages(session.max_messages)} each" if session.max_messages else "kept open"
    if session.shape.messages:
        each = " or ".join(f"{count:,}" for count, _ in session.shape.messages) + " messages each, by weight"
    pipelining = "pipelining if offered" if session.pipelining is Pipelining.AUTO else "no pipelining"
    words = [f"{plan.sessions:,}", each, pipelining, _SECURITY[session.security]]
    if session.chunks:
        words.insert(3, f"{session.chunks} in chunks at once if offered")
    if session.tls.share < 1:
        words[-1] += f" in {session.tls.share:.4g} of all"
    if session.security is not Security.PLAIN:
        words.append("certificate checked" if session.verify_certificate else "any certificate")
    words += _shape(session.shape)
    if session.extensions.needed:
        words.append(f"asks for {' '.join(session.extensions.needed)}")
    if session.auth:
        words.append(f"logged in as {session.auth.user if isinstance(session.auth, Auth) else 'one of many users'}")
    return ", ".join(words)


def _client(client: ClientPlan, ehlo_name: str) -> list[str]:
    """Where sessions come from, and who they say they are."""
    words = [f"from {_ranges(client.sources)}"] if client.sources else []
    names = [one.name for one in client.ehlo_names] or [ehlo_name] * bool(ehlo_name)
    words += [f"EHLO {' | '.join(names)}"] if names else []
    if client.proxy_from:
        words.append(f"PROXY header {client.proxy.value} for {_ranges(client.proxy_from)}")
    for command, ranges, attributes in (
        ("XCLIENT", client.xclient_from, client.xclient), ("XFORWARD", client.xforward_from, client.xforward),
    ):  # fmt: skip
        said = [f"ADDR={_ranges(ranges)}"] if ranges else []
        said += [
            f"{name}={'|'.join(one.value for one in attributes if one.name == name)}"
            for name in dict.fromkeys(one.name for one in attributes)
        ]
        words += [f"{command} {' '.join(said)}"] if said else []
    return words


def _ranges(ranges: tuple[AddressRange, ...]) -> str:
    return "|".join(one.first if one.size == 1 else f"{one.first}-{one.last}" for one in ranges)


def _tls(plan: Plan) -> list[str]:
    tls = plan.session.tls
    said: tuple[tuple[str, object], ...] = (
        ("authority", tls.authority), ("own certificate", tls.certificate), ("key", tls.key), ("SNI", tls.server_name),
        ("at least", tls.least and tls.least.value), ("at most", tls.most and tls.most.value), ("ciphers", tls.ciphers),
    )  # fmt: skip
    return [f"{name} {value}" for name, value in said if value] + ["sessions resumed"] * tls.resume


def _extensions(plan: ExtensionPlan) -> list[str]:
    """What every message's envelope says besides addresses."""
    words = ["SIZE"] * plan.declare_size
    words += [f"NOTIFY={','.join(one.value for one in plan.notify)}"] if plan.notify else []
    words += [f"RET={plan.ret.value}"] if plan.ret else []
    words += ["ORCPT"] * plan.original_recipient + ["BODY=BINARYMIME"] * plan.binary + ["REQUIRETLS"] * plan.require_tls
    words += [f"MT-PRIORITY={plan.priority}"] if plan.priority is not None else []
    if by := plan.deliver_by:
        words.append(f"BY={by.seconds};{by.mode.value}{'T' * by.trace}")
    return words


def _injection(plan: Plan) -> list[str]:
    injection = plan.session.injection
    words = ["deferred spool"] * injection.defer_spool + ["deferred generation"] * injection.defer_generation
    return words + ["with an Authorization header"] * (injection.authorization_file is not None)


def _shape(shape: ShapePlan) -> list[str]:
    words = [
        f"{one.share:.3g} of them {'leave without a message' if one.quits else 'close without a word'}"
        + (f" at {one.step.value}{':sent' * (not one.waits)}" if one in shape.departures else "")
        for one in shape.leaving
    ]
    if shape.slow_share:
        words.append(f"{shape.slow_share:.3g} of them send {shape.slow_octets_per_s:,} octets a second")
    words += [f"{shape.idle_sessions:,} more held idle"] if shape.idle_sessions else []
    words += [f"{format_duration(shape.think_ns)} between messages"] if shape.think_ns else []
    return words + (["RSET between messages"] if shape.reset_between else [])


def _load(plan: Plan) -> str:
    if plan.load is None:
        return "as fast as the server answers (closed model)"
    spacing = "at random (Poisson)" if plan.load.arrivals is Arrivals.POISSON else "evenly spaced"
    if not plan.load.stages:
        return f"{plan.load.rate_per_s:g} messages/s, {spacing} (open model)"
    steps = (f"{stage.rate_per_s:g}/s in {format_duration(stage.duration_ns)}" for stage in plan.load.stages)
    return f"from {plan.load.rate_per_s:g}/s to {', '.join(steps)}, {spacing} (open model)"


def _messages(count: int) -> str:
    return f"{count:,} message" + "s" * (count != 1)


def _ends(resolved: ResolvedPlan) -> str:
    limits = [_messages(resolved.planned)] if resolved.planned is not None else []
    limits += [format_duration(resolved.sending_ns)] if resolved.sending_ns is not None else []
    grace = format_duration(resolved.plan.grace_ns)
    return f"after {' or '.join(limits)}; then up to {grace} for what is on its way"


def _recipients(plan: Plan) -> str:
    counts, users = plan.workload.recipients_per_message, plan.workload.users
    total = sum(weight for _, weight in counts)
    mean = sum(count * weight for count, weight in counts) / total
    each = f"{counts[0][0]} per message" if len(counts) == 1 else f"{mean:.2f} per message on average"
    if plan.workload.recipients or plan.workload.recipients_file:
        return f"{each}; of {number_of(len(given(plan.workload)), 'address')}"
    popularity = "all alike" if users.zipf is None else f"popular by Zipf's law, exponent {users.zipf:g}"
    tagged = ", a new +tag every time" if users.tagged else ""
    return f"{each}; {number_of(users.count, 'user')} a domain, {popularity}{tagged}"


def _content(resolved: ResolvedPlan) -> str:
    match resolved.plan.workload.content:
        case SizedBodies() as content:
            sizes = parse_sizes(content.sizes)
            whole = "messages with headers" if is_preset(content) else "bodies"
            if sizes.min_octets == sizes.max_octets:
                return f"{whole} of {format_size(sizes.min_octets)}"
            span = f"{format_size(sizes.min_octets)} to {format_size(sizes.max_octets)}"
            return f"{whole} of {span}, {format_size(round(sizes.mean_octets))} on average ({', '.join(content.sizes)})"
        case BodyFile() as file:
            if resolved.body is not None and not file.binary and is_whole_message(resolved.body):
                return f"the whole message in {file.path}"
            return f"the body in {file.path}, under generated headers"
        case Corpus(path, shuffle):
            return f"the messages of {path}, {'shuffled' if shuffle else 'in their order'}"


def _domains(resolved: ResolvedPlan) -> Iterator[str]:
    count = len(resolved.domains)
    yield f"{count:,} recipient domain{'s' if count > 1 else ''}"
    ranked = sorted(resolved.weighted_domains, key=lambda domain: -domain[1])
    for name, share in ranked[:SHOWN_DOMAINS]:
        yield f"  {share:7.2%}  {resolved.plan.workload.with_suffix(name)}"
    if count > SHOWN_DOMAINS:
        yield f"  {sum(share for _, share in ranked[SHOWN_DOMAINS:]):7.2%}  {count - SHOWN_DOMAINS:,} more"


def _wire(message: BuiltMessage) -> str:
    """Envelope and content, a long body cut in its middle; what a terminal would obey is written as an escape."""
    body = bytes(message.body[:SHOWN_BODY_OCTETS])
    body = body[: body.rfind(b"\n") + 1] if len(body) < len(message.body) else body
    left_out = len(message.body) - len(body)
    cut = f"[… {left_out:,} octets not shown …]\r\n".encode() if left_out else b""
    text = (message.envelope + message.head + body + cut + message.tail).decode("utf-8", "backslashreplace")
    lines = text.replace("\r\n", "\n").rstrip("\n")
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in lines)
