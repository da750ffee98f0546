"""One PostgreSQL for the whole run, and a fresh migrated database for each test that asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
import structlog
from hypothesis import settings
from psycopg import sql

from adapters.embedded import EmbeddedPostgres
from adapters.migrate import migrate
from adapters.postmaster import Postmaster
from tests.run_folder import VARIABLE, RunFolder, fitting_place

RUN = pytest.StashKey[RunFolder]()
TEMPLATE = "tallystick_template"
TEMPLATE_LOCK_KEY = 0x7465_6D70_6C61_7465
DEBIAN_VERSIONS = Path("/usr/lib/postgresql")
DEBIAN_VERSION_MIN = 15
LONG = ("fault", "stateful")

# Searching anew each time finds more; the blob brings a failure back.
_ALWAYS = settings(deadline=None, derandomize=False, print_blob=True)
settings.register_profile("ci", _ALWAYS, max_examples=200, stateful_step_count=30)
settings.register_profile("nightly", _ALWAYS, max_examples=10_000, stateful_step_count=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        folder = config.stash[RUN] = RunFolder(fitting_place())
        folder.keep_bytecode()
        os.environ[VARIABLE] = str(folder.path)


def pytest_unconfigure(config: pytest.Config) -> None:
    """After the workers, crashed ones too."""
    if RUN in config.stash:
        config.stash[RUN].remove()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked `postgres15` on both servers."""
    if metafunc.definition.get_closest_marker("postgres15"):
        metafunc.parametrize("server", ["embedded", "debian"], indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, so that no worker ends alone; within each sort in random order."""
    items.sort(key=lambda item: not any(item.get_closest_marker(sort) for sort in LONG))


@pytest.fixture(scope="session", autouse=True)
def data_made_without_the_disk() -> Iterator[None]:
    """Syncing a new server's files takes longer than making them; programs do it, tests need not.

    See `_spare_the_disk`.
    """
    run = Postmaster._run

    def spared(
        self: Postmaster, folder: Path, seconds_max: float, program: str, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        more = ("--no-sync",) if program == "initdb" else ()
        return run(self, folder, seconds_max, program, *arguments, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Postmaster, "_run", spared)
        yield


@pytest.fixture(scope="session", autouse=True)
def errors_logged_plainly() -> None:
    """A traceback drawn in colours and boxes, with all locals, takes 50 ms of CPU."""
    *others, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*others, plain])


@pytest.fixture(autouse=True)
def loggers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logs as they were before; and no logger keeps for ever what one test has set up."""
    before, configure = structlog.get_config(), structlog.configure

    def without_cache(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", without_cache)
    yield
    configure(**before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The embedded server of this run, shared by its workers, with the template made."""
    with EmbeddedPostgres(_run_folder() / "embedded") as server:
        # Nobody kills this one, so that no page can be torn either.
        _spare_the_disk(server, "fsync", "full_page_writes")
        _ensure_template(server)
        yield server


@pytest.fixture(scope="session")
def debian_postgres() -> Iterator[EmbeddedPostgres]:
    """Debian's PostgreSQL, on the oldest version that is supported and installed."""
    programs = _debian_programs()
    if programs is None:
        pytest.skip(f"no PostgreSQL of version {DEBIAN_VERSION_MIN} or later in {DEBIAN_VERSIONS}")
    with EmbeddedPostgres(_run_folder() / "debian", programs=programs) as server:
        # Nobody kills this one, so that no page can be torn either.
        _spare_the_disk(server, "fsync", "full_page_writes")
        _ensure_template(server)
        yield server


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty folder that the account of root's server can pass, unlike those of `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="private-", dir=_run_folder()))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def private_postgres(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server for this test alone, which it may kill; its database `tallystick` is empty."""
    with EmbeddedPostgres(server_folder) as server:
        _spare_the_disk(server, "fsync")
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """Where `database` is made: the embedded server, or Debian's for a `postgres15` test's twin."""
    kind = getattr(request, "param", "embedded")
    found = request.getfixturevalue("debian_postgres" if kind == "debian" else "postgres")
    assert isinstance(found, EmbeddedPostgres)
    return found


@pytest.fixture
def database(server: EmbeddedPostgres) -> Iterator[str]:
    """DSN of a migrated database that only this test uses; dropped afterwards by force."""
    with _made_database(server, TEMPLATE) as dsn:
        yield dsn


@pytest.fixture
def empty_database(server: EmbeddedPostgres) -> Iterator[str]:
    """DSN of a database without any table."""
    with _made_database(server, "template1") as dsn:
        yield dsn


def _run_folder() -> Path:
    return Path(os.environ[VARIABLE])


def _debian_programs() -> Path | None:
    versions = sorted(
        int(path.parts[-3])
        for path in DEBIAN_VERSIONS.glob("[0-9]*/bin/postgres")
        if int(path.parts[-3]) >= DEBIAN_VERSION_MIN
    )
    return DEBIAN_VERSIONS / str(versions[0]) / "bin" if versions else None


def _spare_the_disk(server: EmbeddedPostgres, *settings: LiteralString) -> None:
    """No test cuts the power: what a killed server has written is with the operating system.

    A database is made three times faster then, and recovery goes four times faster. The servers
    that programs start for themselves stay as they are.
    """
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        for setting in settings:
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")


def _ensure_template(server: EmbeddedPostgres) -> None:
    """Made by the first worker; one that was cut off is made anew."""
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", [TEMPLATE_LOCK_KEY])
        query = "select from pg_database where datname = %s and datistemplate"
        if connection.execute(query, [TEMPLATE]).fetchone() is None:
            name = sql.Identifier(TEMPLATE)
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
            connection.execute(sql.SQL("create database {}").format(name))
            migrate(server.dsn(TEMPLATE))
            connection.execute(
                sql.SQL("alter database {} is_template true allow_connections false").format(name)
            )


@contextmanager
def _made_database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        # Its checkpoints cost little with nothing synced; writing 8 MB of log takes 90 ms of CPU.
        connection.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        try:
            yield server.dsn(name)
        finally:
            connection.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            )
