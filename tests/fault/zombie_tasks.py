"""A task type whose first attempt oversleeps its lease, and then does what the test asks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import msgspec

from service.hooks import Notice
from tallystick import Context, TaskFailure, handler

LOOK_SECONDS = 0.02
Deed = Literal["complete", "fail", "stage", "progress", "nothing"]


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """The first attempt makes the file `began`, sleeps until there is `go`, and does `deed`.

    The second, its heir's, makes the file `inherited` and goes on until there is `enough`.
    """

    began: str
    go: str
    deed: Deed
    inherited: str
    enough: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    attempt: int


@handler("oversleeping", price_credits=3, stages={"awake": 50})
async def oversleeping(task: Night, context: Context) -> Outcome:
    if context.attempt > 1:
        await _wait(task.inherited, task.enough)
        return Outcome(attempt=context.attempt)
    await _wait(task.began, task.go)
    match task.deed:
        case "fail":
            raise TaskFailure("param_error", "Too late.")
        case "stage":
            await context.stage("awake")
        case "progress" | "nothing":
            await _go_on(task.deed, context)
    return Outcome(attempt=context.attempt)


async def _wait(told: str, awaited: str) -> None:
    await asyncio.to_thread(Path(told).touch)
    while not await asyncio.to_thread(Path(awaited).exists):  # noqa: ASYNC110 - another process
        await asyncio.sleep(LOOK_SECONDS)


async def _go_on(deed: Deed, context: Context) -> None:
    """Work on as if nothing had happened."""
    while True:
        if deed == "progress":
            await context.progress(77, "as if nothing had happened")
        await asyncio.sleep(LOOK_SECONDS)


def note(notice: Notice) -> None:
    """Add what a worker of the test's folder hears of a task to a file of both their names."""
    with Path(f"{notice.task.id}.{notice.worker}.heard").open("a") as heard:
        heard.write(f"{notice.moment}\n")


HANDLERS = [oversleeping]
