"""Child processes that begin their work at the same moment."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
READY = b"ready\n"


async def launch(module: str, arguments: Iterable[Sequence[str]]) -> list[Process]:
    """Run `python -m module` once for each list of arguments; all have called `await_start`."""
    rivals = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *some), stdin=PIPE, stdout=PIPE, cwd=ROOT
        )
        for some in arguments
    ]
    for rival in rivals:
        assert rival.stdout is not None
        assert await rival.stdout.readline() == READY
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write(b"\n")
        rival.stdin.close()
    return rivals


def await_start() -> None:
    """In the child: say that all is prepared, and wait for the others."""
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    sys.stdin.readline()
