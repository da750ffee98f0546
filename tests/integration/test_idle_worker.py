"""A worker that is to end when it is idle is not fooled by what ends while it looks for more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.task import Task
from tallystick.handler import Context, handler
from tests.integration.bus import opened
from tests.integration.groups import PRICE, GroupBench, Shot


async def test_a_member_that_ends_while_the_worker_claims_is_followed_by_the_next(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim finds nothing, the end queues the group's next, and then nothing is held."""
    looked = asyncio.Event()

    @handler("shot", price_credits=PRICE)
    async def shot(ask: Shot, context: Context) -> Shot:
        await looked.wait()
        return ask

    async with opened(database, [shot]) as bench:
        groups = GroupBench.over(bench)
        group = await groups.start(3, parallel_max=1)
        worker, claim = bench.worker(), bench.attempts.claim

        async def claim_slowly(*given: Any) -> list[Task]:
            tasks = await claim(*given)
            if not tasks:
                looked.set()
            while worker.held and looked.is_set():  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)
            return tasks

        monkeypatch.setattr(bench.attempts, "claim", claim_slowly)
        async with asyncio.timeout(30):
            await worker.run(until_idle=True)
        assert (await groups.group(group.id)).status == "completed"
        groups.verify()
