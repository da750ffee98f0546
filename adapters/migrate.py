"""The schema grows by numbered SQL files, each applied once, whoever starts first.

yoyo keeps the books (which file, when, by whom); its own way of running files is replaced, because
it parts them by a parser that errs on nested comments, records them in a second transaction, and
locks by a row that outlives a killed process.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration, default_migration_table

from domain.errors import AdapterError, Unavailable

MIGRATIONS = Path(__file__).with_name("migrations")
LOCK_KEY = 0x7461_6C6C_7973_7469
"""Of the advisory lock that migrators take: "tallysti" in ASCII."""
LOCK_SECONDS_MAX = 300

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+")
_NOT_TRANSACTIONAL = re.compile(r"^-- transactional: false$", re.MULTILINE)
_INCLUDE = re.compile(r"^-- include: (functions/[a-z_]+\.sql) [0-9a-f]{12}$", re.MULTILINE)


class MigrationFailed(AdapterError):
    """A file is misnumbered, was changed after it was applied, or was refused by PostgreSQL."""

    code = "migration_failed"


def migrate(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the pending files `NNNN_name.sql` of `folder`, in order; the names of those applied.

    `dsn` is a libpq conninfo string or URL that leads to PostgreSQL itself: the lock needs a
    session, which a transaction pooler does not give. Processes that start at once wait for the
    first, for LOCK_SECONDS_MAX; a killed one holds nobody up, since its lock ends with its session.
    A file and its record are one transaction. The line `-- include: functions/name.sql digest`
    stands for that file as it is now (ADR 0022). A file with the line `-- transactional: false` is
    run outside of one: it should be one statement that bears being run again. Raises
    MigrationFailed, or Unavailable when there is no server or no lock to be had.
    """
    files = _read(folder)
    try:
        with _Books(_uri(dsn), default_migration_table) as books, books.locked():
            digests = books.digests_applied()
            for file in files:
                if digests.get(file.id) not in {None, file.digest}:
                    raise MigrationFailed(f"{file.id} was changed after it was applied here.")
            pending = [file for file in files if file.id not in digests]
            for file in pending:
                books.apply(file)
            return [file.id for file in pending]
    except psycopg.OperationalError as error:
        raise Unavailable(f"The database cannot be migrated now: {error}") from error
    except psycopg.Error as error:
        raise MigrationFailed(f"The database cannot be migrated: {error}") from error


class _SqlFile(Migration):  # type: ignore[misc]  # yoyo ships no types
    """Run whole: only PostgreSQL knows where its statements end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem, str(path), str(path.parent))
        self.text = path.read_text(encoding="utf-8")
        self.digest = hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def transactional(self) -> bool:
        return _NOT_TRANSACTIONAL.search(self.text) is None

    @property
    def statements(self) -> str:
        """The text with what it includes."""
        folder = Path(self.source_dir)
        return _INCLUDE.sub(lambda line: (folder / line[1]).read_text("utf-8"), self.text)


class _Books(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo ships no types
    """Each record carries the digest of its file as comment."""

    log_migration_sql = (
        "insert into {0.log_table_quoted} (id, migration_hash, migration_id, operation, username,"
        " hostname, comment, created_at_utc) values (:id, :migration_hash, :migration_id,"
        " :operation, :username, :hostname, :comment, timezone('utc', clock_timestamp()))"
    )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only migrator; yoyo's own lock is then not needed and never taken."""
        self._begin_session()
        self.connection.execute(f"set lock_timeout = '{LOCK_SECONDS_MAX}s'")
        self.connection.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
        self._is_locked = True
        yield

    def digests_applied(self) -> dict[str, str | None]:
        """Name to digest of the files applied so far, None for one marked by hand.

        Makes the books on first use.
        """
        self.ensure_internal_schema_updated()
        rows = self.execute(
            self.format_sql(
                "select distinct on (migration_id) migration_id, log.comment"
                " from {0.migration_table_quoted} left join {0.log_table_quoted} log"
                " using (migration_id) order by migration_id, log.created_at_utc desc"
            )
        )
        return dict(rows.fetchall())

    def apply(self, file: _SqlFile) -> None:
        self._begin_session()
        try:
            if file.transactional:
                with self.transaction():
                    self.connection.execute(file.statements)
                    self.mark_one(file)
            else:
                self.connection.execute(file.statements)
                with self.transaction():
                    self.mark_one(file)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise MigrationFailed(f"{file.id} was refused: {error}") from error

    def _begin_session(self) -> None:
        """Let no file's `set` reach the next one, and no statement outlive a killed process."""
        self.connection.execute("reset all")
        # A server on a system that cannot tell refuses any value but 0.
        with suppress(psycopg.errors.InvalidParameterValue):
            self.connection.execute("set client_connection_check_interval = '1s'")

    def get_log_data(self, migration: _SqlFile, operation: str = "apply") -> dict[str, str]:
        """Replaces yoyo's, which needs a user name and asks DNS for this machine's."""
        return {
            "id": str(uuid4()),
            "migration_id": migration.id,
            "migration_hash": migration.hash,
            "operation": operation,
            "username": self.connection.info.user,
            "hostname": socket.gethostname(),
            "comment": migration.digest,
        }


def _read(folder: Path) -> list[_SqlFile]:
    """The files in order. Raises MigrationFailed unless numbered without gaps from 0001."""
    paths = sorted(folder.glob("*.sql"))
    for number, path in enumerate(paths, start=1):
        match = _NAME.fullmatch(path.stem)
        if match is None or int(match.group(1)) != number:
            raise MigrationFailed(f"{path.name} should be named {number:04}_some_words.sql.")
    return [_SqlFile(path) for path in paths]


def _uri(dsn: str) -> DatabaseURI:
    """Every parameter goes as an argument, so that a socket folder serves as host too."""
    try:
        arguments = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise MigrationFailed(f"The database's address cannot be read: {error}") from error
    database = arguments.pop("dbname", None)
    return DatabaseURI("postgresql+psycopg", None, None, None, None, database, arguments)
