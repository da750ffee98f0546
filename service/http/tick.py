"""The one endpoint that a cron calls to have all work done in this process."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.route import WORKER, route
from service.tick import SECONDS, SECONDS_MAX, TickReport, tick


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The time a tick may take; give the caller's own timeout a little more."""

    seconds: Annotated[float, Meta(ge=1, le=SECONDS_MAX)] = SECONDS


@route(
    "POST",
    "/v1/worker/tick",
    scopes=WORKER,
    given=Budget,
    given_optional=True,
    answers={200: TickReport},
    example={"seconds": 50},
)
async def run_tick(call: Call, given: Budget | None = None) -> Answer:
    """Work for at most the given seconds: rescue, expire, run tasks, bring read models up.

    Safe to call at once from several crons; whatever is not finished in time is queued again. A
    tick in a process that is told to stop ends early, with what it did.
    """
    budget = given or Budget()
    return json_answer(await tick(call.service, budget.seconds, call.front.stop))


ROUTES = (run_tick,)
