"""The `eventsourcing` library's recorders and factory over our log.

Writers order themselves by the log's advisory lock, so that a position is visible only after all
that come before it; the stock recorder locks the whole table for this, and its database function
nothing. Events go in by one `unnest` of typed arrays, whatever their number; the stock recorder
hangs from about 5,000 on.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from eventsourcing.persistence import (
    DataError,
    InterfaceError,
    OperationalError,
    StoredEvent,
)
from eventsourcing.postgres import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresFactory,
    PostgresProcessRecorder,
)
from eventsourcing.utils import Environment, EnvType, retry
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier

from adapters.arrays import Array, Bigints, Byteas, Texts, Uuids

ATTEMPTS_MAX = 10
ATTEMPT_PAUSE_SECONDS = 0.2
POOL_SIZE = 1
POOL_OVERFLOW_MAX = 9
CONNECT_SECONDS_MAX = 10


def lock_number(schema: str, table: str) -> int:
    """Advisory lock of the log in `schema.table`; `committer.LOG_LOCK` is that of our own."""
    return zlib.crc32(f"{schema}.{table}".encode())


def environment(dsn: str) -> dict[str, str]:
    """The library's settings for the database at `dsn`, a libpq conninfo string or URL.

    Raises `psycopg.ProgrammingError` for a `dsn` that cannot be read.
    """
    parameters = conninfo_to_dict(dsn)
    return {
        LogFactory.POSTGRES_DSN: dsn,
        LogFactory.POSTGRES_DBNAME: str(parameters.get("dbname") or ""),
        LogFactory.POSTGRES_HOST: str(parameters.get("host") or ""),
        LogFactory.POSTGRES_PORT: str(parameters.get("port") or ""),
        LogFactory.POSTGRES_USER: str(parameters.get("user") or ""),
        LogFactory.POSTGRES_PASSWORD: str(parameters.get("password") or ""),
        LogFactory.POSTGRES_SCHEMA: "public",
        LogFactory.POSTGRES_POOL_SIZE: str(POOL_SIZE),
        LogFactory.POSTGRES_MAX_OVERFLOW: str(POOL_OVERFLOW_MAX),
        LogFactory.POSTGRES_CONNECT_TIMEOUT: str(CONNECT_SECONDS_MAX),
    }


class StreamRecorder(PostgresAggregateRecorder):
    """Records streams that have no common order, such as snapshots. Needs no composite type."""

    def __init__(
        self, datastore: PostgresDatastore, *, events_table_name: str = "stored_events"
    ) -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self.sql_create_statements = [
            statement
            for statement in self.sql_create_statements
            if statement.as_string().startswith(("CREATE TABLE", "CREATE UNIQUE INDEX"))
        ]
        self._ids = Texts if datastore.originator_id_type == "text" else Uuids
        self.insert_events_statement = SQL(
            "INSERT INTO {schema}.{table} (originator_id, originator_version, topic, state)"
            " SELECT n.i, n.v, n.t, n.s"
            " FROM unnest(%b::{id}[], %b::bigint[], %b::text[], %b::bytea[])"
            " WITH ORDINALITY AS n (i, v, t, s, o) ORDER BY n.o"
        ).format(
            schema=Identifier(datastore.schema),
            table=Identifier(events_table_name),
            id=Identifier(datastore.originator_id_type),
        )

    def _insert_stored_events(
        self,
        curs: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        **_: Any,  # noqa: ANN401 - the library's signature
    ) -> None:
        columns: tuple[Array, ...] = (
            self._ids([event.originator_id for event in stored_events]),
            Bigints([event.originator_version for event in stored_events]),
            Texts([event.topic for event in stored_events]),
            Byteas([event.state for event in stored_events]),
        )
        try:
            curs.execute(self.insert_events_statement, columns, prepare=True)
        except ValueError as error:
            raise DataError(f"An event does not fit its columns: {error}") from error


class _Save:
    """Events on their way; `transaction` is the one that may hold them, once it was begun."""

    __slots__ = ("events", "transaction")

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events
        self.transaction: str | None = None


class LogRecorder(StreamRecorder, PostgresApplicationRecorder):
    """Records streams and their common order, in which nothing ever shows up late.

    `POSTGRES_ENABLE_DB_FUNCTIONS` has no effect: what it stands for loses events to readers.
    """

    def __init__(
        self, datastore: PostgresDatastore, *, events_table_name: str = "stored_events"
    ) -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self.lock = lock_number(datastore.schema, events_table_name)
        self.insert_events_statement += SQL(" RETURNING notification_id")
        self._select_positions = SQL(
            "SELECT e.notification_id FROM {schema}.{table} AS e"
            " JOIN unnest(%b::{id}[], %b::bigint[]) AS n (i, v)"
            " ON e.originator_id = n.i AND e.originator_version = n.v"
            " ORDER BY e.notification_id"
        ).format(
            schema=Identifier(datastore.schema),
            table=Identifier(events_table_name),
            id=Identifier(datastore.originator_id_type),
        )

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ANN401 - the library's signature
    ) -> Sequence[int] | None:
        """Write all or nothing; their positions, in the order given, or None for no events.

        Raises the library's `IntegrityError` when a version exists already. A lost connection is
        made anew, up to ATTEMPTS_MAX; whether the commit under way took place is then asked first.
        """
        positions: Sequence[int] | None = self._save(_Save(stored_events), **kwargs)
        return positions

    @retry((InterfaceError, OperationalError), ATTEMPTS_MAX, ATTEMPT_PAUSE_SECONDS)
    def _save(self, save: _Save, **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401
        with self.datastore.transaction(commit=True) as cursor:
            transaction = self._lock_log(cursor)
            if save.transaction is not None and _committed(cursor, save.transaction):
                return self._positions(cursor, save.events)
            save.transaction = transaction
            self._insert_events(cursor, save.events, **kwargs)
            if not save.events:
                return None
            self._insert_stored_events(cursor, save.events, **kwargs)
            positions = [row["notification_id"] for row in cursor.fetchall()]
            self._notify_channel(cursor)
            return positions

    def _lock_log(self, cursor: Cursor[DictRow]) -> str:
        """Wait for those who write now; the id of this transaction."""
        if self.datastore.lock_timeout:
            cursor.execute(f"SET LOCAL lock_timeout = '{self.datastore.lock_timeout:d}s'".encode())
        cursor.execute(
            "SELECT pg_current_xact_id()::text AS id FROM pg_advisory_xact_lock(%s)",
            (self.lock,),
            prepare=True,
        )
        return str(_only(cursor)["id"])

    def _positions(
        self, cursor: Cursor[DictRow], events: Sequence[StoredEvent]
    ) -> Sequence[int] | None:
        if not events:
            return None
        keys = (
            self._ids([event.originator_id for event in events]),
            Bigints([event.originator_version for event in events]),
        )
        cursor.execute(self._select_positions, keys)
        return [row["notification_id"] for row in cursor.fetchall()]


class LogProcessRecorder(PostgresProcessRecorder, LogRecorder):
    """Records with the events, in one transaction, how far their writer has come in another log."""


class LogFactory(PostgresFactory):
    """Makes our recorders. `POSTGRES_DSN`, where set, is connected to with all its parameters."""

    POSTGRES_DSN = "POSTGRES_DSN"
    aggregate_recorder_class = StreamRecorder
    application_recorder_class = LogRecorder
    process_recorder_class = LogProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        if dsn := self.env.get(self.POSTGRES_DSN):
            self.datastore.pool.conninfo = dsn
            self.datastore.pool.kwargs = {"row_factory": dict_row}


def _committed(cursor: Cursor[DictRow], transaction: str) -> bool:
    """Whether it ended well. It held the log's lock, which is ours now, so it is over."""
    cursor.execute("SELECT pg_xact_status(%s::xid8) AS status", (transaction,))
    return bool(_only(cursor)["status"] == "committed")


def _only(cursor: Cursor[DictRow]) -> DictRow:
    row = cursor.fetchone()
    assert row is not None, "one row is always given"
    return row
