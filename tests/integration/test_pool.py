"""Connections that a process lends itself: a cancellation is heard whenever it comes."""

from __future__ import annotations

import asyncio

from adapters.pool import Pool, lent, open_pool

TURNS_OF_THE_LOOP = 12
"""More than lie between giving a connection back and the next borrower's having it."""


async def test_who_is_cancelled_in_the_moment_of_lending_ends(database: str) -> None:
    async with open_pool(database, 1) as pool:
        ended = [await _ends(pool, turns) for turns in range(TURNS_OF_THE_LOOP)]
    assert all(ended), f"of the turns of the loop after the loan: {ended}"


async def _ends(pool: Pool, turns: int) -> bool:
    """Whether a borrower ends that is cancelled so soon after its connection was given back."""

    async def borrow_for_ever() -> None:
        async with lent(pool):
            await asyncio.Event().wait()

    async with lent(pool):
        borrower = asyncio.create_task(borrow_for_ever())
        while not pool.get_stats().get("requests_waiting"):  # noqa: ASYNC110
            await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    borrower.cancel()
    ended, _ = await asyncio.wait([borrower], timeout=3)
    borrower.cancel()
    await asyncio.wait([borrower])
    return bool(ended)
