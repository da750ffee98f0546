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


def read_at(text: str, now: datetime) -> int | datetime:
    """A version (`17`), or a time that is not to come, with its offset. Raises `InvalidInput`."""
    if text.isdecimal() and text.isascii():
        version = int(text[:AT_LENGTH_MAX])
        if 1 <= version <= BIGINT_MAX:
            return version
        raise _invalid("is no version")
    try:
        at = msgspec.convert(text, Timestamp)
    except msgspec.ValidationError as error:
        raise _invalid(
            "must be a version or a time with its offset (`+` is sent as %2B)"
        ) from error
    if at > now:
        raise _invalid("is in the future")
    return at


async def past_account(service: Service, account_id: UUID, text: str) -> PastLedger:
    """Raises `InvalidInput`, and `NotFound` where there was no such account then."""
    at = read_at(text, service.clock.now())
    past = service.past_ledgers
    found = await (
        past.at_version(account_id, at) if isinstance(at, int) else past.at_time(account_id, at)
    )
    if found is None:
        raise NotFound("There was no such account then.")
    return found


def _invalid(sentence: str) -> InvalidInput:
    return InvalidInput("The query is invalid.", ("/at", sentence))
