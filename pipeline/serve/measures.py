"""What /metrics tells: decisions, their times, the version, the log."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.runtime.decider import Decider
from pipeline.runtime.decision import Decision

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
DECISION_SECONDS = (25e-6, 50e-6, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 1.0)
REQUEST_SECONDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0)
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
OTHER = "other"


class Measures:
    """What an application measures; each has its own.

    Args:
        decider: whose version, changes and log are told.
        paths: those that are measured by name; all others together are "other".

    Attributes:
        registry: that holds them all.
        in_flight: requests that are being answered.
        upstream, fallbacks, escalations: what the front counts; causes are few words, or statuses of HTTP.
    """

    def __init__(self, decider: Decider, paths: tuple[str, ...]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_State(decider))
        self._decisions = Counter(
            "tier_router_decisions", "Decisions, by tier and reason.", ("tier", "reason"), registry=self.registry
        )
        self._seconds = Histogram(
            "tier_router_decision_seconds",
            "Time of a decision; of one that others share, its part.",
            buckets=DECISION_SECONDS,
            registry=self.registry,
        )
        self._evidence = Histogram(
            "tier_router_evidence", "Share of a prompt's words that the router knows.", buckets=TENTHS,
            registry=self.registry,
        )  # fmt: skip
        self._requests = Counter(
            "tier_router_requests", "Requests, by path and status.", ("path", "status"), registry=self.registry
        )
        self._times = Histogram(
            "tier_router_request_seconds", "Time from a request's head to the end of its answer.", ("path",),
            buckets=REQUEST_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge("tier_router_requests_in_flight", "Requests not yet answered.", registry=self.registry)
        self.upstream = Counter(
            "tier_router_upstream", "Requests to the tiers, by what came of them.", ("tier", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self.fallbacks = Counter(
            "tier_router_fallbacks", "Requests that one tier failed and another was to answer, by cause.",
            ("cause",), registry=self.registry,
        )  # fmt: skip
        self.escalations = Counter(
            "tier_router_escalations", "Answers of flash for which pro was asked too, by cause.", ("cause",),
            registry=self.registry,
        )  # fmt: skip
        # Found once, because to look them up takes as long as to count.
        self._decided: dict[tuple[str, str], Counter] = {}
        self._answered: dict[tuple[str, int], Counter] = {}
        self._took = {path: self._times.labels(path) for path in (*paths, OTHER)}

    @property
    def decisions(self) -> int:
        """Decisions made."""
        return int(self.registry.get_sample_value("tier_router_decision_seconds_count") or 0)

    def decided(self, decision: Decision, seconds: float) -> None:
        """Count a decision that took so long."""
        key = (decision.tier, decision.reason)
        counter = self._decided.get(key)
        if counter is None:
            counter = self._decided[key] = self._decisions.labels(*key)
        counter.inc()
        self._seconds.observe(seconds)
        if decision.evidence is not None:
            self._evidence.observe(decision.evidence)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer that took so long."""
        key = (path if path in self._took else OTHER, status)
        counter = self._answered.get(key)
        if counter is None:
            counter = self._answered[key] = self._requests.labels(*key)
        counter.inc()
        self._took[key[0]].observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _State(Collector):
    """What the decider knows itself, looked up when it is asked for."""

    def __init__(self, decider: Decider) -> None:
        self.decider = decider

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known when they are collected."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """The version, its changes and the log."""
        decider = self.decider
        version = GaugeMetricFamily("tier_router_version_info", "1 for the version that decides.", labels=("version",))
        version.add_metric((decider.version,), 1)
        yield version
        yield CounterMetricFamily("tier_router_swaps", "Changes to another version.", decider.swaps)
        refused = "1 where the newest version was refused."
        yield GaugeMetricFamily("tier_router_refused_version", refused, int(bool(decider.refused)))
        if decider.log is None:
            return
        for name, count in (
            ("written", decider.log.written), ("dropped", decider.log.dropped), ("failed", decider.log.failed),
        ):  # fmt: skip
            yield CounterMetricFamily(f"tier_router_log_{name}", f"Rows of the decision log that were {name}.", count)
