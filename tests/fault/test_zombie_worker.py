"""QUALITY 6: a worker that sleeps past its lease and wakes up is refused, whatever it does."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args
from uuid import UUID

import psutil
import pytest

from domain.task import Task
from tests.e2e.tallystick_process import Home, Running
from tests.fault.books import Books
from tests.fault.zombie_tasks import Deed, oversleeping
from tests.integration.bus import CREDITS, Bench, ended, opened

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


def heard(home: Home, worker: Running, task_id: UUID) -> list[str]:
    """What the worker's hook was told of a task so far."""
    files = home.folder.glob(f"{task_id}.*-{worker.process.pid}-*.heard")
    return [line for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def home(tmp_path: Path, database: str) -> Home:
    return Home(tmp_path, database, SETTINGS)


FILES = ("began", "go", "inherited", "enough")


class Nights:
    """One task for each deed, and the files by which it is told of and led."""

    def __init__(self, home: Home, deeds: Sequence[Deed]) -> None:
        self.deeds = deeds
        self._folder = home.folder

    def given(self, deed: Deed) -> dict[str, str]:
        return {name: str(self._file(deed, name)) for name in FILES} | {"deed": deed}

    async def until_all(self, name: str) -> None:
        for deed in self.deeds:
            await asyncio.to_thread(until, self._file(deed, name).exists, f"{name} of {deed}")

    def tell_all(self, name: str) -> None:
        for deed in self.deeds:
            self._file(deed, name).touch()

    def _file(self, deed: Deed, name: str) -> Path:
        return self._folder / f"{deed}.{name}"


@pytest.mark.parametrize(
    ("deeds", "heir", "told_to_stop"),
    [
        (get_args(Deed), "at work", False),
        (("complete",), "done", False),
        # The whole process is told to stop: it hands back what is not its own any more.
        (("nothing",), "at work", True),
    ],
    ids=["all deeds", "heir done", "told to stop"],
)
async def test_whatever_it_does_is_refused_and_the_heirs_results_stand(
    home: Home,
    database: str,
    deeds: Sequence[Deed],
    heir: str,
    told_to_stop: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    nights = Nights(home, deeds)
    async with opened(database, [oversleeping]) as bench:
        with home.started("process"), home.started("work") as zombie:
            task_ids = [await bench.submit("oversleeping", nights.given(deed)) for deed in deeds]
            await nights.until_all("began")
            with home.started("work"):
                with stopped(zombie):
                    await nights.until_all("inherited")
                    if heir == "done":
                        nights.tell_all("enough")
                        await _all_ended(bench, task_ids)
                    before = Books(database).verify().events
                    nights.tell_all("go")
                    if told_to_stop:
                        zombie.process.send_signal(signal.SIGTERM)
                await _all_stalled(home, zombie, task_ids)
                if not told_to_stop:
                    zombie.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(zombie.process.wait, SECONDS_MAX) == 0
                assert Books(database).verify().events == before, "nothing came of it"
                nights.tell_all("enough")
                tasks = await _all_ended(bench, task_ids)
            for task_id in task_ids:
                assert heard(home, zombie, task_id) == ["active", "stalled"]
        Books(database).verify()
        assert [(task.status, task.attempt) for task in tasks] == [("completed", 2)] * len(tasks)
        assert bench.money() == (CREDITS - 3 * len(tasks), 0, 3 * len(tasks))
        for task_id in task_ids:
            assert bench.result(task_id) == {"attempt": 2}
            assert bench.topics(task_id) == [
                "task.submitted",
                "task.started",
                "task.stalled",
                "task.started",
                "task.completed",
            ]


async def _all_ended(bench: Bench, task_ids: Sequence[UUID]) -> list[Task]:
    return [await ended(bench, task_id) for task_id in task_ids]


async def _all_stalled(home: Home, worker: Running, task_ids: Sequence[UUID]) -> None:
    def told() -> bool:
        return all("stalled" in heard(home, worker, task_id) for task_id in task_ids)

    await asyncio.to_thread(until, told, "the hook's word")
