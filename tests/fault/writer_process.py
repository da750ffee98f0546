"""A process that commits, to be stopped and killed: `writer_process.py JOB DSN ACCOUNT COUNT`.

It says `ready`, waits for a line, and then writes a line for each answer that it was given.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec

from adapters.clock import DatabaseClock
from adapters.committer import Committer
from domain.aggregate import Stream
from domain.errors import DomainError, LimitReached
from tests.fault import commands
from tests.fault.ledger_desk import Desk, Prepared
from tests.fault.ledger_histories import Entry, Player
from tests.fault.writers import running

CALLERS = 32
IDLE_SECONDS_MAX = 1.0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _shared(count: int, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` `count` times, `CALLERS` at once."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await work()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def submit(committer: Committer, account_id: UUID, count: int) -> None:
    """Submit tasks, and say the command's id as soon as it is acknowledged."""

    async def work() -> None:
        decision = commands.submit(account_id)
        await committer.execute(decision)
        _say(str(decision.command_id))

    await _shared(count, work)


async def hold(committer: Committer, account_id: UUID, count: int) -> None:
    """Hold one credit each; say `ok` or the refusal's code."""

    async def work() -> None:
        try:
            await committer.execute(commands.hold(account_id))
            _say("ok")
        except DomainError as error:
            _say(error.code)

    await _shared(count, work)


async def churn(committer: Committer, account_id: UUID, count: int) -> None:
    """Submit on the standard plan, and cancel what was accepted; say `ok` or the refusal's code."""

    async def work() -> None:
        task_id = commands.new_id()
        try:
            await committer.execute(commands.submit(account_id, task_id, plan="standard"))
        except DomainError as error:
            _say(error.code)
            return
        await committer.execute(commands.cancel(task_id, account_id))
        _say("ok")

    await _shared(count, work)


async def spend_day(committer: Committer, account_id: UUID, count: int) -> None:
    """Submit on the standard plan until so many were accepted or the day's number is reached.

    Cancels what was accepted; says `ok` or the name of the limit, each time.
    """
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            said = ""
            while said not in {"ok", "daily_tasks_max"}:
                said = await _submitted(committer, account_id)
                _say(said)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _submitted(committer: Committer, account_id: UUID) -> str:
    task_id = commands.new_id()
    try:
        await committer.execute(commands.submit(account_id, task_id, plan="standard"))
    except LimitReached as refusal:
        return refusal.limit
    await committer.execute(commands.cancel(task_id, account_id))
    return "ok"


async def stall(committer: Committer, account_id: UUID, _: int) -> None:
    """Stop inside the log's lock, the first time; say `locked`, then the id when it is done."""
    seen = 0

    async def find(_: object, __: object) -> tuple[Stream, ...]:
        nonlocal seen
        seen += 1
        _say(f"locked {seen}")
        if seen == 1:
            sys.stdin.readline()
        return ()

    decision = commands.submit(account_id, find=find)
    await committer.execute(decision)
    _say(str(decision.command_id))


async def play(committer: Committer, account_id: UUID, count: int) -> None:
    """Play on each account that it is told of, with a seed; say each call, its answer, and `end`.

    `count` is its number among the players.
    """

    def say(entry: Entry) -> None:
        _say(msgspec.json.encode(entry).decode())

    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        dsn, told, seed = sys.argv[2], UUID(line[0]), int(line[1])
        await Player(committer, dsn, count, seed, say).play(told)
        _say("end")


async def decide(committer: Committer, _: UUID, __: int) -> None:
    """Decide all that it is told of at once, and say each case that is acknowledged."""
    accounts = msgspec.json.decode(await asyncio.to_thread(sys.stdin.readline), type=list[Prepared])
    at = Desk(committer, DatabaseClock())

    async def decided(account: Prepared) -> None:
        await account.decide(at)
        _say(account.case)

    await asyncio.gather(*map(decided, accounts))


JOBS = {job.__name__: job for job in (submit, hold, churn, spend_day, stall, play, decide)}


async def main(job: str, dsn: str, account_id: str, count: str) -> None:
    async with running(dsn, idle_in_transaction_seconds_max=IDLE_SECONDS_MAX) as committer:
        _say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        await JOBS[job](committer, UUID(account_id), int(count))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
