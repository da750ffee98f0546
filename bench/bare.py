"""The least that Litestar can do with the same body: decode it, answer with one of its fields."""

from __future__ import annotations

import msgspec
from litestar import Litestar, post


class Body(msgspec.Struct, frozen=True):
    """The fields of a submission."""

    type: str
    input: dict[str, object]


class Answer(msgspec.Struct, frozen=True):
    """One field of it."""

    type: str


@post("/bare", status_code=202)
async def bare(data: Body) -> Answer:
    """Answer without doing anything."""
    return Answer(type=data.type)


app = Litestar([bare], openapi_config=None)
