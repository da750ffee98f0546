"""The queue inside the tasks table: what can be claimed, which leases lapsed, their renewal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec
import psycopg

from adapters.arrays import Bigints, Smallints, Texts, Uuids
from adapters.decision import Cursor, Find
from adapters.pool import Pool, fetch, lent
from adapters.sql import statement
from domain.aggregate import GROUPS, LEDGERS, TASKS, Stream
from domain.errors import Unavailable

CLAIM_TASKS_MAX = 1_000
"""Most tasks of one claim; also written in `select_claimable`."""
LeaseState = Literal["held", "cancelling", "lost"]


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's sign of life for one task, with its latest fine progress where there is news."""

    task_id: UUID
    token: int
    percent: int | None = None
    message: str | None = None
    completed: int | None = None
    total: int | None = None


def find_claimable(types: Mapping[str, int | None], limit: int) -> Find:
    """Up to `limit` queued tasks of these types, most urgent and oldest first.

    Runs under the log's lock: nobody else claims, starts or cancels meanwhile, so rows need no lock
    of their own.
    """

    async def find(cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
        parameters = {
            "types": Texts(types),
            "running_max": Bigints(types.values()),
            "taken": Uuids([stream.id for stream in taken]),
            "limit": min(limit, CLAIM_TASKS_MAX),
        }
        await cursor.execute(statement("select_claimable"), parameters, prepare=True)
        return [Stream(TASKS, row[0]) for row in await cursor.fetchall()]

    return find


def find_overdue(limit: int) -> Find:
    """At most `limit` tasks past their deadline by the database's clock, with their books."""
    return _find_with_books("select_overdue", limit)


def find_lapsed(limit: int) -> Find:
    """At most `limit` tasks whose lease has lapsed by the database's clock, with their books.

    The rows are locked: a heartbeat either came first, and the task is not found, or comes too
    late.
    """
    return _find_with_books("select_lapsed", limit)


def find_members(group_id: UUID) -> Find:
    """The tasks of a group that have not ended; at most as many as its `parallel_max`."""

    async def find(cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        await cursor.execute(statement("select_members_at_work"), (group_id,), prepare=True)
        return [Stream(TASKS, row[0]) for row in await cursor.fetchall()]

    return find


def _find_with_books(name: str, limit: int) -> Find:
    """Tasks with their accounts' ledgers, and with the groups of those that have one."""

    async def find(cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        await cursor.execute(statement(name), (limit,), prepare=True)
        rows = await cursor.fetchall()
        ledgers = {row[1] for row in rows}
        groups = {row[2] for row in rows} - {None}
        return [
            *(Stream(TASKS, row[0]) for row in rows),
            *(Stream(LEDGERS, ledger_id) for ledger_id in ledgers),
            *(Stream(GROUPS, group_id) for group_id in groups),
        ]

    return find


def find_due_ledgers(limit: int) -> Find:
    """At most `limit` ledgers that time has changed, by the database's clock."""

    async def find(cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        await cursor.execute(statement("select_due_accounts"), (limit,), prepare=True)
        return [Stream(LEDGERS, row[0]) for row in await cursor.fetchall()]

    return find


async def wake_delayed(pool: Pool, limit: int) -> int:
    """Let at most `limit` tasks be claimed whose time has come; how many. Raises `Unavailable`."""
    [(woken, _)] = await fetch(pool, statement("wake_delayed"), {"limit": limit})
    return int(woken)


class Leases:
    """Renews leases and keeps fine progress, off the log."""

    def __init__(self, pool: Pool, lease_seconds: float) -> None:
        self._pool = pool
        self.lease_seconds = lease_seconds

    async def renew(
        self, beats: Sequence[Heartbeat], *, seconds: float | None = None
    ) -> list[LeaseState]:
        """Push each lease out to `seconds` from now, `lease_seconds` if None; the state of each.

        A lease that runs longer already is left as it is. Raises `Unavailable`; the leases then run
        on.
        """
        parameters = (
            Uuids([beat.task_id for beat in beats]),
            Bigints([beat.token for beat in beats]),
            Smallints([beat.percent for beat in beats]),
            Texts([beat.message for beat in beats]),
            Bigints([beat.completed for beat in beats]),
            Bigints([beat.total for beat in beats]),
            self.lease_seconds if seconds is None else seconds,
        )
        states: dict[tuple[UUID, int], LeaseState] = {}
        try:
            async with lent(self._pool) as connection:
                cursor = connection.cursor(binary=True)
                await cursor.execute(statement("renew_leases"), parameters, prepare=True)
                for task_id, token, status in await cursor.fetchall():
                    states[task_id, token] = "cancelling" if status == "cancelling" else "held"
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
            raise Unavailable(f"The leases cannot be renewed: {error}") from error
        return [states.get((beat.task_id, beat.token), "lost") for beat in beats]
