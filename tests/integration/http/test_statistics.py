"""Percentiles, pauses and backlogs show in statistics, health and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.http.api import SETUP, Api, running_api
from tests.integration.queued_tasks import put_tasks


@pytest.fixture
async def impatient(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    """An API beside which two tasks that wait are a backlog."""
    async with running_api(database, tmp_path, backlog_tasks_max=1, backlog_seconds=0) as running:
        yield running


def sample(metrics: str, name: str, **labels: str) -> float:
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    [line] = [line for line in metrics.splitlines() if line.startswith(f"{name}{{{shown}}} ")]
    return float(line.rpartition(" ")[2])


async def test_a_backlog_shows_everywhere_until_it_is_over(impatient: Api) -> None:
    for _ in range(2):
        await impatient.submit()
    assert await impatient.service.alerts.sweep() == 1

    ready = (await impatient.get("/health/ready", None)).json()
    assert [b["type"] for b in ready["checks"]["queue"]["backlogs"]] == ["double"]
    found = (await impatient.get("/v1/statistics", "admin")).json()
    [backlog] = found["backlogs"]
    assert backlog["type"] == "double"
    assert backlog["since"] == backlog["raised_at"] <= found["queue_counted_at"]
    metrics = (await impatient.get("/metrics", None)).text
    assert sample(metrics, "tallystick_backlog", type="double") == 1
    assert sample(metrics, "tallystick_queue_oldest_seconds", type="double") > 0

    await impatient.claim()
    assert await impatient.service.alerts.sweep() == 1
    ready = (await impatient.get("/health/ready", None)).json()
    assert ready["checks"]["queue"]["backlogs"] == []
    metrics = (await impatient.get("/metrics", None)).text
    assert sample(metrics, "tallystick_backlog", type="double") == 0


async def test_waits_and_runs_show_in_metrics_by_quantile(api: Api, database: str) -> None:
    """Two runs as they were, and two of 105 s."""
    for _ in range(2):
        task = await api.submit()
        [claimed] = await api.claim()
        await api.work(task["id"], "complete", claimed["token"], result={"n": 2})
    await api.project()
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO statistics_v2_counts SELECT hour, type, state, failure_type, phase, 196,"
            " 2, 0, 0, 2 * 105000000 FROM statistics_v2_counts WHERE phase = 'run' LIMIT 1"
        )
    metrics = (await api.get("/metrics", None)).text
    longest = sample(metrics, "tallystick_task_run_seconds", type="double", quantile="1")
    median = sample(metrics, "tallystick_task_run_seconds", type="double", quantile="0.5")
    assert 105 <= longest < 105 * 1.125
    assert 0 < median < 105 / 2
    assert sample(metrics, "tallystick_task_wait_seconds", type="double", quantile="0.99") > 0


async def test_tasks_of_a_paused_type_are_no_backlog(impatient: Api, database: str) -> None:
    put_tasks(database, 5, "double")
    await impatient.service.gates.pause("type", "double", reason="test", origin=SETUP)
    assert await impatient.service.alerts.sweep() == 0
    [queue] = (await impatient.get("/v1/statistics", "admin")).json()["queue"]
    assert (queue["waiting"], queue["paused"], queue["oldest_at"]) == (0, 5, None)
    await impatient.service.gates.resume("type", "double", reason="test", origin=SETUP)
    assert await impatient.service.alerts.sweep() == 1
