"""A task type whose endpoint is the test's own."""

from __future__ import annotations

import os

import msgspec

from tallystick import push_type

ENDPOINT_VARIABLE = "PUSHED_TASKS_ENDPOINT"


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    n: int


HANDLERS = [
    push_type(
        "pushed",
        endpoint=os.environ.get(ENDPOINT_VARIABLE, "https://endpoint.example/run"),
        input_type=Numbers,
        output_type=Numbers,
        price_credits=2,
        description="Carried out by the test.",
    )
]
