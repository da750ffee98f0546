"""Figures for Prometheus: requests by route and status here, the rest read when asked for."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

MEDIA = b"text/plain; version=0.0.4; charset=utf-8"
Series = dict[tuple[str, ...], float]
"""Values of a gauge by those of its labels."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_BOUNDS: list[str] = [floatToGoString(bound) for bound in (*_SECONDS, math.inf)]  # type: ignore[no-untyped-call]


class _Answers:
    """How the requests of one route were answered: how many with each status, and in what time."""

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(_SECONDS) + 1)
        self.seconds = 0.0


class _Requests(Collector):
    """Counted in plain numbers: the library's own take locks, and a fifteenth of a request."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], _Answers] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        answers = self._routes.get((method, route))
        if answers is None:
            answers = self._routes[method, route] = _Answers()
        answers.statuses[status] = answers.statuses.get(status, 0) + 1
        answers.buckets[bisect_left(_SECONDS, seconds)] += 1
        answers.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "tallystick_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        seconds = HistogramMetricFamily(
            "tallystick_http_request_seconds",
            "Time from the end of a request's headers to its answer, waiting included.",
            labels=["method", "route"],
        )
        for (method, route), answers in self._routes.items():
            for status, count in answers.statuses.items():
                requests.add_metric([method, route, str(status)], count)
            at_most = zip(_BOUNDS, accumulate(answers.buckets), strict=True)
            seconds.add_metric([method, route], [*at_most], answers.seconds)
        yield requests
        yield seconds


class Metrics:
    """One registry a process of the API; nothing global, so that several can live side by side."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = _Requests()
        self.registry.register(self._requests)
        self._gauges: dict[str, Gauge] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the path's template."""
        self._requests.observe(method, route, status, seconds)

    def show(self, name: str, help_: str, values: Series, *labels: str) -> None:
        """Set a gauge to these values by their labels' values; what is not given is gone."""
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = Gauge(name, help_, labels, registry=self.registry)
        if not labels:
            gauge.set(values[()])
            return
        gauge.clear()
        for key, value in values.items():
            gauge.labels(*key).set(value)

    def text(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self.registry)
