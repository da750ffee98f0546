"""A stream from outside lands in a scratch file whole and within its limit, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar

from tallystick.handler import Report, TaskFailure

CHUNK_BYTES = 1024 * 1024

Result = TypeVar("Result")


async def write_scratch_file(
    chunks: AsyncIterator[bytes],
    target: Path,
    *,
    size_bytes_max: int,
    size_bytes_declared: int | None = None,
    report: Report | None = None,
) -> int:
    """Write `chunks` to `target`, which must not exist, and return its size in bytes.

    `report` is awaited after each chunk. Raises `TaskFailure` of type param_error when there is
    more than `size_bytes_max`, declared or not, and of type storage when the disk refuses. On
    any failure, cancellation included, the file is removed.
    """
    refuse_size(size_bytes_declared, size_bytes_max)
    file = await _on_disk(partial(FileIO, target, "x"))
    with _removed_on_failure(target), file:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            refuse_size(size, size_bytes_max)
            await _on_disk(partial(_write_all, file, chunk))
            if report is not None:
                await report(size, size_bytes_declared)
    return size


def refuse_size(size_bytes: int | None, size_bytes_max: int) -> None:
    """Raise `TaskFailure` when `size_bytes` is known and past the limit."""
    if size_bytes is not None and size_bytes > size_bytes_max:
        message = f"The file is larger than the {size_bytes_max:,} bytes that are allowed."
        raise TaskFailure("param_error", message)


@contextmanager
def _removed_on_failure(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


async def _on_disk(call: Callable[[], Result]) -> Result:
    try:
        return await asyncio.to_thread(call)
    except OSError as error:
        raise TaskFailure("storage", "There is no room to work on the file.") from error


def _write_all(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]
