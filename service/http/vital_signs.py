"""Health and figures, for whoever keeps the service running; no key is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec import Raw

from adapters.backlogs import Backlog
from adapters.projection_status import Lag, ProjectionStatus
from adapters.queue_depth import QueueDepth
from adapters.vital_signs import pending_migrations
from domain.errors import TallystickError
from projections.statistics import hour_of
from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.metrics import MEDIA, Metrics, Series
from service.http.refusals import NotReady
from service.http.route import OPEN, route
from service.statistics import TypeFigures, type_figures

CHECK_SECONDS_MAX = 2.0
"""For each check: a prober wants its answer soon."""
_encode = msgspec.json.Encoder().encode


class Live(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"


class Migrations(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    pending: list[str] = []


class Committing(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting` commands wait for their commit."""

    ok: bool
    waiting: int


class Waking(msgspec.Struct, frozen=True, kw_only=True):
    """`polling` loses nothing, but finds work only every few seconds."""

    ok: bool = True
    mode: Literal["listening", "polling"]
    losses: int


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """As of `counted_at`: now, or a while ago when the queue is deep."""

    ok: bool = True
    counted_at: datetime
    types: list[QueueDepth]
    backlogs: list[Backlog]


class Uncounted(msgspec.Struct, frozen=True, kw_only=True):
    """The queue is being counted for the first time."""

    ok: bool = True
    counted_at: None = None


class Projections(msgspec.Struct, frozen=True, kw_only=True):
    """How far the read models behind the log are behind."""

    ok: bool = True
    lag: list[Lag]


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool = False
    error: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Each check by its name."""

    status: Literal["ok"]
    checks: dict[str, Raw]


@route("GET", "/health/live", scopes=OPEN, answers={200: Live})
async def live(_: Call) -> Answer:
    """The process answers."""
    return json_answer(Live())


@route("GET", "/health/ready", scopes=OPEN, answers={200: Ready}, refusals=("unavailable",))
async def ready(call: Call) -> Answer:
    """The process can do its work: database, schema, committer; how the queue and the rest are.

    A wake-up channel that is lost, or a read model that is behind, is shown but fails nothing.
    """
    checks = await asyncio.gather(*(_checked(check, call) for check in _CHECKS.values()))
    results = dict(zip(_CHECKS, checks, strict=True))
    failing = [name for name, result in results.items() if not result.ok]
    shown = {name: Raw(_encode(result)) for name, result in results.items()}
    if failing:
        raise NotReady(failing, shown)
    return json_answer(Ready(status="ok", checks=shown))


@route("GET", "/metrics", scopes=OPEN, answers={200: None}, media=(MEDIA.decode(),))
async def metrics(call: Call) -> Answer:
    """Figures in Prometheus's text format."""
    figures = call.front.metrics
    committer = call.service.committer
    for name, help_, value in (
        ("tallystick_commit_batches", "Group commits so far.", committer.batches),
        ("tallystick_commit_commands", "Commands in group commits so far.", committer.commands),
        ("tallystick_commit_conflicts", "Group commits decided twice.", committer.conflicts),
        ("tallystick_commit_waiting", "Commands that wait for a commit.", committer.waiting),
        ("tallystick_wakeup_listening", "1 while wake-ups are heard.", _listening(call)),
        ("tallystick_wakeup_losses", "Times the channel was lost.", call.service.wakeup.losses),
        ("tallystick_http_waiting", "Requests that wait for a task.", call.front.waiters.count),
        ("tallystick_http_streams", "Live streams that are open.", call.front.streams.count),
    ):
        figures.show(name, help_, {(): value})
    await _show_queue(call)
    return Answer(200, figures.text(), [(b"cache-control", b"no-store")], MEDIA)


