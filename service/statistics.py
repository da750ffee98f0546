"""Statistics as they are told: the queue now, and what happened to each type over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.backlogs import Backlog
from adapters.queries import Bucket
from adapters.queue_depth import QueueDepth
from projections.histogram import Histogram, merged
from projections.statistics import Entry, StateCount
from service.bootstrap import Service
from service.span import guard_span

SPAN_DEFAULT = timedelta(days=1)
DAYS_MAX = 366
_SECOND_US = 1_000_000


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long `count` waits or runs took; the mean is exact.

    Percentiles and `max_seconds` are never too short, and too long by less than 12.5 %.
    """

    count: int
    mean_seconds: float
    p50_seconds: float
    p90_seconds: float
    p95_seconds: float
    p99_seconds: float
    max_seconds: float


class StateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Entries into a state; those back into the queue are told apart by why.

    `wait` are the waits and `run` the runs that ended so; `failure_type` is "" unless the state is
    `failed` or `backoff`.
    """

    hour: datetime
    type: str
    state: str
    failure_type: str
    entered: int
    credits_charged: int
    credits_released: int
    wait: Times | None
    run: Times | None


class TypeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to the tasks of one type.

    `backoff` counts attempts that failed and were tried again, `stalled` leases that lapsed, also
    the last one of a task that failed of it. `failure_rate` is the part of `failed` in those that
    completed or failed. `wait` is of those that started, `run` of every attempt that ended.
    """

    hour: datetime
    type: str
    queued: int
    started: int
    backoff: int
    stalled: int
    completed: int
    failed: int
    cancelled: int
    failure_rate: float | None
    failures: dict[str, int]
    wait: Times | None
    run: Times | None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """`types` and `counts` are read a moment behind the log; `hour` is where their bucket begins.

    `queue` is as of `queue_counted_at`: now, or a while ago when it is deep. `backlogs` are types
    of which too many tasks have waited for too long.
    """

    since: datetime
    until: datetime
    bucket: Annotated[Bucket, Meta(description="How the hours are added up.")]
    types: list[TypeFigures]
    counts: list[StateFigures]
    queue: list[QueueDepth]
    queue_counted_at: datetime
    backlogs: list[Backlog]


def span_of(
    now: datetime, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    """What is asked for, the last day by default. Raises `InvalidInput`."""
    until = until or now
    since = since or until - SPAN_DEFAULT
    guard_span(since, until, days_max=DAYS_MAX)
    return since, until


async def read_statistics(
    service: Service,
    span: tuple[datetime, datetime],
    *,
    bucket: Bucket,
    types: Sequence[str] = (),
    states: Sequence[Entry] = (),
) -> Statistics:
    """`states` choose from `counts`; `types` have all. Raises `InvalidInput` for too many rows."""
    since, until = span
    counts = await service.queries.statistics(since, until, bucket=bucket, types=types)
    queue = await service.queue.count()
    return Statistics(
        since=since,
        until=until,
        bucket=bucket,
        types=type_figures(counts),
        counts=[_state_figures(count) for count in counts if not states or count.state in states],
        queue=[depth for depth in queue.depths if not types or depth.type in types],
        queue_counted_at=queue.counted_at,
        backlogs=[b for b in await service.backlogs.raised() if not types or b.type in types],
    )


def times_of(histogram: Histogram) -> Times | None:
    """None of no times."""
    number = histogram.count
    if not number:
        return None
    p50, p90, p95, p99, longest = (
        (histogram.quantile_us(permille) or 0) / _SECOND_US
        for permille in (500, 900, 950, 990, 1_000)
    )
    return Times(
        count=number,
        mean_seconds=histogram.total_us / number / _SECOND_US,
        p50_seconds=p50,
        p90_seconds=p90,
        p95_seconds=p95,
        p99_seconds=p99,
        max_seconds=longest,
    )


def type_figures(counts: Iterable[StateCount]) -> list[TypeFigures]:
    """Of counts in the order of hour and type."""
    groups = groupby(counts, lambda count: (count.hour, count.type))
    return [_type_figures(hour, type_, list(group)) for (hour, type_), group in groups]


def _type_figures(hour: datetime, type_: str, counts: list[StateCount]) -> TypeFigures:
    entered: dict[str, int] = {}
    for count in counts:
        entered[count.state] = entered.get(count.state, 0) + count.entered
    failures = {c.failure_type: c.entered for c in counts if c.state == "failed"}
    completed, failed = entered.get("completed", 0), entered.get("failed", 0)
    return TypeFigures(
        hour=hour,
        type=type_,
        queued=entered.get("queued", 0),
        started=entered.get("running", 0),
        backoff=entered.get("backoff", 0),
        stalled=entered.get("stalled", 0) + failures.get("stalled", 0),
        completed=completed,
        failed=failed,
        cancelled=entered.get("cancelled", 0),
        failure_rate=failed / (completed + failed) if completed + failed else None,
        failures=failures,
        wait=times_of(merged(c.wait for c in counts if c.state == "running")),
        run=times_of(merged(c.run for c in counts)),
    )


def _state_figures(count: StateCount) -> StateFigures:
    return StateFigures(
        hour=count.hour,
        type=count.type,
        state=count.state,
        failure_type=count.failure_type,
        entered=count.entered,
        credits_charged=count.credits_charged,
        credits_released=count.credits_released,
        wait=times_of(count.wait),
        run=times_of(count.run),
    )
