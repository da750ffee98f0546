"""API keys: admins make, list, revoke and rotate them; a secret is shown once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from adapters.api_keys import ApiKey, NewKey, Once, Scope
from adapters.decision import KeyRecord
from domain.errors import InvalidInput
from domain.event import Name, Timestamp
from service.http.answer import Answer, json_answer
from service.http.call import Call, Reply, replay
from service.http.idempotency import fingerprint_of
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import ADMIN, route
from service.http.task_resource import AccountId
from service.identifiers import parse_id, public_id

OVERLAP_SECONDS_MAX = 7 * 24 * 3600
_encode = msgspec.json.Encoder().encode


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key of scope `user` needs an `account_id`; the other scopes have none."""

    scope: Scope
    name: Name
    account_id: AccountId | None = None
    expires_at: Timestamp | None = None


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For so long the old key goes on working beside the new one; 0 ends it at once."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=OVERLAP_SECONDS_MAX)] = 0


class KeyResource(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix` is the public part of the key."""

    id: Annotated[str, Meta(pattern="^key_[0-9a-f]{32}$")]
    prefix: str
    name: str
    scope: Scope
    account_id: AccountId | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyResource(KeyResource, frozen=True, kw_only=True):
    """`secret` is shown this once; an answer that is replayed has null in its place."""

    secret: str | None


@route(
    "POST",
    "/v1/keys",
    scopes=ADMIN,
    given=KeyRequest,
    answers={201: NewKeyResource},
    refusals=("not_found",),
    idempotent=True,
    example={"scope": "worker", "name": "gpu farm"},
)
async def create_key(call: Call, given: KeyRequest) -> Answer:
    """Make a key. Its secret is in this answer and nowhere else, so a replay has null instead."""
    if (given.scope == "user") != (given.account_id is not None):
        sentence = "is needed for the scope user, and for no other"
        raise InvalidInput("The account does not fit the scope.", ("/account_id", sentence))
    keys = call.service.keys
    account_id = parse_id("acct", given.account_id) if given.account_id else None
    fields = {"name": given.name, "account_id": account_id, "expires_at": given.expires_at}
    return await _made(
        call,
        partial(keys.create, given.scope, **fields),  # type: ignore[arg-type]
        lambda once: keys.create_once(once, given.scope, **fields),  # type: ignore[arg-type]
    )


@route(
    "GET",
    "/v1/keys",
    scopes=ADMIN,
    given=Paging,
    answers={200: Page[KeyResource]},
    refusals=("invalid_cursor",),
)
async def list_keys(call: Call, query: Paging) -> Answer:
    """All keys, newest first, without their secrets."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    before = UUID(bytes=position) if position else None
    keys = await call.service.keys.page(before=before, limit=limit + 1)
    page = keys[:limit]
    last = page[-1].id.bytes if len(keys) > limit else None
    return page_answer(call, query, [_key_resource(key) for key in page], last)


@route(
    "POST",
    "/v1/keys/{id}/revoke",
    scopes=ADMIN,
    answers={200: KeyResource},
    refusals=("not_found",),
)
async def revoke_key(call: Call) -> Answer:
    """End a key for good, at once; once more changes nothing."""
    return json_answer(_key_resource(await call.service.keys.revoke(call.id("key"))))


@route(
    "POST",
    "/v1/keys/{id}/rotate",
    scopes=ADMIN,
    given=Rotation,
    given_optional=True,
    answers={201: NewKeyResource},
    refusals=("not_found",),
    idempotent=True,
    example={"overlap_seconds": 3600},
)
async def rotate_key(call: Call, given: Rotation) -> Answer:
    """A new key with the same scope, account and expiry in the place of one in force."""
    keys, key_id = call.service.keys, call.id("key")
    overlap = given.overlap_seconds
    return await _made(
        call,
        lambda: keys.rotate(key_id, overlap_seconds=overlap),
        lambda once: keys.rotate_once(once, key_id, overlap_seconds=overlap),
    )


async def _made(
    call: Call,
    make: Callable[[], Awaitable[NewKey]],
    make_once: Callable[[Once], Awaitable[NewKey | KeyRecord]],
) -> Answer:
    """Make a key, once if the request has an idempotency key."""
    digest = call.idempotency_key
    if digest is None:
        return _shown(await make())
    fingerprint = fingerprint_of(call.body)

    def record(key: ApiKey) -> KeyRecord:
        return KeyRecord(
            key=digest, fingerprint=fingerprint, status=201, body=_encode(_new_key(key, None))
        )

    with call.front.in_flight.only(digest):
        made = await make_once(Once(digest, record))
    if isinstance(made, NewKey):
        return _shown(made)
    return replay(made, fingerprint).answer()


def _shown(new: NewKey) -> Answer:
    return Reply(201, _encode(_new_key(new.key, new.secret))).answer()


def _new_key(key: ApiKey, secret: str | None) -> NewKeyResource:
    return NewKeyResource(**msgspec.structs.asdict(_key_resource(key)), secret=secret)


def _key_resource(key: ApiKey) -> KeyResource:
    return KeyResource(
        id=public_id("key", key.id),
        prefix=key.prefix,
        name=key.name,
        scope=key.scope,
        account_id=public_id("acct", key.account_id) if key.account_id else None,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )


ROUTES = (create_key, list_keys, revoke_key, rotate_key)
