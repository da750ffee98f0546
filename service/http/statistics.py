"""What happened over time, and what waits now; for admins."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.queries import Bucket
from domain.event import Name, Timestamp
from projections.statistics import Entry
from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.route import ADMIN, route
from service.statistics import Statistics, read_statistics, span_of


class StatisticsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Hours with `since` <= hour < `until`; the last day if neither is given."""

    since: Timestamp | None = None
    until: Timestamp | None = None
    bucket: Annotated[Bucket, Meta(description="How the hours are added up.")] = "hour"
    type: tuple[Name, ...] = ()
    status: Annotated[
        tuple[Entry, ...], Meta(description="States that `counts` are wanted of.")
    ] = ()


@route(
    "GET",
    "/v1/statistics",
    scopes=ADMIN,
    given=StatisticsQuery,
    answers={200: Statistics},
)
async def get_statistics(call: Call, query: StatisticsQuery) -> Answer:
    """States entered, failures, credits, percentiles of waits and runs over time; the queue."""
    span = span_of(call.service.clock.now(), query.since, query.until)
    statistics = await read_statistics(
        call.service, span, bucket=query.bucket, types=query.type, states=query.status
    )
    return json_answer(statistics)


ROUTES = (get_statistics,)
