"""Which uploads are still needed: whatever a live task, a group or a schedule may mean by a word.

Any text in an input may be a path, as task types of other packages name their fields as they like.
The inputs of a group's members that wait for their turn stand in its first event alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from adapters.pool import Pool, fetch
from adapters.sql import statement

NAMES_MAX = 200_000
"""Different texts in what is alive; with more, no upload is known to be unneeded."""
ESCAPED_LENGTH_MAX = 12 * 1_024
"""Of a path of 1,024 characters, each written as two escapes."""


class NamedUploads:
    """Raises `Unavailable`."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._pool = pool
        self._folder = folder

    async def paths(self) -> frozenset[str] | None:
        """Real paths of what is named now, there or not; None where too much is."""
        parameters = {"limit": NAMES_MAX + 1, "length_max": ESCAPED_LENGTH_MAX}
        rows = await fetch(self._pool, statement("select_named_texts"), parameters)
        if len(rows) > NAMES_MAX:
            return None
        return await asyncio.to_thread(self._resolved, [text for (text,) in rows])

    def _resolved(self, texts: Iterable[str]) -> frozenset[str]:
        """As `Uploads` finds them: links count for what they lead to."""
        found = set()
        for text in texts:
            name = _read(text)
            if name is not None:
                found.add(os.path.realpath(self._folder / name))
        return frozenset(found)


def _read(text: str) -> str | None:
    """The text that stands between quotes in JSON; None for what can be no path."""
    try:
        name = msgspec.json.decode(f'"{text}"', type=str)
    except msgspec.DecodeError:
        return None
    return None if "\0" in name else name
