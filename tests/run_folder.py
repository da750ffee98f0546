"""One run's folder for servers and bytecode: in memory where there is room, gone after the run.

Each test has a database made and dropped, which is some 840 files; a disk's file system takes
70 ms of CPU for that, memory 15.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from adapters.embedded import EmbeddedPostgres
from adapters.file_lock import FileLock
from adapters.postmaster import PostgresUnavailable

# The environment hands it to the workers of xdist: all share one folder.
VARIABLE = "TALLYSTICK_TESTS_FOLDER"
PREFIX = "tallystick-tests-"
LOCK = "run.lock"
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 2**30
"""Many times what a run takes at once; with less to spare, it takes none of it."""


class RunFolder:
    """Held by the process that made it; what a killed run has left in `place` goes first."""

    def __init__(self, place: Path) -> None:
        for left in place.glob(f"{PREFIX}*/{LOCK}"):
            _remove_unless_held(left)
        self.path, self._lock = _made(place)

    def remove(self) -> None:
        """After all that use it: whatever they left running ends here."""
        _remove(self.path)
        self._lock.release()

    def keep_bytecode(self) -> None:
        """Where Python is told to write none, it is kept in here for the run.

        Else each process that a test starts compiles all that it imports, which takes a second.
        """
        if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
            kept = os.environ["PYTHONPYCACHEPREFIX"] = str(self.path / "bytecode")
            sys.dont_write_bytecode, sys.pycache_prefix = False, kept


def fitting_place() -> Path:
    """In memory, unless there is little of it, or programs may not run there; else on the disk."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        system = os.statvfs(MEMORY)
        room = system.f_bavail * system.f_frsize
        if room >= MEMORY_BYTES_MIN and not system.f_flag & os.ST_NOEXEC:
            return MEMORY
    return Path(tempfile.gettempdir())


def _made(place: Path) -> tuple[Path, FileLock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        # Root's server runs under another account, which has to pass.
        folder.chmod(0o711)
        lock = FileLock(folder / LOCK)
        # Another run that begins now may have taken it for one that was left.
        if lock.try_acquire() and lock.is_of(folder / LOCK):
            return folder, lock
        lock.release()


def _remove_unless_held(left: Path) -> None:
    lock = FileLock(left, create=False)
    try:
        if lock.try_acquire():
            _remove(left.parent)
    except (OSError, PostgresUnavailable):
        # Another user's, or gone meanwhile.
        return
    finally:
        lock.release()


def _remove(folder: Path) -> None:
    for server in folder.iterdir():
        EmbeddedPostgres(server).stop()
    shutil.rmtree(folder)
