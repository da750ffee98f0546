"""The scratch folder of an attempt is named after it, so that one left behind can be told."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from adapters.attempt_states import AttemptId
from adapters.uploads import files_below

FOLDERS_MAX = 10_000
"""Looked at in one turn."""
_NAME = re.compile(r"tallystick-([0-9a-f]{32})-([0-9]{1,18})-[a-z0-9_]{8}")


class ScratchFolder(NamedTuple):
    """A folder that an attempt worked in, `changed` so many seconds after the epoch."""

    path: Path
    attempt: AttemptId
    changed: float


def make_scratch_folder(task_id: UUID, token: int, parent: Path | None) -> Path:
    """An empty folder for one attempt, in `parent` or where the system keeps temporary files."""
    return Path(tempfile.mkdtemp(prefix=f"tallystick-{task_id.hex}-{token}-", dir=parent))


def scratch_folders(parent: Path | None) -> list[ScratchFolder]:
    """Those in `parent` that are this user's own, at most `FOLDERS_MAX`. Blocks."""
    return list(islice(_found(parent or Path(tempfile.gettempdir())), FOLDERS_MAX))


def _found(parent: Path) -> Iterator[ScratchFolder]:
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            named = _NAME.fullmatch(entry.name)
            if named is None or not entry.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if status.st_uid == os.geteuid():
                    attempt = AttemptId(UUID(named[1]), int(named[2]))
                    yield ScratchFolder(Path(entry.path), attempt, status.st_mtime)


def remove_scratch_folder(path: Path) -> int:
    """Remove it with what it holds, as far as possible; the bytes of its files. Blocks."""
    size_bytes = sum(status.st_size for _, status in files_below(path))
    shutil.rmtree(path, ignore_errors=True)
    return size_bytes
