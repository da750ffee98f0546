"""The embedded server ends with its last user, also when that one is killed and cannot end it.

Run as a process of its own: `python -m adapters.postmaster_guard FOLDER PROGRAMS`.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from adapters.file_lock import FileLock
from adapters.postmaster import Postmaster
from adapters.server_folder import ServerFolder

LOOK_SECONDS = 1.0


def spawn_guard(folder: ServerFolder, programs: Path) -> None:
    """Start the guard of a folder unless one watches it; the caller holds the gate."""
    lock = FileLock(folder.guard)
    if not lock.try_acquire():
        return
    lock.release()
    log = os.fspath(folder.path / "guard.log")
    # A bare process id and no Popen object: the guard outlives whoever started it.
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", __name__, os.fspath(folder.path), os.fspath(programs)],
        os.environ | {"PYTHONPATH": os.fspath(Path(__file__).parents[1])},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def stop_when_unused(folder: ServerFolder, postmaster: Postmaster) -> bool:
    """Stop the server if nobody holds it; the caller holds the gate. True if nobody did."""
    users = FileLock(folder.users, create=False)
    if not users.try_acquire():
        return False
    try:
        postmaster.stop()
        folder.remove_link()
    finally:
        users.release()
    return True


def watch(folder: ServerFolder, postmaster: Postmaster) -> None:
    """Look once a second until the server has no user, stop it, and return.

    Returns also when another guard watches, or when the folder was removed: whoever makes it anew
    makes a guard too.
    """
    # Nothing is created here: the folder may be on its way out.
    guard = FileLock(folder.guard, create=False)
    try:
        if not guard.try_acquire():
            return
        while not _look(folder, postmaster, guard):
            threading.Event().wait(LOOK_SECONDS)
    except FileNotFoundError:
        return
    finally:
        guard.release()


def _look(folder: ServerFolder, postmaster: Postmaster, guard: FileLock) -> bool:
    """Whether the guard's work is done. Next time, when somebody starts or stops right now."""
    gate = FileLock(folder.gate, create=False)
    if not gate.try_acquire():
        return False
    try:
        done = not guard.is_of(folder.guard) or stop_when_unused(folder, postmaster)
        if done:
            # Before the gate opens: the next one through it must see that no guard is left.
            guard.release()
        return done
    finally:
        gate.release()


if __name__ == "__main__":
    os.chdir("/")
    _folder = ServerFolder(Path(sys.argv[1]))
    watch(_folder, Postmaster(_folder.data, Path(sys.argv[2])))
