"""What requests of remote workers have in common."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from domain.event import NAME_LENGTH_MAX
from service.http.call import Call
from tallystick.handler import Handler

Token = Annotated[int, Meta(ge=1, le=2**31 - 1, description="Fencing token of the claim.")]
WorkerName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=NAME_LENGTH_MAX,
        pattern="^(?!acct_|key_)[!-~]+$",
        description="Printable ASCII, and not like an account's or a key's id.",
    ),
]


def known_type(call: Call, type_: str) -> Handler | None:
    """The type, if this process knows it: other processes may have others."""
    types = call.service.types
    return types.named(type_) if type_ in types.names else None
