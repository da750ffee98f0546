"""A process whose clients all work on the same few accounts, by way of one committer.

Prints a line for each command that was acknowledged, as soon as it was: its id, then the positions
of its events in the log; at the end, how often the committer was overtaken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from uuid import UUID, uuid4

from adapters.committer import Committer
from adapters.decision import Decision
from tests.integration.decisions import complete, grant, running_committer, start, submit
from tests.integration.rivals import await_start


async def _execute(committer: Committer, decision: Decision) -> None:
    done = await committer.execute(decision)
    os.write(1, f"{decision.command_id} {done.position} {len(done.events)}\n".encode())


async def _client(committer: Committer, accounts: list[UUID], turns: int, number: int) -> None:
    for turn in range(turns):
        account_id = accounts[(number + turn) % len(accounts)]
        task_id = uuid4()
        await _execute(committer, submit(task_id, account_id))
        await _execute(committer, start(task_id))
        await _execute(committer, complete(task_id, account_id))
        await _execute(committer, grant(account_id, 1))


async def _run(dsn: str, accounts: list[UUID], clients: int, turns: int) -> None:
    async with running_committer(dsn) as committer:
        await asyncio.to_thread(await_start)
        await asyncio.gather(
            *(_client(committer, accounts, turns, number) for number in range(clients))
        )
        os.write(1, f"conflicts {committer.conflicts}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("accounts", type=UUID, nargs="+")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--turns", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.dsn, arguments.accounts, arguments.clients, arguments.turns))


if __name__ == "__main__":
    main()
