"""Why a task failed: one closed list of failure types, and what is told of each."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from domain.cleaning import clean_text
from domain.event import (
    DETAIL_LENGTH_MAX,
    NAME_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    Detail,
    Name,
    Text,
)

FailureType = Literal[
    "model_error",
    "param_error",
    "timeout",
    "network",
    "stalled",
    "rate_limited",
    "storage",
    "internal",
    "unknown",
]
RETRYABLE: frozenset[FailureType] = frozenset(
    {"timeout", "network", "rate_limited", "storage", "stalled", "unknown"}
)
_MESSAGES: dict[FailureType, str] = {
    "model_error": "The model could not produce a result.",
    "param_error": "The input cannot be processed as it is.",
    "timeout": "The task took longer than it may.",
    "network": "A remote service could not be reached.",
    "stalled": "The task stopped making progress.",
    "rate_limited": "A provider is limiting requests at the moment.",
    "storage": "A result could not be stored.",
    "internal": "Something went wrong on our side.",
    "unknown": "Something unexpected went wrong.",
}


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`message` is what users see, without internals; `detail` what operators see: the cause."""

    type: FailureType
    message: Text
    detail: Detail = ""
    stage: Annotated[Name | None, msgspec.Meta(description="stage in which it failed")] = None
    retryable: bool = False


def failure(
    type_: FailureType,
    *,
    message: str | None = None,
    detail: str = "",
    stage: str | None = None,
    retryable: bool | None = None,
) -> Failure:
    """Fill in the type's standard message and retryability where none is given.

    Texts come from anywhere: they are cut to their bounds and rid of what cannot be stored.
    """
    return Failure(
        type=type_,
        message=clean_text(message or "", TEXT_LENGTH_MAX) or _MESSAGES[type_],
        detail=clean_text(detail, DETAIL_LENGTH_MAX),
        stage=clean_text(stage or "", NAME_LENGTH_MAX) or None,
        retryable=type_ in RETRYABLE if retryable is None else retryable,
    )
