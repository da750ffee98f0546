"""A process that leads one projection in small batches and tells of each, until it is killed."""

from __future__ import annotations

import asyncio
import sys

from adapters.mapper import EventMapper
from adapters.projector import Projector, ProjectorLimits
from adapters.read_tables import BEHIND
from adapters.wakeup import Wakeup


async def main(dsn: str, name: str) -> None:
    table = next(table for table in BEHIND if table.projection.name == name)
    limits = ProjectorLimits(batch_events_max=3)
    one = Projector(dsn, table, EventMapper(), Wakeup(dsn), limits)
    while True:
        await one.run_once()
        sys.stdout.write(f"{one.position}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
