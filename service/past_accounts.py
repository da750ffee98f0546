"""An account as of a version or a time, as a user asks for it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from adapters.log import BIGINT_MAX
from adapters.past_ledgers import PastLedger
from domain.errors import InvalidInput, NotFound
from domain.event import Timestamp
from service.bootstrap import Service

AT_LENGTH_MAX = 40


def read_at(text: str) -> int | datetime:
    """A version (`17`), or a time with its offset. Raises `InvalidInput`."""
    if text.isdecimal() and text.isascii():
        return int(text[:AT_LENGTH_MAX])
    try:
        return msgspec.convert(text, Timestamp)
    except msgspec.ValidationError as error:
        raise _invalid(
            "must be a version or a time with its offset (`+` is sent as %2B)"
        ) from error


async def past_account(service: Service, account_id: UUID, at: int | datetime) -> PastLedger:
    """As of a version, or of a time that is not to come.

    Raises `InvalidInput`, and `NotFound` where there was no such account then.
    """
    past = service.past_ledgers
    if isinstance(at, int):
        if not 1 <= at <= BIGINT_MAX:
            raise _invalid("is no version")
        found = await past.at_version(account_id, at)
    else:
        if at > service.clock.now():
            raise _invalid("is in the future")
        found = await past.at_time(account_id, at)
    if found is None:
        raise NotFound("There was no such account then.")
    return found


def _invalid(sentence: str) -> InvalidInput:
    return InvalidInput("The account cannot be shown as of then.", ("/at", sentence))
