"""QUALITY 8: whoever reads while credits move sees every account whole, and beside it its tasks."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from service.identifiers import new_id, public_id
from tests.integration.http.api import PRICE, Api

ACCOUNTS = 4
READERS = 3
TURNS = 12
"""Of each account: a task that is done, one that is cancelled, and a hold for something outside."""
SNAPSHOT = """
SELECT a.*, t.active AS tasks_active, t.done AS tasks_done
FROM accounts AS a
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE status IN ('queued', 'backoff', 'running', 'cancelling')) AS active,
        count(*) FILTER (WHERE status = 'completed') AS done
    FROM tasks
    WHERE account_id = a.id
) AS t
"""


async def test_no_reader_sees_credits_that_are_nowhere_or_twice(api: Api) -> None:
    accounts = [new_id() for _ in range(ACCOUNTS)]
    for account_id in accounts:
        await api.open_account(account_id)
    done = asyncio.Event()
    readers = [asyncio.create_task(_read(api.service.dsn, done)) for _ in range(READERS)]
    await asyncio.gather(*(_move(api, account_id) for account_id in accounts))
    done.set()

    seen = [row for rows in await asyncio.gather(*readers) for row in rows]
    assert [row for row in seen if not _whole(row)] == []
    moving = {row["version"] for row in seen if row["id"] in accounts}
    assert len(moving) > TURNS, "they were read while credits moved"
    await _work(api)
    for row in await _rows(api.service.dsn):
        if row["id"] in accounts:
            assert row["held"] == 0
            assert row["captured"] == PRICE * row["tasks_done"] + TURNS


async def _move(api: Api, account_id: UUID) -> None:
    user = await api.key_of(account_id)
    path = f"/v1/accounts/{public_id('acct', account_id)}"
    for _ in range(TURNS):
        cancelled = await api.submit(as_=user)
        await api.post(f"/v1/tasks/{cancelled['id']}/cancel", {}, user)
        await api.submit(as_=user)
        await _work(api)
        held = await api.post(f"{path}/holds", {"amount": 3, "reason": "r"}, "admin")
        capture = {"amount": 1, "reason": "r"}
        await api.post(f"{path}/holds/{held.json()['id']}/capture", capture, "admin")


async def _work(api: Api) -> None:
    """On what anybody submitted, also what is being cancelled: it may still complete."""
    for claimed in await api.claim(limit=ACCOUNTS * 2):
        await api.work(claimed["id"], "complete", claimed["token"], result={"n": 2})


async def _rows(dsn: str) -> list[dict[str, Any]]:
    done = asyncio.Event()
    reading = asyncio.create_task(_read(dsn, done))
    done.set()
    return await reading


async def _read(dsn: str, done: asyncio.Event) -> list[dict[str, Any]]:
    """All accounts, each time in one snapshot of the database, until the movers are through."""
    seen: list[dict[str, Any]] = []
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, row_factory=dict_row
    ) as connection:
        while True:
            last = done.is_set()
            seen += await (await connection.execute(SNAPSHOT)).fetchall()
            if last:
                return seen


def _whole(row: dict[str, Any]) -> bool:
    """I1, I2 and I4; of what is held, the tasks have their price and the rest is for outside."""
    gone = row["captured"] + row["expired"] + row["voided"]
    outside = row["active"] - row["tasks_active"]
    return (
        row["granted"] == row["pending"] + row["available"] + row["held"] + gone
        and row["available"] >= 0
        and outside in {0, 1}
        and row["held"] == PRICE * row["tasks_active"] + 3 * outside
        and (row["captured"] - PRICE * row["tasks_done"]) in range(TURNS + 1)
    )
