"""One PostgreSQL server over one data folder: made, started, looked at and stopped."""

from __future__ import annotations

import enum
import os
import re
import shutil
import subprocess
from pathlib import Path

import psutil

from adapters.deadline import Deadline
from adapters.server_folder import PORT
from adapters.system_account import account_for, give, let_read, let_through
from domain.errors import Unavailable

START_SECONDS_MAX = 300
"""Crash recovery replays at most `max_wal_size` of log before the server answers."""
STOP_SECONDS_MAX = 60
KILL_SECONDS_MAX = 10
INIT_SECONDS_MAX = 120
LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_TAIL_BYTES = 2_000
SUPERUSER = "postgres"

_LOG_NAME = "server.log"
_PID_FILE_NAME = "postmaster.pid"
_SOCKET_LOCK_NAME = f".s.PGSQL.{PORT}.lock"
_PID_UNUSED = 2**31 - 1
_STATUS_LINE = 7
_BUILTIN_LOCALE_SINCE = 17
_OPTIONS = {
    "cluster_name": "tallystick",
    "listen_addresses": "",
    "log_timezone": "UTC",
    "max_connections": "200",
    "port": str(PORT),
    "timezone": "UTC",
    # Relative to the data folder, which may be deeper than a socket's path may be long.
    "unix_socket_directories": ".",
}


class PostgresUnavailable(Unavailable):
    """The embedded server cannot be made, started, reached or stopped; the sentence says why."""


