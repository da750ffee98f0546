"""Claims a second with few and with very many tasks queued, and drains by several processes."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time

import psycopg

from bench import database
from bench.system import PATIENCE_SECONDS, run
from bench.tallystick_system import BATCH, DATABASE, Tallystick

FEW, MANY = 10_000, 1_000_000
CLAIMS = 80
WARM_CLAIMS = 5
DRAIN_TASKS = 10_000
PROCESSES = (1, 2, 4)
# Rows as submissions leave them: ids and times ascend in the order in which they stand on disk.
_CLONE = """
WITH model AS (
    SELECT t.*, e.topic, convert_from(e.state, 'UTF8') AS event, row_number() OVER (ORDER BY t.id) AS place
    FROM tasks AS t JOIN tallystick_events AS e ON e.originator_id = t.id
),
made AS MATERIALIZED (
    SELECT uuidv7() AS made_id, m.*, n
    FROM generate_series(1, %(tasks)s) AS n
    JOIN model AS m ON m.place = 1 + n %% (SELECT count(*) FROM model)
    ORDER BY n
),
logged AS (
    INSERT INTO tallystick_events (originator_id, originator_version, topic, state)
    SELECT made_id, 1, topic, convert_to(replace(event, id::text, made_id::text), 'UTF8') FROM made
)
INSERT INTO tasks (
    id, version, account_id, type, status, priority, turn, queued_at, token, created_at, deadline_at, percent, data, input
)
SELECT
    made_id, 1, account_id, type, status, priority, turn + 1000 * n, queued_at + n * interval '1 ms', token,
    created_at + n * interval '1 ms', deadline_at + n * interval '1 ms', percent,
    replace(data::text, id::text, made_id::text)::json, input
FROM made
"""  # noqa: E501 - SQL, in the width of the SQL files


def measure() -> dict[str, object]:
    """`claims_few`, `claims_many` (tasks a second) and their ratio; `drain_1`, `_2`, `_4`."""
    few, many = _claims(FEW), _claims(MANY)
    figures: dict[str, object] = {
        "claims_few": few,
        "claims_many": many,
        "claims_ratio": many / few,
    }
    return figures | {f"drain_{count}": _drain(count) for count in PROCESSES}


def table(figures: list[dict[str, object]]) -> str:
    """Markdown: the medians of several runs."""
    rows = ["| figure | median |", "|---|---|"]
    for key in figures[0]:
        median = statistics.median(float(str(one[key])) for one in figures)
        rows.append(f"| {key} | {median:,.2f} |")
    return "\n".join([*rows, ""])


def _claims(tasks: int) -> float:
    """Tasks started a second by one process in claims of `BATCH`, with that many queued."""
    system = Tallystick()
    system.reset()
    run(system.bulk(500))
    with psycopg.connect(database.dsn(DATABASE), autocommit=True) as connection:
        connection.execute("SET work_mem = '256MB'")
        connection.execute(_CLONE, {"tasks": tasks})
    database.settle(DATABASE)
    return CLAIMS * BATCH / run(system.claim(CLAIMS, BATCH, warm=WARM_CLAIMS))


def _drain(processes: int) -> float:
    """Tasks a second from the start of the work to the last acknowledgement in the database."""
    system = Tallystick()
    system.reset()
    run(system.bulk(DRAIN_TASKS))
    database.settle(DATABASE)
    command = [sys.executable, "-m", "bench", "--system", "tallystick", "work", os.devnull]
    workers = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    try:
        return DRAIN_TASKS / asyncio.run(_seconds(system))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


async def _seconds(system: Tallystick) -> float:
    """From the first start to the last end, as the database tells: processes take time to begin."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while system.done() < DRAIN_TASKS:
        if time.monotonic() > patience:
            raise RuntimeError("the tasks are not done in time")
        await asyncio.sleep(0.05)
    with psycopg.connect(database.dsn(DATABASE)) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM"
            " max(ended_at) - min((data ->> 'started_at')::timestamptz))::float8 FROM tasks"
        ).fetchone()
    assert row is not None
    return float(row[0])
