"""Processes agree through locks that the kernel drops when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from adapters.deadline import Deadline

LOCK_FILE_MODE = 0o600


class FileLock:
    """An advisory lock on a file (`flock`), shared or exclusive, counted by open file.

    Two instances in one process exclude each other as two processes do. A forked child keeps its
    parent's lock alive until both have let go. The file stays behind on purpose: removing it would
    let two holders lock two files of one name. Without `create` the file has to be there.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._path = path
        self._flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free now. Raises OSError if the file cannot be opened."""
        assert self._descriptor is None, "the lock is held already"
        descriptor = os.open(self._path, self._flags, LOCK_FILE_MODE)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def acquire(self, *, wait_seconds_max: float, shared: bool = False) -> None:
        """Take the lock, waiting for others. Raises TimeoutError when they hold it too long."""
        deadline = Deadline(wait_seconds_max)
        while not self.try_acquire(shared=shared):
            if not deadline.pause():
                msg = f"{self._path} is still locked after {wait_seconds_max:g} s"
                raise TimeoutError(msg)

    def release(self) -> None:
        """Let go; no effect when nothing is held."""
        # Closing, not LOCK_UN: the latter would also take the lock from a forked child.
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def is_of(self, path: Path) -> bool:
        """Whether the held file is still the one at `path`, not one deleted and made anew."""
        assert self._descriptor is not None, "the lock is not held"
        try:
            there = path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
