"""A host whose clock is wrong, on a server that shows local time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from adapters import clock
from adapters.clock import DatabaseClock

JUMPS = [timedelta(hours=-9), timedelta(hours=9), timedelta(days=400), timedelta(days=-400)]
"""Of the host's wall clock; its monotonic counter and the database's clock go on."""


def be_wrong(patch: pytest.MonkeyPatch, dsn: str, jump: timedelta) -> None:
    """From the start of a process on, which is yet to come."""

    class WrongTime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + jump  # noqa: TID251 - what a wrong host would say

    with psycopg.connect(dsn, autocommit=True) as connection:
        # A server that shows local time, with hours that are twice or not at all.
        name = sql.Identifier(connection.info.dbname)
        zone = sql.SQL("ALTER DATABASE {} SET timezone = 'America/New_York'")
        connection.execute(zone.format(name))
    patch.setattr(clock, "datetime", WrongTime)
    assert abs(DatabaseClock().now() - datetime.now(UTC) - jump) < timedelta(minutes=1)  # noqa: TID251
