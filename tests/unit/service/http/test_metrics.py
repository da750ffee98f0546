"""Requests are counted by route and status, and their times in cumulative buckets."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from service.http.metrics import Metrics

LABELS = ("method", "route", "status", "le")
SECONDS = (0.0005, 0.001, 0.0011, 0.3, 60.0, 61.0)


def test_requests_and_their_times_are_shown_as_prometheus_wants_them() -> None:
    metrics = Metrics()
    for seconds in SECONDS:
        metrics.observe("GET", "/a", 200, seconds)
    metrics.observe("GET", "/a", 404, 0.02)
    metrics.observe("POST", "/a", 202, 5.0)
    shown = {
        (sample.name, *(sample.labels[n] for n in LABELS if n in sample.labels)): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name.startswith("tallystick_")
    }

    requests, seconds_ = "tallystick_http_requests_total", "tallystick_http_request_seconds"
    assert shown[requests, "GET", "/a", "200"] == len(SECONDS)
    assert shown[requests, "GET", "/a", "404"] == 1
    assert shown[requests, "POST", "/a", "202"] == 1
    assert shown[f"{seconds_}_count", "GET", "/a"] == len(SECONDS) + 1
    assert shown[f"{seconds_}_sum", "GET", "/a"] == sum(SECONDS) + 0.02
    at_most = {
        bound: shown[f"{seconds_}_bucket", "GET", "/a", bound]
        for bound in ("0.001", "0.0025", "0.025", "0.25", "0.5", "60.0", "+Inf")
    }
    assert [*at_most.values()] == [2, 3, 4, 4, 5, 6, 7]
