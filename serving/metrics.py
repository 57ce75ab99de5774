"""Prometheus metrics of the serving process: one object per application, labels bound once.

Names start with `ml_engine_`; docs/api.md lists them and a test compares. A value that is not
known has no sample; nothing is invented.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from serving.traffic import Traffic

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATENCY_BUCKETS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0),
)


Labelled = TypeVar("Labelled", Counter, Histogram)


def _by_labels(metric: Labelled) -> Callable[..., Labelled]:
    """Return `metric.labels` that keeps what it found; for labels that are never removed."""
    return cache(metric.labels)


class Metrics:
    """Counters, histograms and gauges of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.traffic = Traffic()
        requests = Counter(
            "ml_engine_requests", "Answers sent.", ["route", "method", "status"], registry=registry
        )
        request_seconds = Histogram(
            "ml_engine_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["route"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        predict_seconds = Histogram(
            "ml_engine_predict_seconds",
            "Seconds that one prediction request computes, without waiting.",
            ["model"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        predictions = Counter(
            "ml_engine_predictions",
            "Rows answered.",
            ["model", "version", "flavor", "backend"],
            registry=registry,
        )
        self.requests, self.request_seconds = _by_labels(requests), _by_labels(request_seconds)
        self.predictions, self.predict_seconds = (
            _by_labels(predictions),
            _by_labels(predict_seconds),
        )
        self.prediction_errors = Counter(
            "ml_engine_prediction_errors",
            "Symbols that could not be answered inside an answered request.",
            ["model", "code"],
            registry=registry,
        )
        self.fallbacks = Counter(
            "ml_engine_fallbacks",
            "Requests answered by another backend than the one asked for.",
            ["model", "backend"],
            registry=registry,
        )
        self.price_basis_mismatches = Counter(
            "ml_engine_price_basis_mismatches",
            "Requests answered from prices of another basis than the version's.",
            ["model"],
            registry=registry,
        )
        self.bars = Counter(
            "ml_engine_bars", "Bars posted, by outcome.", ["outcome"], registry=registry
        )
        self.outcomes = Counter(
            "ml_engine_outcomes",
            "Outcomes posted, by what became of them; a late one is accepted too.",
            ["outcome"],
            registry=registry,
        )
        self.poll_failures = Counter(
            "ml_engine_alias_poll_failures",
            "Looks at the registry that got no answer.",
            registry=registry,
        )
        self.load_failures = Counter(
            "ml_engine_load_failures",
            "Versions that could not be loaded; what served before goes on serving.",
            ["model"],
            registry=registry,
        )
        self.loaded = Gauge(
            "ml_engine_loaded_version",
            "1 for every version that is loaded.",
            ["model", "version", "role"],
            registry=registry,
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def add(self, collector: Collector) -> None:
        """Add gauges that are read together when they are asked for."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