class State(enum.Enum):
    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Postmaster:
    """Not safe to call from two processes at once: the caller holds the folder's gate.

    The data stays on its defaults for durability (`fsync`, `synchronous_commit` on). There is no
    password: only the owner of the data folder, and root, can reach the socket in it.
    """

    def __init__(self, data: Path, programs: Path) -> None:
        self._data = data
        self._programs = programs
        self._account = account_for(data)

    def state(self) -> State:
        """What the server says of itself, if its process lives."""
        lines = self._lock_file_lines(_PID_FILE_NAME)
        if not lines or not self._is_ours(int(lines[0])):
            return State.ABSENT
        status = lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else ""
        return State(status) if status in {"ready", "stopping"} else State.STARTING

    def create(self) -> None:
        """Make the data folder unless it is there. Killed midway, it leaves no half-made data.

        Raises PostgresUnavailable, also for data of another major version.
        """
        version = self._programs_version()
        if (self._data / "PG_VERSION").exists():
            self._check_version(version)
            return
        partial = self._data.with_name(f"{self._data.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        if self._account is not None:
            give(partial, self._account)
            let_through(self._account, partial)
        locale = ["--locale=C"]
        if version >= _BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = ["--auth-local=trust", "--auth-host=reject", f"--username={SUPERUSER}"]
        made = self._run(
            partial, INIT_SECONDS_MAX,
            "initdb", "--pgdata=.", "--encoding=UTF8", "--data-checksums", *locale, *access,
        )  # fmt: skip
        if made.returncode != 0:
            raise PostgresUnavailable(f"initdb failed: {made.stderr.strip()}")
        partial.replace(self._data)
        _sync(self._data.parent)

    def start(self) -> None:
        """Return once the server answers. Raises PostgresUnavailable with the end of its log."""
        deadline = Deadline(START_SECONDS_MAX)
        while (state := self.state()) is not State.READY:
            if state is State.ABSENT:
                self._launch(deadline)
            elif not deadline.pause():
                raise PostgresUnavailable(f"PostgreSQL is still {state.value}. {self._log_tail()}")

    def stop(self) -> None:
        """End all its sessions and it, keeping what was committed; no effect when it is absent."""
        for mode, seconds in (("fast", STOP_SECONDS_MAX), ("immediate", KILL_SECONDS_MAX)):
            if self.state() is State.ABSENT:
                return
            wait = ("-w", "-t", str(seconds))
            self._run(
                self._data, seconds + KILL_SECONDS_MAX,
                "pg_ctl", "stop", "-D", ".", "-m", mode, *wait,
            )  # fmt: skip
        if self.state() is not State.ABSENT:
            raise PostgresUnavailable(f"PostgreSQL does not stop. {self._log_tail()}")

    def _launch(self, deadline: Deadline) -> None:
        """Start the process. Returns also when the folder is still in use by a killed server."""
        if self._account is not None:
            give(self._data, self._account)
            let_through(self._account, self._data)
        self._disown_reused_pid()
        log_start = self._rotate_log()
        options = " ".join(f"-c {name}='{value}'" for name, value in _OPTIONS.items())
        seconds = max(1, int(deadline.remaining_seconds))
        started = self._run(
            self._data, seconds + KILL_SECONDS_MAX,
            "pg_ctl", "start", "-D", ".", "-l", _LOG_NAME, "-o", options, "-w", "-t", str(seconds),
        )  # fmt: skip
        if started.returncode == 0:
            return
        log = self._log_tail(log_start)
        # The killed server's sessions end by themselves, each at its next look around.
        if "pre-existing shared memory block" not in log or not deadline.pause():
            reason = started.stderr.strip() or started.stdout.strip()
            raise PostgresUnavailable(f"PostgreSQL does not start: {reason} {log}")

    def _disown_reused_pid(self) -> None:
        """A killed server leaves its process id, which may be a zombie's or another process's now.

        PostgreSQL would then refuse to start. Only the id is replaced: the file also names the
        shared memory by which PostgreSQL finds sessions of the killed server that still live.
        """
        for name in (_PID_FILE_NAME, _SOCKET_LOCK_NAME):
            lines = self._lock_file_lines(name)
            if lines and psutil.pid_exists(int(lines[0])):
                text = "\n".join([str(_PID_UNUSED), *lines[1:]])
                (self._data / name).write_text(text + "\n")

    def _is_ours(self, pid: int) -> bool:
        """Told by the working folder, which for a server is its data; a zombie has none."""
        try:
            process = psutil.Process(pid)
            return process.name().startswith("postgres") and Path(process.cwd()) == self._data
        except psutil.Error:
            return False

    def _lock_file_lines(self, name: str) -> list[str]:
        try:
            lines = (self._data / name).read_text().splitlines()
        except FileNotFoundError:
            return []
        return lines if lines and lines[0].strip().isdigit() else []

    def _programs_version(self) -> int:
        """Major version of the programs; makes them runnable for the account first, if need be."""
        if (version := self._ask_version()) is None and self._account is not None:
            package = self._programs.parent.parent
            let_through(self._account, self._programs)
            # A repaired wheel keeps the shared libraries beside the package.
            for tree in (self._programs.parent, package.parent / f"{package.name}.libs"):
                let_read(tree)
            version = self._ask_version()
        if version is None:
            raise PostgresUnavailable(f"The PostgreSQL programs in {self._programs} do not run.")
        return version

    def _ask_version(self) -> int | None:
        """The oldest among the programs used; None if one of them does not run."""
        versions = []
        for program in ("postgres", "initdb", "pg_ctl"):
            try:
                answer = self._run(Path("/"), KILL_SECONDS_MAX, program, "--version").stdout
            except PostgresUnavailable:
                return None
            if (found := re.search(r"\(PostgreSQL\) (\d+)", answer)) is None:
                return None
            versions.append(int(found.group(1)))
        return min(versions)

    def _check_version(self, programs_version: int) -> None:
        data_version = int((self._data / "PG_VERSION").read_text())
        if data_version != programs_version:
            raise PostgresUnavailable(
                f"{self._data} is of PostgreSQL {data_version}, the programs are of"
                f" {programs_version}: move it with pg_upgrade, or dump it and load it."
            )

    def _rotate_log(self) -> int:
        """Where the next start's lines will begin, in bytes."""
        log = self._data / _LOG_NAME
        size = log.stat().st_size if log.exists() else 0
        if size > LOG_BYTES_MAX:
            log.replace(log.with_name(f"{_LOG_NAME}.1"))
            return 0
        return size

    def _log_tail(self, start: int = 0) -> str:
        try:
            with (self._data / _LOG_NAME).open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(start, size - LOG_TAIL_BYTES))
                tail = log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return "It left no log."
        return f"Its log ends: {tail}"

    def _run(
        self, folder: Path, seconds_max: float, program: str, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """Paths are given relative to `folder`: pg_ctl passes them through a shell."""
        account = self._account
        try:
            return subprocess.run(
                [str(self._programs / program), *arguments],
                check=False,
                cwd=folder,
                # Neither our secrets nor PG* variables that would lead elsewhere.
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds_max,
                umask=0o077,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise PostgresUnavailable(f"{program} cannot be run: {error}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
