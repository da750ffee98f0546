"""What a killed writer leaves in a folder that serves as object store: files that listings hide.

The store writes an object to `name#1` (or the next free number) and renames it when it is whole.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from adapters.uploads import files_below

_HALF = re.compile(r".+#[0-9]+")


def drop_halves(folder: Path, token: int) -> tuple[int, int]:
    """Remove the half objects of a task's attempts up to that `token`; files and bytes. Blocks.

    `folder` holds one folder for each attempt. Those that are empty then go too, and `folder`.
    """
    removed = size_bytes = 0
    for path, status in files_below(folder):
        attempt = path.relative_to(folder).parts[0]
        if _HALF.fullmatch(path.name) and attempt.isdecimal() and int(attempt) <= token:
            path.unlink(missing_ok=True)
            removed, size_bytes = removed + 1, size_bytes + status.st_size
            _drop_empty(path.parent, folder)
    return removed, size_bytes


def _drop_empty(inner: Path, outer: Path) -> None:
    with suppress(OSError):
        while inner.is_relative_to(outer):
            inner.rmdir()
            inner = inner.parent