async def _show_queue(call: Call) -> None:
    """Leave out, rather than fail, what the database cannot say at the moment."""
    figures = call.front.metrics
    queue = await _checked(_queue, call)
    if isinstance(queue, Queue):
        tasks: Series = {(d.type, s): getattr(d, s) for d in queue.types for s in _QUEUE_STATES}
        figures.show("tallystick_queue_tasks", "Tasks not ended.", tasks, "type", "state")
        _show_waiting(figures, queue)
    recent = await _checked(_recent, call)
    if isinstance(recent, list):
        _show_times(figures, recent)
    projections = await _checked(_projections, call)
    if isinstance(projections, Projections):
        behind: Series = {(lag.projection,): float(lag.events) for lag in projections.lag}
        help_ = "Positions behind the log."
        figures.show("tallystick_projection_lag_events", help_, behind, "projection")


def _show_waiting(figures: Metrics, queue: Queue) -> None:
    oldest: Series = {(depth.type,): depth.oldest_seconds for depth in queue.types}
    help_ = "How long the first task that could start has waited."
    figures.show("tallystick_queue_oldest_seconds", help_, oldest, "type")
    raised = {backlog.type for backlog in queue.backlogs}
    types = raised.union(depth.type for depth in queue.types)
    backlogs: Series = {(type_,): float(type_ in raised) for type_ in types}
    figures.show("tallystick_backlog", "1 while too many tasks wait.", backlogs, "type")


def _show_times(figures: Metrics, recent: list[TypeFigures]) -> None:
    waits: Series = {}
    runs: Series = {}
    for one in recent:
        for series, times in ((waits, one.wait), (runs, one.run)):
            if times is not None:
                series |= {(one.type, q): getattr(times, name) for q, name in _QUANTILES.items()}
    help_ = "Of the tasks that started in this hour and the last."
    figures.show("tallystick_task_wait_seconds", help_, waits, "type", "quantile")
    help_ = "Of the attempts that ended in this hour and the last."
    figures.show("tallystick_task_run_seconds", help_, runs, "type", "quantile")


_QUANTILES = {
    "0.5": "p50_seconds",
    "0.9": "p90_seconds",
    "0.95": "p95_seconds",
    "0.99": "p99_seconds",
    "1": "max_seconds",
}
_QUEUE_STATES = ("waiting", "paused", "delayed", "backoff", "active")


async def _checked(check: Callable[[Call], Awaitable[Any]], call: Call) -> Any:  # noqa: ANN401
    """What the check says, or why it failed, without insides."""
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            return await check(call)
    except TallystickError as error:
        return Failing(error=error.code)
    except TimeoutError:
        return Failing(error="timeout")


async def _migrations(call: Call) -> Migrations:
    pending = await pending_migrations(call.service.pool)
    return Migrations(ok=not pending, pending=pending)


async def _committing(call: Call) -> Committing:
    committer = call.service.committer
    return Committing(ok=committer.session.connected, waiting=committer.waiting)


async def _waking(call: Call) -> Waking:
    wakeup = call.service.wakeup
    return Waking(mode="listening" if wakeup.listening else "polling", losses=wakeup.losses)


async def _queue(call: Call) -> Queue | Uncounted:
    """A queue that is too deep to be counted in time fails nothing either."""
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX / 2):
            queue = await call.service.queue.count()
    except TimeoutError:
        return Uncounted()
    backlogs = await call.service.backlogs.raised()
    return Queue(counted_at=queue.counted_at, types=queue.depths, backlogs=backlogs)


async def _recent(call: Call) -> list[TypeFigures]:
    since = hour_of(call.service.clock.now()) - timedelta(hours=1)
    until = since + timedelta(hours=2)
    return type_figures(await call.service.queries.statistics(since, until, bucket="total"))


async def _projections(call: Call) -> Projections:
    status = ProjectionStatus(call.service.pool, call.service.mapper)
    return Projections(lag=await status.lag())


def _listening(call: Call) -> float:
    return float(call.service.wakeup.listening)


_CHECKS: Mapping[str, Callable[[Call], Awaitable[Any]]] = {
    "database": _migrations,
    "committer": _committing,
    "wakeup": _waking,
    "queue": _queue,
    "projections": _projections,
}
ROUTES = (live, ready, metrics)
