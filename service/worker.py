"""The worker: claims tasks in batches, runs handlers, keeps leases, ends each task once."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from msgspec import Raw
from structlog.contextvars import bind_contextvars

from adapters.queue import Heartbeat, Leases
from domain.errors import (
    CommandRejected,
    DomainError,
    IllegalTransition,
    LeaseLost,
    TallystickError,
)
from domain.pricing import Quantities
from domain.task import (
    CompleteTask,
    ConfirmCancel,
    FailTask,
    ReleaseTask,
    RunCommand,
    Task,
)
from service.attempt import Attempt, failure_of, perform, retry_after_seconds_of
from service.attempts import Attempts
from service.containment import contain_handlers
from service.fate import ended_elsewhere
from service.hooks import Hooks, Moment, Notice
from service.identifiers import new_id
from service.lease_keeper import Held, LeaseKeeper
from service.pricing import quantities_of
from service.push import Push
from service.task_types import TaskTypes
from tallystick.handler import Fetch, Handler, Objects, TaskCancelled

_log = structlog.get_logger(__name__)
RECORD_PAUSE_SECONDS = 0.2
RECORD_PAUSE_SECONDS_MAX = 5.0


class WorkerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one worker: `tasks_max` at one time, `claim_tasks_max` a claim; seconds as named.

    Leases are renewed every `heartbeat_seconds`, fine progress written at most every
    `progress_seconds`; on stop, tasks get `grace_seconds` to finish.
    """

    tasks_max: int = 50
    claim_tasks_max: int = 100
    heartbeat_seconds: float = 10.0
    progress_seconds: float = 0.5
    poll_seconds: float = 3.0
    grace_seconds: float = 30.0


class Wake(Protocol):
    """Tells when tasks may have become claimable."""

    async def wait(self, timeout: float) -> object:  # noqa: ASYNC109 - the wait is the point
        """Return when there is news, or after `timeout` seconds."""
        ...


