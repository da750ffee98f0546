"""The task type `update_quota`: what an account stores, counted anew and set against its plan."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from service.quota import Quota
from tallystick.handler import Context, Handler, handler

ATTEMPT_SECONDS_MAX = 900
RUN_SECONDS_MAX = 2_700


class UpdateQuotaInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing needs saying: it is the account's own."""


class UpdateQuotaOutput(msgspec.Struct, frozen=True, kw_only=True):
    """`stored_bytes` against the plan's `limit`, null without one; `over` when it is more."""

    stored_bytes: Annotated[int, Meta(ge=0)]
    limit: Annotated[int, Meta(ge=0)] | None
    over: bool
    counted_at: datetime | None


def update_quota(quota: Quota) -> Handler:
    """The task type, over what it counts."""

    @handler(
        "update_quota",
        price_credits=0,
        attempt_seconds_max=ATTEMPT_SECONDS_MAX,
        run_seconds_max=RUN_SECONDS_MAX,
    )
    async def count(_: UpdateQuotaInput, context: Context) -> UpdateQuotaOutput:
        """Count what the account stores, and set it against what its plan lets it store.

        Results that are kept count, and uploads in the folder named like the account. Costs
        nothing.
        """

        async def told(objects: int) -> None:
            await context.progress(0, "Counting", completed=objects)

        state = await quota.count(context.account_id, told)
        return UpdateQuotaOutput(
            stored_bytes=state.stored_bytes,
            limit=state.stored_bytes_max,
            over=state.over,
            counted_at=state.counted_at,
        )

    return count
