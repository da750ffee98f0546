"""Files that users uploaded are reached by a path inside one folder, and nothing outside it is."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from io import FileIO
from itertools import islice
from pathlib import Path, PurePosixPath

from adapters.scratch_file import CHUNK_BYTES, write_scratch_file
from tallystick.handler import FetchedFile, Report, TaskFailure

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO laid in the folder would hold the thread for ever.
_OPEN_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


FILES_COUNTED_MAX = 1_000_000


def files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The regular files below `folder` with what is known of them; no link is followed.

    What cannot be read, or vanishes meanwhile, is left out.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status


class Uploads:
    """The folder that uploads arrive in. Symbolic links work as long as they stay inside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def copy(
        self, path: str, target: Path, *, size_bytes_max: int, report: Report | None = None
    ) -> FetchedFile:
        """Copy the upload at the relative `path` to `target`, which must not exist.

        Raises `TaskFailure` of type param_error when there is no such regular file inside the
        folder, without telling why, and as `write_scratch_file` does.
        """
        with await asyncio.to_thread(self._open, path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            size_bytes = await write_scratch_file(
                _chunks(file),
                target,
                size_bytes_max=size_bytes_max,
                size_bytes_declared=size_bytes,
                report=report,
            )
        content_type, _ = mimetypes.guess_type(path)
        return FetchedFile(url=f"upload:{path}", content_type=content_type, size_bytes=size_bytes)

    async def folder_bytes(self, name: str) -> int:
        """Bytes of the regular files in the folder `name` and below it; 0 where there is none.

        Links are not followed. What vanishes meanwhile is not counted; of more than
        `FILES_COUNTED_MAX` files the first ones are.
        """
        return await asyncio.to_thread(self._folder_bytes, name)

    async def older_than(self, seconds_since_epoch: float) -> list[Path]:
        """Uploads that arrived, and were changed last, before then; at most `FILES_COUNTED_MAX`.

        A file may bring an old time of its last change along: when it came here counts as well.
        """
        return await asyncio.to_thread(self._older_than, seconds_since_epoch)

    def _older_than(self, seconds: float) -> list[Path]:
        files = islice(files_below(self.folder.resolve()), FILES_COUNTED_MAX)
        return [path for path, of in files if max(of.st_mtime, of.st_ctime) < seconds]

    async def remove(self, paths: Sequence[Path]) -> tuple[int, int]:
        """Remove these uploads; how many of them there were, and their bytes.

        Who has one open reads it to its end. What cannot be removed is left.
        """
        return await asyncio.to_thread(self._remove, paths)

    def _remove(self, paths: Sequence[Path]) -> tuple[int, int]:
        removed = size_bytes = 0
        for path in paths:
            with suppress(OSError):
                size = path.lstat().st_size
                path.unlink()
                removed, size_bytes = removed + 1, size_bytes + size
        return removed, size_bytes

    def _folder_bytes(self, name: str) -> int:
        files = islice(files_below(self.folder / name), FILES_COUNTED_MAX)
        return sum(status.st_size for _, status in files)

    def _open(self, path: str) -> FileIO:
        try:
            return FileIO(_open_beneath(self.folder, path), "r")
        except (OSError, ValueError, RuntimeError) as error:
            raise TaskFailure("param_error", "There is no such upload.") from error


def _open_beneath(folder: Path, path: str) -> int:
    """Descriptor of the regular file at `path` below `folder`. Raises `OSError` or `ValueError`.

    Links are resolved first; then every step is opened from the one before without following
    any, so that a link swapped in between leads nowhere.
    """
    if PurePosixPath(path).is_absolute():
        raise ValueError("an upload path is relative")
    root = folder.resolve(strict=True)
    *folders, name = (root / path).resolve(strict=True).relative_to(root).parts
    parent = os.open(root, _OPEN_FOLDER)
    try:
        for step in folders:
            above, parent = parent, os.open(step, _OPEN_FOLDER, dir_fd=parent)
            os.close(above)
        return _open_regular(name, parent)
    finally:
        os.close(parent)


def _open_regular(name: str, parent: int) -> int:
    descriptor = os.open(name, _OPEN_FILE, dir_fd=parent)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ValueError("an upload is a regular file")


async def _chunks(file: FileIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
