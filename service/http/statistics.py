"""What happened over time, and what waits now; for admins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.queries import Bucket
from adapters.vital_signs import QueueDepth, queue_depth
from domain.event import Name, Timestamp
from domain.task import TaskStatus
from projections.statistics import Count
from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.refusals import InvalidParameter
from service.http.route import ADMIN, route

SPAN_DEFAULT = timedelta(days=1)
SPAN_MAX = timedelta(days=366)


class StatisticsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Hours with `since` <= hour < `until`; the last day if neither is given."""

    since: Timestamp | None = None
    until: Timestamp | None = None
    bucket: Annotated[Bucket, Meta(description="How the hours are added up.")] = "hour"
    type: tuple[Name, ...] = ()
    status: tuple[TaskStatus, ...] = ()


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """`counts` are read a moment behind the log, `queue` is as of now."""

    since: datetime
    until: datetime
    bucket: Bucket
    counts: list[Count]
    queue: list[QueueDepth]


@route(
    "GET",
    "/v1/statistics",
    scopes=ADMIN,
    given=StatisticsQuery,
    answers={200: Statistics},
)
async def get_statistics(call: Call, query: StatisticsQuery) -> Answer:
    """States entered, failures by type, credits and times, by hour, day or in total; the queue."""
    until = query.until or call.service.clock.now()
    since = query.since or until - SPAN_DEFAULT
    if not timedelta(0) < until - since <= SPAN_MAX:
        sentence = f"must be before until, by at most {SPAN_MAX.days} days"
        raise InvalidParameter("The query is invalid.", ("since", sentence))
    counts = await call.service.queries.statistics(
        since, until, bucket=query.bucket, types=query.type, states=query.status
    )
    return json_answer(
        Statistics(
            since=since,
            until=until,
            bucket=query.bucket,
            counts=counts,
            queue=await queue_depth(call.service.pool),
        )
    )


ROUTES = (get_statistics,)
