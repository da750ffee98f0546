"""Who asks: an API key in `Authorization: Bearer`, never written to any log."""

from __future__ import annotations

from adapters.api_keys import ApiKey, ApiKeys
from service.http.refusals import Unauthenticated
from service.identifiers import public_id

HEADER_BYTES_MAX = 256


async def authenticate(keys: ApiKeys, authorization: bytes | None) -> ApiKey:
    """The key of the request. Raises `Unauthenticated`, and `Unavailable`."""
    if authorization is None:
        raise Unauthenticated("An API key is needed.", token_sent=False)
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or len(authorization) > HEADER_BYTES_MAX:
        raise Unauthenticated("Authorization has to be `Bearer tsk_…`.", token_sent=False)
    secret = token.strip().decode("ascii", "replace")
    key = keys.recall(secret) or await keys.check(secret)
    if key is None:
        raise Unauthenticated("The API key is unknown, expired or revoked.", token_sent=True)
    return key


def actor_of(key: ApiKey) -> str:
    """How events name who asked: the account of a user, else the key."""
    if key.account_id is not None:
        return public_id("acct", key.account_id)
    return public_id("key", key.id)
