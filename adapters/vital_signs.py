"""What tells whether an installation is well: its schema, and how deep its queue is."""

from __future__ import annotations

import msgspec

from adapters.migrate import MIGRATIONS
from adapters.pool import Pool, fetch
from adapters.sql import statement


class QueueDepth(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of one type: that could start, that may not yet, and that are worked on.

    `oldest_seconds` is how long the first that could start has waited.
    """

    type: str
    waiting: int
    delayed: int
    active: int
    oldest_seconds: float


async def pending_migrations(pool: Pool) -> list[str]:
    """Names of the migrations not yet applied. Raises `Unavailable`."""
    rows = await fetch(pool, "SELECT migration_id FROM _yoyo_migration", {})
    applied = {name for (name,) in rows}
    return [path.stem for path in sorted(MIGRATIONS.glob("*.sql")) if path.stem not in applied]


async def queue_depth(pool: Pool) -> list[QueueDepth]:
    """By type; types without such tasks are left out. Raises `Unavailable`."""
    rows = await fetch(pool, statement("count_active_tasks"), {})
    names = QueueDepth.__struct_fields__
    return [QueueDepth(**dict(zip(names, row, strict=True))) for row in rows]
