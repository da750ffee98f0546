"""QUALITY 6: a worker that sleeps past its lease and wakes up is refused, whatever it does."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import psutil
import pytest

from tests.e2e.tallystick_process import Home, Running
from tests.fault.books import Books
from tests.fault.zombie_tasks import Deed, oversleeping
from tests.integration.bus import CREDITS, ended, opened

pytestmark = pytest.mark.fault
LOOK_SECONDS = 0.02
SECONDS_MAX = 30.0
SETTINGS = {
    "TALLYSTICK_HANDLERS": "tests.fault.zombie_tasks:HANDLERS",
    "TALLYSTICK_HOOKS": "tests.fault.zombie_tasks:note",
    "TALLYSTICK_LEASE_SECONDS": "2",
    "TALLYSTICK_HEARTBEAT_SECONDS": "0.4",
    "TALLYSTICK_DRAIN_SECONDS_MAX": "0.1",
}


def until(seen: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not seen():
        assert time.monotonic() < deadline, f"{what} did not come"
        threading.Event().wait(LOOK_SECONDS)


@contextmanager
def stopped(process: Running) -> Iterator[None]:
    """A process that does not run during the block."""
    process.process.send_signal(signal.SIGSTOP)
    one = psutil.Process(process.process.pid)
    until(lambda: one.status() == psutil.STATUS_STOPPED, "the stop")
    try:
        yield
    finally:
        process.process.send_signal(signal.SIGCONT)


def heard(home: Home, worker: Running) -> list[str]:
    """What the worker's hook was told so far."""
    files = home.folder.glob(f"oversleeping.*-{worker.process.pid}-*.heard")
    return [line for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def home(tmp_path: Path, database: str) -> Home:
    return Home(tmp_path, database, SETTINGS)


FILES = ("began", "go", "inherited", "enough")


@pytest.mark.parametrize(
    ("deed", "heir", "told_to_stop"),
    [
        *((deed, "at work", False) for deed in get_args(Deed)),
        ("complete", "done", False),
        # The whole process is told to stop: it hands back what is not its own any more.
        ("nothing", "at work", True),
    ],
)
async def test_whatever_it_does_is_refused_and_the_heirs_result_stands(
    home: Home,
    database: str,
    deed: Deed,
    heir: str,
    told_to_stop: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    files = {name: home.folder / name for name in FILES}
    async with opened(database, [oversleeping]) as bench:
        with home.started("process"), home.started("work") as zombie:
            given = {name: str(path) for name, path in files.items()} | {"deed": deed}
            task_id = await bench.submit("oversleeping", given)
            await asyncio.to_thread(until, files["began"].exists, "the first attempt")
            with home.started("work"):
                with stopped(zombie):
                    await asyncio.to_thread(until, files["inherited"].exists, "the heir")
                    if heir == "done":
                        files["enough"].touch()
                        await ended(bench, task_id)
                    before = Books(database).verify().events
                    files["go"].touch()
                    if told_to_stop:
                        zombie.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(
                    until, lambda: "stalled" in heard(home, zombie), "the hook's word"
                )
                if not told_to_stop:
                    zombie.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(zombie.process.wait, SECONDS_MAX) == 0
                assert Books(database).verify().events == before, "nothing came of it"
                files["enough"].touch()
                task = await ended(bench, task_id)
            assert heard(home, zombie) == ["active", "stalled"]
        Books(database).verify()
        assert (task.status, task.attempt) == ("completed", 2)
        assert bench.result(task_id) == {"attempt": 2}
        assert bench.money() == (CREDITS - 3, 0, 3)
        assert bench.topics(task_id) == [
            "task.submitted",
            "task.started",
            "task.stalled",
            "task.started",
            "task.completed",
        ]
