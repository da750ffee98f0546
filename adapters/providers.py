"""How providers stand: their limits over all processes, and until when one is closed.

Light state beside the log, always written under the log's lock, by the transaction that starts the
tasks or records the failure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from adapters.arrays import Bigints, Texts
from adapters.decision import Cursor, Find
from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.aggregate import Stream

Pause = Callable[[str, int], float]


class ProviderLimits(NamedTuple):
    """None is no limit."""

    name: str
    running_tasks_max: int | None
    starts_per_minute_max: int | None


async def declare_providers(
    cursor: Cursor,
    providers: Collection[ProviderLimits],
    provider_names: Mapping[str, str],
    known_types: Collection[str],
) -> None:
    """Make these limits those of all processes; `provider_names` are by task type.

    A type that is known, but in no `provider_names`, has no provider any more.
    """
    parameters = {
        "names": Texts(provider.name for provider in providers),
        "running_max": Bigints(provider.running_tasks_max for provider in providers),
        "starts_max": Bigints(provider.starts_per_minute_max for provider in providers),
        "types": Texts(provider_names),
        "type_providers": Texts(provider_names.values()),
        "known_types": Texts(known_types),
    }
    await cursor.execute(statement("upsert_providers"), parameters, prepare=True)


def find_closing(task_id: UUID, token: int, pause: Pause) -> Find:
    """Close the provider of a task's type for `pause(type, failures)` seconds from now.

    Names no streams. Of several times the latest holds. Does nothing when the type has no provider,
    or `token` is not that of the attempt under way; `failures` are those before this one.
    """

    async def find(cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        parameters: dict[str, object] = {"task_id": task_id, "token": token}
        await cursor.execute(statement("select_failing"), parameters, prepare=True)
        if (row := await cursor.fetchone()) is not None:
            type_, provider, failures = row
            await cursor.execute(
                "UPDATE providers SET closed_until ="
                " greatest(closed_until, clock_timestamp() + make_interval(secs => %(seconds)s))"
                " WHERE name = %(provider)s",
                {"provider": provider, "seconds": pause(type_, failures)},
            )
        return []

    return find


async def open_providers(pool: Pool, limit: int) -> int:
    """Wake the workers for at most `limit` providers whose closing is over; how many.

    Raises `Unavailable`.
    """
    [(opened, _)] = await fetch(pool, statement("open_providers"), {"limit": limit})
    return int(opened)
