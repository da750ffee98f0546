"""A stream from outside lands in a scratch file whole and within its limit, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from io import BufferedWriter
from pathlib import Path

from tallystick.handler import Report, TaskFailure

CHUNK_BYTES = 1024 * 1024


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
    file = await _on_disk(target.open, "xb")
    try:
        with file:
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                refuse_size(size, size_bytes_max)
                await _on_disk(file.write, chunk)
                if report is not None:
                    await report(size, size_bytes_declared)
            await _on_disk(file.flush)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return size


def refuse_size(size_bytes: int | None, size_bytes_max: int) -> None:
    """Raise `TaskFailure` when `size_bytes` is known and past the limit."""
    if size_bytes is not None and size_bytes > size_bytes_max:
        message = f"The file is larger than the {size_bytes_max:,} bytes that are allowed."
        raise TaskFailure("param_error", message)
