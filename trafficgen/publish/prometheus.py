"""Metrics of a run for Prometheus, at http://127.0.0.1:PORT/metrics.

Takes     the results so far, whenever called
Gives     counters of messages and commands by outcome, of octets and of replies by code; latencies as quantiles, in
          seconds; of users of mailboxes, the account of their mail
Fails     with SetupError when prometheus_client is not installed or the port cannot be had
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any, Final

from trafficgen.errors import SetupError
from trafficgen.host.extras import advice
from trafficgen.measure.results import Results
from trafficgen.publish.published import Published

_OUTCOMES: Final = ("accepted", "rejected_temporary", "rejected_permanent", "failed", "in_doubt")
_QUANTILES: Final = (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"), ("0.999", "p99_9"))


class Prometheus(Published):
    """Use as a context manager. Port 0 takes a free one; `port` says which."""

    name: Final = "the metrics"

    def __init__(self, port: int) -> None:
        try:
            self._library: Any = import_module("prometheus_client")
            self._core: Any = import_module("prometheus_client.core")
        except ImportError as error:
            raise SetupError(f"--metrics-port needs prometheus_client: {advice('prometheus')}") from error
        super().__init__(port, "--metrics-port")
        self._results: Results | None = None
        self._registry = self._library.CollectorRegistry()
        self._registry.register(self)
        self._publish()

    def __call__(self, results: Results) -> None:
        self._results = results
        self._publish()

    def _publish(self) -> None:
        text = self._library.generate_latest(self._registry)
        self.put("/metrics", text, self._library.CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Any]:
        """What prometheus_client calls to write the metrics."""
        if self._results is None:
            return
        results, core = self._results, self._core
        messages = core.CounterMetricFamily("traffic_gen_messages", "Messages by outcome.", labels=["outcome"])
        for outcome in _OUTCOMES:
            messages.add_metric([outcome], getattr(results.messages, outcome))
        yield messages
        octets = results.messages.bytes
        yield core.CounterMetricFamily("traffic_gen_accepted_bytes", "Octets of accepted messages.", value=octets)
        replies = core.CounterMetricFamily("traffic_gen_replies", "Replies.", labels=["phase", "code"])
        by_code: Counter[tuple[str, str]] = Counter()
        for reply in results.replies:
            by_code[reply.phase, str(reply.code)] += reply.count
        for key, count in by_code.items():
            replies.add_metric(list(key), count)
        yield replies
        yield from self._latencies(results)
        yield from self._commands(results)
        if mailboxes := results.mailboxes:
            family = core.GaugeMetricFamily(
                "traffic_gen_mailbox_messages", "Mail delivered to users, against what they read.", labels=["state"]
            )
            for field in fields(mailboxes):
                family.add_metric([field.name], getattr(mailboxes, field.name))
            yield family
        busiest = max((worker.cpu_share for worker in results.generator.workers), default=0.0)
        yield core.GaugeMetricFamily("traffic_gen_worker_cpu_share", "Of the busiest worker's core.", value=busiest)

    def _latencies(self, results: Results) -> Iterator[Any]:
        family = self._core.GaugeMetricFamily(
            "traffic_gen_latency_seconds", "Latency of the run so far.", labels=["stretch", "quantile"]
        )
        for name, latency in results.latency_ns.items():
            if latency:
                for quantile, field in _QUANTILES:
                    family.add_metric([name, quantile], getattr(latency, field) / 1e9)
        yield family

    def _commands(self, results: Results) -> Iterator[Any]:
        counts = self._core.CounterMetricFamily(
            "traffic_gen_commands", "Commands by what became of them.", labels=["command", "outcome"]
        )
        latencies = self._core.GaugeMetricFamily(
            "traffic_gen_command_latency_seconds", "Latency of commands so far.", labels=["command", "quantile"]
        )
        for name, command in results.commands.items():
            counts.add_metric([name, "done"], command.count - command.errors)
            counts.add_metric([name, "refused"], command.refused)
            counts.add_metric([name, "failed"], command.failed)
            if latency := command.latency_ns:
                for quantile, field in _QUANTILES:
                    latencies.add_metric([name, quantile], getattr(latency, field) / 1e9)
        if results.commands:
            yield from (counts, latencies)
