"""A database whose clock a test sets on: all that asks PostgreSQL for the time is told another."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from adapters.clock import DatabaseClock

_SET_UP = """
CREATE TABLE clock_shift (shift interval NOT NULL);
INSERT INTO clock_shift VALUES ('0');
CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN pg_catalog.clock_timestamp() + (SELECT shift FROM public.clock_shift);
"""
_SHIFT = "UPDATE clock_shift SET shift = shift + %(by)s"
_LEASES = "UPDATE tasks SET lease_until = lease_until + %(by)s WHERE isfinite(lease_until)"


def set_up_shift(dsn: str) -> None:
    """Must be done before the service connects."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SET_UP)
        name = sql.Identifier(connection.info.dbname)
        query = sql.SQL("ALTER DATABASE {} SET search_path = public, pg_catalog").format(name)
        connection.execute(query)


def shift(dsn: str, clock: DatabaseClock, by: timedelta) -> datetime:
    """Time goes on at once, also for `clock`; workers have kept their leases meanwhile. Now."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SHIFT, {"by": by})
        connection.execute(_LEASES, {"by": by})
        asked = time.monotonic()
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    # A reading as good as can be, so that it is taken.
    clock.follow(now, asked, asked)
    return now
