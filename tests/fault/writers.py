"""Committers for tests, in this process and in others."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from structlog.testing import capture_logs

from adapters.clock import DatabaseClock
from adapters.committer import Committer, CommitterLimits
from adapters.mapper import EventMapper

ANSWER_SECONDS_MAX = 30.0
"""No caller may wait longer than this for any answer, whatever breaks."""
_PROGRAM = Path(__file__).with_name("writer_process.py")


@asynccontextmanager
async def running(dsn: str, **limits: Any) -> AsyncIterator[Committer]:
    """A started committer, closed at the end; its log goes nowhere."""
    committer = Committer(dsn, EventMapper(), DatabaseClock(), CommitterLimits(**limits))
    with capture_logs():
        await committer.start()
        try:
            yield committer
        finally:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await committer.close()


class WriterProcess:
    """A process with a committer of its own that does one `job` of `writer_process`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def begin(cls, job: str, dsn: str, account_id: UUID, count: int) -> WriterProcess:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_PROGRAM), job, dsn, str(account_id), str(count)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(_PROGRAM.parents[2])},
        )
        return cls(process)

    async def line(self) -> str:
        """The next line it writes; empty when it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return (await self._process.stdout.readline()).decode().strip()

    async def lines(self, count: int | None = None) -> list[str]:
        """The next `count` lines, or all up to its end."""
        found: list[str] = []
        while count is None or len(found) < count:
            line = await self.line()
            if not line:
                break
            found.append(line)
        return found

    def go(self) -> None:
        """Let it begin: so that several begin together."""
        self.tell("go")

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> list[str]:
        """Kill it; what it had still written."""
        self._process.kill()
        rest = await self.lines()
        await self._process.wait()
        return rest

    async def end(self) -> list[str]:
        """Wait until it ends by itself; what it wrote."""
        rest = await self.lines()
        assert await self._process.wait() == 0
        return rest