class Worker:
    """`run()` works until `stop()`, then finishes or hands back what it holds."""

    def __init__(  # noqa: PLR0913 - the composition root names every part
        self,
        attempts: Attempts,
        leases: Leases,
        types: TaskTypes,
        wake: Wake,
        *,
        fetch: Fetch,
        objects: Callable[[Task], Objects],
        limits: WorkerLimits | None = None,
        scratch: Path | None = None,
        name: str | None = None,
        hooks: Hooks | None = None,
        push: Push | None = None,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{new_id().hex[-6:]}"
        self.limits = limits or WorkerLimits()
        self._attempts = attempts
        self._types = types
        self._wake = wake
        self._fetch = fetch
        self._objects = objects
        self._scratch = scratch
        self._hooks = hooks or Hooks()
        self._push = push
        self._keeper = LeaseKeeper(
            leases,
            self._tell,
            heartbeat_seconds=self.limits.heartbeat_seconds,
            progress_seconds=self.limits.progress_seconds,
        )
        self._freed = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def held(self) -> int:
        """Tasks this worker holds at the moment."""
        return len(self._keeper)

    def stop(self) -> None:
        """Claim no more; `run` returns when what is held has ended or been handed back."""
        self._stopping.set()
        self._freed.set()

    async def run(self, *, until_idle: bool = False) -> None:
        """Claim and work until `stop`; no fault of the database or of a handler ends it.

        With `until_idle` also until there is nothing left to claim and nothing held.
        """
        contain_handlers(asyncio.get_running_loop())
        keeper = asyncio.create_task(self._keeper.run(), name=f"{self.name} leases")
        try:
            while not self._stopping.is_set():
                if await self._turn():
                    continue
                # What ended while the claim was under way may have queued its group's next.
                if until_idle and not self.held and not self._freed.is_set():
                    break
                await self._rest(until_idle=until_idle)
            await self._wind_down()
        finally:
            keeper.cancel()
            for job in self._keeper.jobs:
                job.cancel()

    async def _turn(self) -> bool:
        """Claim what there is room for, or wait until there is room; False when work ran out."""
        free = self.limits.tasks_max - self.held
        if free <= 0:
            self._freed.clear()
            await self._freed.wait()
            return True
        limit = min(free, self.limits.claim_tasks_max)
        # Before the claim, so that what ends while it is under way is not missed by the rest.
        self._freed.clear()
        try:
            tasks = await self._attempts.claim(self.name, self._types.names, limit)
        except TallystickError as error:
            _log.warning("claim.failed", worker=self.name, error=str(error))
            tasks = []
        for task in tasks:
            self._begin(task)
        return len(tasks) == limit

    async def _rest(self, *, until_idle: bool) -> None:
        """Wait for work, for the next poll, or for the end.

        Where types are limited, an end here may have made room for what waits.
        """
        waits = [
            asyncio.ensure_future(self._wake.wait(self.limits.poll_seconds)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        if until_idle or self._types.limited:
            waits.append(asyncio.ensure_future(self._freed.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _wind_down(self) -> None:
        """Let tasks finish for `grace_seconds`, then hand back the rest."""
        if jobs := self._keeper.jobs:
            await asyncio.wait(jobs, timeout=self.limits.grace_seconds)
        self._keeper.stop_all("handed back")
        await asyncio.gather(*self._keeper.jobs, return_exceptions=True)
        await self._hooks.settle()

    # One task, from its start to its one end.

    def _begin(self, task: Task) -> None:
        attempt = None
        if task.type in self._types.names:
            attempt = Attempt(
                task,
                self._types.named(task.type),
                scratch=self._scratch,
                objects=self._objects(task),
                fetch=self._fetch,
                record_stage=partial(self._reach_stage, task),
            )
        held = Held(task, attempt)
        self._keeper.keep(held)
        self._tell("active", task)
        held.job = asyncio.create_task(self._work(held))

    async def _work(self, held: Held) -> None:
        task = held.task
        started = time.monotonic()
        bind_contextvars(task_id=str(task.id), trace_id=task.trace_id)
        try:
            outcome = await self._outcome(held)
            _log.info(
                "task.attempted",
                type=task.type,
                attempt=task.attempt,
                outcome=outcome,
                duration_ms=round((time.monotonic() - started) * 1000, 1),
            )
        except Exception:  # noqa: BLE001 - the edge: the lease is the net below it
            _log.exception("attempt.broken", type=task.type, attempt=task.attempt)
        finally:
            self._keeper.let_go(held)
            self._freed.set()
            if held.attempt is not None:
                await held.attempt.clear()

    async def _outcome(self, held: Held) -> str:
        """Run the handler and record its end, here and nowhere else; the word for it."""
        task = held.task
        try:
            handler = self._types.named(task.type)
            task_input = self._types.read_input(task.type, task.input)
            assert held.attempt is not None
            if handler.endpoint is None:
                result = await perform(handler, task_input, held.attempt)
            elif (answered := await self._deliver(handler, task)) is None:
                return "accepted"
            else:
                result = answered
            quantities = quantities_of(handler, task_input, result)
        except BaseException as error:  # a handler may raise anything, our own errors too
            if held.stop_reason is not None and isinstance(error, _STOPPED):
                return await self._record_stop(held)
            if isinstance(error, TaskCancelled):
                return await self._record(held, ConfirmCancel(token=task.token))
            if isinstance(error, asyncio.CancelledError) and _being_cancelled():
                raise
            return await self._record(held, self._failing(held, error))
        return await self._record(held, CompleteTask(token=task.token, result=result), quantities)

    async def _deliver(self, handler: Handler, task: Task) -> Raw | None:
        assert self._push is not None, "a worker of push types is given the way to push"
        result = await self._push(handler, task)
        if result is None:
            self._tell("accepted", task)
        return result

    def _failing(self, held: Held, error: BaseException) -> FailTask:
        failure = failure_of(error, held.attempt.reached if held.attempt else None)
        return self._attempts.failing(
            held.task.type,
            token=held.task.token,
            failure=failure,
            retry_after_seconds=retry_after_seconds_of(error),
        )

    def _instead(self, held: Held, command: RunCommand, error: TallystickError) -> FailTask | None:
        """The end to record where `command` was refused for good; None where there is no other."""
        if isinstance(command, CompleteTask) and isinstance(error, CommandRejected):
            return self._failing(held, error)
        if isinstance(command, ConfirmCancel) and isinstance(error, IllegalTransition):
            # The handler said that it was cancelled, and nobody had asked for that.
            return self._failing(held, error) if error.state == "running" else None
        return None

    async def _record_stop(self, held: Held) -> str:
        token = held.task.token
        if held.stop_reason == "lost":
            return await self._lost(held)
        if held.stop_reason == "handed back":
            reason = "the worker is shutting down"
            return await self._record(held, ReleaseTask(token=token, reason=reason))
        return await self._record(held, ConfirmCancel(token=token))

    async def _lost(self, held: Held) -> str:
        """Tell how the run ended meanwhile, or else that its lease is gone."""
        if (ended := await ended_elsewhere(self._attempts, held.task, self.name)) is None:
            self._tell("stalled", held.task)
        else:
            self._tell(_MOMENTS[ended.status], ended)
        return "lost"

    async def _record(
        self, held: Held, command: RunCommand, quantities: Quantities | None = None
    ) -> str:
        """Commit the end of an attempt, through the database's faults while the lease holds."""
        task = held.task
        held.recording = True
        pause = RECORD_PAUSE_SECONDS
        while True:
            try:
                committed = await self._attempts.proceed(
                    task.id,
                    task.account_id,
                    command,
                    worker=self.name,
                    group_id=task.group_id,
                    quantities=quantities,
                )
            except DomainError as refusal:
                if (instead := self._instead(held, command, refusal)) is not None:
                    command = instead
                    continue
                _log.warning("end.refused", error=str(refusal))
                return await self._lost(held)
            except CommandRejected as error:
                instead = self._instead(held, command, error)
                if instead is None:
                    _log.exception("end.rejected")
                    return "rejected"
                command = instead
            except TallystickError as error:
                _log.warning("end.delayed", error=str(error))
                if held.stop_reason == "lost":
                    return await self._lost(held)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RECORD_PAUSE_SECONDS_MAX)
            else:
                ended: Task = committed.states[task.id]
                if moment := _MOMENTS.get(ended.status):
                    self._tell(moment, ended)
                return ended.status

    def _tell(self, moment: Moment, task: Task, progress: Heartbeat | None = None) -> None:
        self._hooks.tell(Notice(moment=moment, worker=self.name, task=task, progress=progress))

    async def _reach_stage(self, task: Task, stage: str, percent: int) -> None:
        """A handler that may not go on hears it in one way; why, the end of its attempt will say.

        So no error that a handler raises by itself is taken for a lost lease.
        """
        try:
            await self._attempts.reach_stage(
                task.id,
                token=task.token,
                stage=stage,
                percent=percent,
                worker=self.name,
            )
        except (IllegalTransition, LeaseLost) as refusal:
            raise TaskCancelled from refusal


_MOMENTS: dict[str, Moment] = {
    "completed": "completed",
    "failed": "failed",
    "backoff": "retrying",
    "cancelled": "cancelled",
}


_STOPPED = (asyncio.CancelledError, TaskCancelled)


def _being_cancelled() -> bool:
    """Whether somebody cancels this job, or its handler only raised what a cancelled one does."""
    job = asyncio.current_task()
    return job is not None and job.cancelling() > 0
