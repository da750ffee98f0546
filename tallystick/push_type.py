"""Declares a task type that an endpoint carries out; `push` is for the endpoint itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack

import msgspec

from tallystick.handler import RUN_SECONDS_MAX, CacheScope, Estimate, Handler, Measure, Provider

ATTEMPT_SECONDS_MAX = 300


class Options(TypedDict, total=False):
    """What else a type may say; as in `Handler`."""

    stages: Mapping[str, int]
    description: str
    delivery_seconds_max: int
    running_tasks_max: int | None
    attempts_max: int
    retry_seconds: float
    retry_seconds_max: float
    queue_seconds_max: int
    run_seconds_max: int
    provider: Provider | None
    cache_seconds: int | None
    cache_key: Callable[[Any], str | None] | None
    cache_scope: CacheScope
    cache_price_percent: int
    cache_version: int
    cache_when: Callable[[Any], bool] | None
    estimate: Estimate | None
    measure: Measure | None


def push_type(
    name: str,
    *,
    endpoint: str,
    input_type: type[msgspec.Struct],
    output_type: type[msgspec.Struct],
    price_credits: int,
    attempt_seconds_max: int = ATTEMPT_SECONDS_MAX,
    **options: Unpack[Options],
) -> Handler:
    """Declare a task type whose tasks are sent, signed, to an HTTPS endpoint.

    The endpoint answers within `delivery_seconds_max` (30 s), with the result or with its
    acceptance; one that accepted has `attempt_seconds_max` to end the attempt. Raises `ValueError`
    for an endpoint that is no https URL (http on loopback is for development), or a number out of
    its bounds.
    """
    run_seconds_max = max(RUN_SECONDS_MAX, attempt_seconds_max)
    declared: Options = {
        "stages": {},
        "description": "",
        "run_seconds_max": run_seconds_max,
        **options,
    }
    return Handler(
        name=name,
        function=None,
        endpoint=endpoint,
        input_type=input_type,
        output_type=output_type,
        price_credits=price_credits,
        attempt_seconds_max=attempt_seconds_max,
        **declared,
    )
