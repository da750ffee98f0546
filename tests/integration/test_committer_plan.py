"""The committer's statements are planned once, on empty tables, and must be good for full ones."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import psycopg

from tests.integration.decisions import grant, open_account, running_committer, submit

TASKS = 300
EVENTS = 2 * TASKS + 2
FIGURES = (
    "SELECT n_tup_ins, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'tallystick_events'"
)


async def test_no_append_reads_through_the_whole_log(database: str) -> None:
    """A plan kept from an empty log did: at 80,000 events, submitting took four times as long."""
    account_id = uuid4()
    async with running_committer(database) as committer:
        await committer.execute(open_account(account_id))
        await committer.execute(grant(account_id, TASKS))
        for _ in range(TASKS // 10):
            await asyncio.gather(
                *(committer.execute(submit(uuid4(), account_id)) for _ in range(10))
            )

    inserted = read = 0
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        async with asyncio.timeout(30):
            # The figures come when the committer's server process has ended.
            while inserted < EVENTS:
                answer = await connection.execute(FIGURES)
                inserted, read = await answer.fetchone() or (0, 0)
    assert read < TASKS
