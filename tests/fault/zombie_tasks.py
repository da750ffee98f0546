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
    """The first attempt makes the file `began`, sleeps until there is `go`, and does `deed`."""

    began: str
    go: str
    deed: Deed


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    attempt: int


@handler("oversleeping", price_credits=3, stages={"awake": 50})
async def oversleeping(task: Night, context: Context) -> Outcome:
    if context.attempt > 1:
        return Outcome(attempt=context.attempt)
    began, go = Path(task.began), Path(task.go)
    await asyncio.to_thread(began.touch)
    while not await asyncio.to_thread(go.exists):  # noqa: ASYNC110 - the test is another process
        await asyncio.sleep(LOOK_SECONDS)
    match task.deed:
        case "fail":
            raise TaskFailure("param_error", "Too late.")
        case "stage":
            await context.stage("awake")
        case "progress" | "nothing":
            await _go_on(task.deed, context)
    return Outcome(attempt=context.attempt)


async def _go_on(deed: Deed, context: Context) -> None:
    """Work on as if nothing had happened."""
    while True:
        if deed == "progress":
            await context.progress(77, "as if nothing had happened")
        await asyncio.sleep(LOOK_SECONDS)


def note(notice: Notice) -> None:
    """Add what a worker of the test's folder hears to a file of its name."""
    with Path(f"{notice.task.type}.{notice.worker}.heard").open("a") as heard:
        heard.write(f"{notice.moment}\n")


HANDLERS = [oversleeping]
