"""What tells whether an installation is well: whether its schema is up to date."""

from __future__ import annotations

from adapters.migrate import MIGRATIONS
from adapters.pool import Pool, fetch


async def pending_migrations(pool: Pool) -> list[str]:
    """Names of the migrations not yet applied. Raises `Unavailable`."""
    rows = await fetch(pool, "SELECT migration_id FROM _yoyo_migration", {})
    applied = {name for (name,) in rows}
    return [path.stem for path in sorted(MIGRATIONS.glob("*.sql")) if path.stem not in applied]
