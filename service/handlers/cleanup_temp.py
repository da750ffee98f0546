"""The task type `cleanup_temp`: the operator's removal of what is left over of all accounts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from service.upkeep import Removed, Upkeep
from tallystick.handler import Context, Handler, handler

ATTEMPT_SECONDS_MAX = 900
RUN_SECONDS_MAX = 2_700


class CleanupTempInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing needs saying: ages and number are settings of the service."""


class CleanupTempOutput(msgspec.Struct, frozen=True, kw_only=True):
    """`removed` in all, with `freed_bytes`; by kind `uploads`, `scratch` folders and `objects`.

    Not `complete` when more was left over than one run removes: the next one goes on. Where more
    uploads are named than can be told apart, none are removed, and `uploads_known` is false.
    """

    removed: Annotated[int, Meta(ge=0)]
    freed_bytes: Annotated[int, Meta(ge=0)]
    uploads: Removed
    scratch: Removed
    objects: Removed
    complete: bool
    uploads_known: bool


def cleanup_temp(upkeep: Upkeep) -> Handler:
    """The task type, over what it cleans."""

    @handler(
        "cleanup_temp",
        price_credits=0,
        attempt_seconds_max=ATTEMPT_SECONDS_MAX,
        run_seconds_max=RUN_SECONDS_MAX,
        operator=True,
    )
    async def clean(_: CleanupTempInput, context: Context) -> CleanupTempOutput:
        """Remove old uploads that nothing alive names, and what ended attempts left behind.

        For accounts of the operator only. Costs nothing; a run again removes what is left then.
        """

        async def told(removed: int) -> None:
            await context.progress(0, "Cleaning up", completed=removed)

        run = await upkeep.run(told)
        return CleanupTempOutput(
            removed=run.count,
            freed_bytes=run.size_bytes,
            uploads=run.uploads,
            scratch=run.scratch,
            objects=run.objects,
            complete=run.complete,
            uploads_known=run.uploads_known,
        )

    return clean
