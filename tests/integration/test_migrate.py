"""Each migration is applied once and whole, whoever starts, however often, whatever is killed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from adapters.deadline import Deadline
from adapters.migrate import LOCK_KEY, MIGRATIONS, MigrationFailed, migrate
from domain.errors import Unavailable

WAIT_SECONDS_MAX = 20.0

HARD_TO_PART = r"""
/* outer /* nested; */ still; a comment */
create table first (id bigint primary key, note text default E'it\'s; 100 %', "odd;name" int);
create function add_one(given int) returns int language plpgsql as $$
declare
    result int := given;
begin
    if result > 0 then
        result := result + 1; -- it's; fine
    end if;
    case when result = 0 then result := 1; else null; end case;
    begin
        insert into first (id) values (1);
    exception when unique_violation then
        null;
    end;
    return result;
end;
$$;
create function noticed() returns trigger language plpgsql as $body$
begin
    perform pg_notify('c', $inner$begin; end;$inner$);
    return new;
end;
$body$;
create trigger noticed after insert on first for each row execute function noticed();
create function twice(given int) returns int language sql
begin atomic
    select given;
    select given * 2;
end;
"""


def one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_hard_to_part.sql").write_text(HARD_TO_PART)
    (tmp_path / "0002_more.sql").write_text("alter table first add column more text;")
    return tmp_path


@pytest.mark.postgres15
def test_pending_files_are_applied_in_order_and_once(empty_database: str, folder: Path) -> None:
    assert migrate(empty_database, folder) == ["0001_hard_to_part", "0002_more"]
    assert migrate(empty_database, folder) == []
    assert one(empty_database, "select add_one(1) + twice(2)") == 6
    (folder / "0003_last.sql").write_text("create table last (id int);")
    assert migrate(empty_database, folder) == ["0003_last"]


@pytest.mark.postgres15
def test_ours_are_applied_once(empty_database: str) -> None:
    assert migrate(empty_database) == sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
    assert migrate(empty_database) == []


def test_an_included_file_is_applied_as_it_is_now(empty_database: str, folder: Path) -> None:
    (folder / "functions").mkdir()
    function = folder / "functions" / "answer.sql"
    function.write_text("create or replace function answer() returns int return 41;")
    (folder / "0003_answer.sql").write_text("-- include: functions/answer.sql 0123456789ab\n")
    migrate(empty_database, folder)
    function.write_text("create or replace function answer() returns int return 42;")
    assert migrate(empty_database, folder) == [], "an old version leaves a newer one's be"
    assert one(empty_database, "select answer()") == 41
    (folder / "0004_again.sql").write_text("-- include: functions/answer.sql ba9876543210\n")
    assert migrate(empty_database, folder) == ["0004_again"]
    assert one(empty_database, "select answer()") == 42


def test_no_function_was_changed_without_a_migration_that_brings_it() -> None:
    """The last file that includes a function names the digest of it."""
    named: dict[str, str] = {}
    for path in sorted(MIGRATIONS.glob("*.sql")):
        named |= dict(re.findall(r"^-- include: (\S+) (\S+)$", path.read_text(), re.MULTILINE))
    functions = {f"functions/{path.name}": path for path in MIGRATIONS.glob("functions/*.sql")}
    assert named == {
        name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in functions.items()
    }


def test_a_url_serves_as_well(empty_database: str, folder: Path) -> None:
    host = psycopg.conninfo.conninfo_to_dict(empty_database)["host"]
    name = psycopg.conninfo.conninfo_to_dict(empty_database)["dbname"]
    url = f"postgresql://postgres@/{name}?host={host}"
    assert migrate(url, folder) == ["0001_hard_to_part", "0002_more"]


def test_migrators_that_start_at_once_apply_each_file_once(
    empty_database: str, folder: Path
) -> None:
    barrier = Barrier(4)

    def start(_: int) -> list[str]:
        barrier.wait()
        return migrate(empty_database, folder)

    with ThreadPoolExecutor(4) as pool:
        results = sorted(pool.map(start, range(4)))
    assert results == [[], [], [], ["0001_hard_to_part", "0002_more"]]


def test_a_refused_file_leaves_no_trace_and_stops_the_row(
    empty_database: str, folder: Path
) -> None:
    (folder / "0003_broken.sql").write_text("create table half (id int); select no_such_thing;")
    (folder / "0004_never.sql").write_text("create table never (id int);")
    with pytest.raises(MigrationFailed, match=r"0003_broken was refused.*no_such_thing"):
        migrate(empty_database, folder)
    assert one(empty_database, "select to_regclass('half')") is None
    assert one(empty_database, "select to_regclass('never')") is None
    (folder / "0003_broken.sql").write_text("create table half (id int);")
    assert migrate(empty_database, folder) == ["0003_broken", "0004_never"]


def test_a_file_that_cannot_be_recorded_is_not_applied(empty_database: str, folder: Path) -> None:
    (folder / "0003_spoils_the_books.sql").write_text(
        "create table half (id int); drop table _yoyo_log;"
    )
    with pytest.raises(MigrationFailed, match="0003_spoils_the_books was refused"):
        migrate(empty_database, folder)
    assert one(empty_database, "select to_regclass('half')") is None


@pytest.mark.fault
def test_a_killed_migrator_holds_nobody_up(empty_database: str, folder: Path) -> None:
    last = folder / "0003_slow.sql"
    last.write_text("create table half (id int); select pg_sleep(3600);")
    call = "import pathlib, sys; from adapters.migrate import migrate"
    call += "; migrate(sys.argv[1], pathlib.Path(sys.argv[2]))"
    busy = "select count(*) from pg_stat_activity where query like '%pg_sleep(3600)%'"
    busy += " and datname = current_database() and pid <> pg_backend_pid()"
    with subprocess.Popen([sys.executable, "-c", call, empty_database, str(folder)]) as migrator:
        deadline = Deadline(WAIT_SECONDS_MAX)
        while one(empty_database, busy) == 0:
            assert deadline.pause()
        migrator.kill()
    last.write_text("create table half (id int);")
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(migrate, empty_database, folder).result(WAIT_SECONDS_MAX)
    assert applied == ["0003_slow"]


def test_a_file_changed_after_it_was_applied_is_refused(empty_database: str, folder: Path) -> None:
    migrate(empty_database, folder)
    (folder / "0002_more.sql").write_text("alter table first add column other text;")
    with pytest.raises(MigrationFailed, match="0002_more was changed"):
        migrate(empty_database, folder)


def test_a_file_may_ask_to_run_outside_a_transaction(empty_database: str, folder: Path) -> None:
    (folder / "0003_index.sql").write_text(
        "-- transactional: false\ncreate index concurrently later on first (note);"
    )
    assert migrate(empty_database, folder)[-1] == "0003_index"
    assert one(
        empty_database, "select indisvalid from pg_index where indexrelid = 'later'::regclass"
    )


def test_what_a_file_sets_stays_its_own(empty_database: str, folder: Path) -> None:
    (folder / "0003_schema.sql").write_text("set statement_timeout = '1ms';")
    (folder / "0004_slow.sql").write_text("select pg_sleep(0.05);")
    assert migrate(empty_database, folder)[-1] == "0004_slow"


@pytest.mark.parametrize("name", ["0002_gap_before.sql", "0001_Upper.sql", "1_short.sql", "x.sql"])
def test_a_misnumbered_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("select 1;")
    with pytest.raises(MigrationFailed, match=f"{name} should be named 0001_some_words.sql"):
        migrate("dbname=never_reached", tmp_path)


def test_two_files_of_one_number_are_refused(empty_database: str, folder: Path) -> None:
    (folder / "0002_again.sql").write_text("select 1;")
    with pytest.raises(MigrationFailed, match="should be named 0003_some_words"):
        migrate(empty_database, folder)


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        migrate(f"host={tmp_path} dbname=x", MIGRATIONS)


def test_an_unreadable_address_is_refused() -> None:
    with pytest.raises(MigrationFailed, match="address cannot be read"):
        migrate("no equals sign")


def test_a_lock_held_too_long_is_unavailable(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.migrate.LOCK_SECONDS_MAX", 0.1)
    with psycopg.connect(empty_database) as connection:
        connection.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(Unavailable, match="lock timeout"):
            migrate(empty_database)
