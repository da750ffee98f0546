"""What can be submitted here, at what price, in which form."""

from __future__ import annotations

from typing import Any

import msgspec

from service.http.answer import Answer
from service.http.call import Call
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.price_resource import PriceResource, price_resource
from service.http.route import ANYONE_WITH_A_KEY, route
from service.pricing import Pricing
from tallystick.handler import Handler


class TaskType(msgspec.Struct, frozen=True, kw_only=True):
    """`price_credits` is what a task of no units and no options costs, `price` the whole rule.

    The schemas are JSON Schema (2020-12); null where a type's own cannot be told.

    The seconds bound one attempt, the wait for the first start, and all attempts from then on.
    A result of at most `cache_seconds` is reused for the same input, which costs
    `cache_price_credits`; null reuses none. One that `stores` is refused to an account that stores
    as much as its plan allows, one for the `operator` to all accounts but those of operators.
    """

    name: str
    description: str
    price_credits: int
    price: PriceResource
    stages: dict[str, int]
    attempts_max: int
    attempt_seconds_max: int
    queue_seconds_max: int
    run_seconds_max: int
    cache_seconds: int | None
    cache_price_credits: int | None
    stores: bool
    operator: bool
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None


@route(
    "GET",
    "/v1/task-types",
    scopes=ANYONE_WITH_A_KEY,
    given=Paging,
    answers={200: Page[TaskType]},
    refusals=("invalid_cursor",),
)
async def list_task_types(call: Call, query: Paging) -> Answer:
    """The registered task types, by name."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    after = position.decode() if position else ""
    handlers = sorted(
        (handler for handler in call.service.types if handler.name > after), key=_name
    )
    page = handlers[:limit]
    more = page[-1].name.encode() if len(handlers) > limit else None
    pricing = call.service.pricing
    return page_answer(call, query, [_task_type(pricing, handler) for handler in page], more)


def _name(handler: Handler) -> str:
    return handler.name


def _task_type(pricing: Pricing, handler: Handler) -> TaskType:
    price = pricing.price_of(handler)
    floor = pricing.floor_of(handler)
    reused = None if handler.cache_seconds is None else handler.cache_price_of(floor)
    return TaskType(
        name=handler.name,
        description=handler.description,
        price_credits=floor,
        price=price_resource(price, pricing.version_for(handler)),
        stages=dict(handler.stages),
        attempts_max=handler.attempts_max,
        attempt_seconds_max=handler.attempt_seconds_max,
        queue_seconds_max=handler.queue_seconds_max,
        run_seconds_max=handler.run_seconds_max,
        cache_seconds=handler.cache_seconds,
        cache_price_credits=reused,
        stores=handler.stores,
        operator=handler.operator,
        input_schema=_schema(handler.input_type),
        output_schema=_schema(handler.output_type),
    )


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any] | None:
    try:
        return msgspec.json.schema(kind)
    except TypeError:
        return None


ROUTES = (list_task_types,)
