"""All that `traffic-gen send` was told, as it was typed.

Takes     what click read from the command line and the environment; a scenario has the same names
Gives     one frozen record, a field for each option, not yet understood
Not here  how options are called and described (options), what they mean together (planning)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """What `traffic-gen send` was told, by parameter name. None or empty: not given."""

    target: tuple[str, ...]
    mx: bool
    mx_port: int | None
    resolver: str | None
    allow_public_target: bool
    allow_real_domains: bool
    ip_version: str | None
    message_count: int | None
    duration: str | None
    concurrency: int | None
    messages_per_session: str
    workers: int | None
    grace: str
    rate: str | None
    arrivals: str
    stage: tuple[str, ...]
    domain: tuple[str, ...]
    domains_from: tuple[str, ...]
    domain_preset: tuple[str, ...]
    long_tail: str | None
    domain_suffix: str
    users: str
    recipients: str
    to: tuple[str, ...]
    recipients_from: str | None
    from_address: tuple[str, ...]
    senders_from: tuple[str, ...]
    senders: int | None
    smtputf8_share: str | None
    body_size: tuple[str, ...]
    body_file: str | None
    mbox: str | None
    mbox_recipe: str | None
    shuffle: bool
    subject: tuple[str, ...]
    header: tuple[str, ...]
    dkim_key: tuple[str, ...]
    pipelining: str
    chunking: int
    declare_size: bool
    notify: str | None
    ret: str | None
    orcpt: bool
    binarymime: bool
    requiretls: bool
    mt_priority: int | None
    deliver_by: str | None
    think_time: str
    rset_between: bool
    idle_sessions: int
    noop_every: str
    leave_share: tuple[str, ...]
    drop_share: tuple[str, ...]
    slow_senders: str | None
    ehlo_name: tuple[str, ...]
    source_ip: tuple[str, ...]
    proxy_protocol: str | None
    proxy_from: tuple[str, ...]
    xclient_from: tuple[str, ...]
    xclient: tuple[str, ...]
    xforward_from: tuple[str, ...]
    xforward: tuple[str, ...]
    starttls: bool
    starttls_if_offered: bool
    tls: bool
    tls_share: str | None
    tls_ca: str | None
    insecure: bool
    http_batch_size: int | None
    http_defer_spool: bool
    http_defer_generation: bool
    http_authorization_file: str | None
    tls_cert: str | None
    tls_key: str | None
    sni: str | None
    tls_min: str | None
    tls_max: str | None
    tls_ciphers: str | None
    tls_resume: bool
    auth_user: str | None
    auth_password_file: str | None
    auth_users: str | None
    auth_mechanism: str | None
    connect_timeout: str
    timeout: str
    keep_going: bool
    retry: str | None
    seed: int | None
    run_id: str | None
    shard: str | None
    start_at: str | None
    cluster: str | None
    cluster_hosts: int | None
    clock_error: str
    trace: int
    no_ledger: bool
    manifest: str | None
    wait_for_delivery: str | None
    sink_api: tuple[str, ...]
    json: str | None
    quiet: bool
    dry_run: bool
    threshold: tuple[str, ...]
    warm_up: str | None
    abort_on_fail: str | None
    junit: str | None
    html: str | None
    live_port: int | None
    metrics_port: int | None
    before: str | None
    after: str | None
    observe: str | None
    observe_queue: str | None
    observe_cgroup: str | None
    observe_metrics: tuple[str, ...]
    observe_doveadm: str | None
    observe_drain: str | None
