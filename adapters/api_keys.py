"""API keys: shown once, kept as prefix and SHA-256, and trusted from memory for a short while."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import uuid_utils
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from adapters.decision import KeyRecord
from adapters.pool import LOST, Pool, lent
from adapters.sql import statement
from adapters.wakeup import CHANNEL, Watch
from domain.errors import NotFound, Unavailable

Scope = Literal["user", "worker", "admin"]
KEYS_CHANGED = "keys"
"""Payload on the wake-up channel after a key was revoked or rotated."""
CACHED_KEYS_MAX = 10_000
LIST_KEYS_MAX = 200
FOLLOW_POLL_SECONDS = 60.0
_FORM = re.compile(r"(tsk_[0-9a-f]{12})_[0-9a-f]{64}")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept and shown of a key; a user's key has the account it acts for."""

    id: UUID
    prefix: str
    name: str
    scope: Scope
    account_id: UUID | None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class NewKey(NamedTuple):
    """A key and, this once, its secret."""

    key: ApiKey
    secret: str


class Once(NamedTuple):
    """Makes one key, however often asked: the idempotency key's digest, and the answer to keep."""

    key: bytes
    record: Callable[[ApiKey], KeyRecord]


class _Checked(NamedTuple):
    key: ApiKey
    digest: bytes
    until: float


class ApiKeys:
    """Makes, checks, lists, revokes and rotates keys. Raises `Unavailable`, `NotFound`.

    A key that was checked is trusted for `cache_seconds`, and not past its expiry; a revocation
    empties this process's memory at once, and others' as soon as they hear of it (`follow`).
    """

    def __init__(self, pool: Pool, *, cache_seconds: float) -> None:
        self._pool = pool
        self._cache_seconds = cache_seconds
        self._checked: dict[str, _Checked] = {}
        self._forgotten = 0

    # Checking

    def recall(self, secret: str) -> ApiKey | None:
        """The key of a secret that was checked a moment ago; None means ask `check`."""
        known = self._checked.get(secret[:16])
        if known is None or known.until <= time.monotonic():
            return None
        return known.key if hmac.compare_digest(known.digest, _digest(secret)) else None

    async def check(self, secret: str) -> ApiKey | None:
        """The key of a secret; None when there is none, or it is expired or revoked."""
        form = _FORM.fullmatch(secret)
        if form is None:
            return None
        if (key := self.recall(secret)) is not None:
            return key
        forgotten = self._forgotten
        async with self._connection() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(statement("select_api_key"), (form[1],), prepare=True)
            row = await cursor.fetchone()
        if row is None or not hmac.compare_digest(row[-2], _digest(secret)):
            return None
        key = ApiKey(**dict(zip(ApiKey.__struct_fields__, row[:-2], strict=True)))
        if forgotten == self._forgotten:
            self._keep(form[1], key, row[-2], row[-1])
        return key

    def _keep(self, prefix: str, key: ApiKey, digest: bytes, left_seconds: float | None) -> None:
        seconds = (
            self._cache_seconds if left_seconds is None else min(self._cache_seconds, left_seconds)
        )
        if len(self._checked) >= CACHED_KEYS_MAX:
            self._checked.clear()
        self._checked[prefix] = _Checked(key, digest, time.monotonic() + seconds)

    async def in_force(self, key_ids: Collection[UUID]) -> set[UUID]:
        """Those of these keys that are neither revoked nor expired, by the database's clock."""
        async with self._connection() as connection:
            cursor = connection.cursor(binary=True)
            parameters = {"ids": list(key_ids)}
            await cursor.execute(statement("select_keys_in_force"), parameters, prepare=True)
            return {row[0] for row in await cursor.fetchall()}

    def forget(self) -> None:
        """Check every key anew from now on."""
        self._forgotten += 1
        self._checked.clear()

    async def follow(self, watch: Watch) -> None:
        """For ever: forget when another process says that keys have changed."""
        while True:
            if await watch.wait(FOLLOW_POLL_SECONDS):
                self.forget()

    # Keeping

    async def create(
        self,
        scope: Scope,
        *,
        name: str,
        account_id: UUID | None = None,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """A new key; `account_id` goes with the scope `user` and with no other.

        Raises `NotFound` for the account.
        """
        async with self._transaction() as connection:
            return await _created(connection, scope, name, account_id, expires_at)

    async def create_once(
        self,
        once: Once,
        scope: Scope,
        *,
        name: str,
        account_id: UUID | None = None,
        expires_at: datetime | None = None,
    ) -> NewKey | KeyRecord:
        """As `create`; the first answer, and no new key, if the idempotency key was used before."""
        async with self._transaction() as connection:
            if replayed := await _replayed(connection, once):
                return replayed
            new = await _created(connection, scope, name, account_id, expires_at)
            await _remember(connection, once.record(new.key))
        return new

    async def rotate(self, key_id: UUID, *, overlap_seconds: int = 0) -> NewKey:
        """A new key in the place of one in force, which ends after `overlap_seconds`.

        Raises `NotFound`, also for a key that is revoked or expired.
        """
        async with self._transaction() as connection:
            new = await _rotated(connection, key_id, overlap_seconds)
        self.forget()
        return new

    async def rotate_once(
        self, once: Once, key_id: UUID, *, overlap_seconds: int = 0
    ) -> NewKey | KeyRecord:
        """As `rotate`; the first answer, and no new key, if the idempotency key was used before."""
        async with self._transaction() as connection:
            if replayed := await _replayed(connection, once):
                return replayed
            new = await _rotated(connection, key_id, overlap_seconds)
            await _remember(connection, once.record(new.key))
        self.forget()
        return new

    async def revoke(self, key_id: UUID) -> ApiKey:
        """End a key for good; once more changes nothing."""
        async with self._connection() as connection, connection.transaction():
            cursor = connection.cursor(binary=True)
            await cursor.execute(statement("revoke_api_key"), (key_id,))
            row = await cursor.fetchone()
            if row is None:
                raise NotFound("There is no key of that id.")
            await _announce(connection)
        self.forget()
        return _key(row)

    async def page(self, *, before: UUID | None = None, limit: int = LIST_KEYS_MAX) -> list[ApiKey]:
        """Keys in order of their making, newest first, at most `limit` and LIST_KEYS_MAX + 1."""
        async with self._connection() as connection:
            cursor = connection.cursor(binary=True)
            parameters = {"before": before, "limit": min(limit, LIST_KEYS_MAX + 1)}
            await cursor.execute(statement("select_api_keys"), parameters)
            return [_key(row) for row in await cursor.fetchall()]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        try:
            async with lent(self._pool) as connection:
                yield connection
        except (*LOST, PoolTimeout, OSError) as error:
            raise Unavailable("The keys cannot be reached.") from error

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        async with self._connection() as connection, connection.transaction():
            yield connection


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: tuple[Any, ...]) -> ApiKey:
    return ApiKey(**dict(zip(ApiKey.__struct_fields__, row, strict=True)))


async def _insert(
    connection: AsyncConnection[Any],
    scope: Scope,
    name: str,
    account_id: UUID | None,
    expires_at: datetime | None,
) -> NewKey:
    prefix = f"tsk_{secrets.token_hex(6)}"
    secret = f"{prefix}_{secrets.token_hex(32)}"
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        statement("insert_api_key"),
        {
            "id": UUID(bytes=uuid_utils.uuid7().bytes),
            "prefix": prefix,
            "sha256": _digest(secret),
            "name": name,
            "scope": scope,
            "account_id": account_id,
            "expires_at": expires_at,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return NewKey(_key(row), secret)


async def _guard_account(connection: AsyncConnection[Any], account_id: UUID) -> None:
    cursor = connection.cursor(binary=True)
    await cursor.execute("SELECT FROM accounts WHERE id = %s", (account_id,))
    if await cursor.fetchone() is None:
        raise NotFound("There is no such account.")


async def _announce(connection: AsyncConnection[Any]) -> None:
    await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, KEYS_CHANGED))


async def _created(
    connection: AsyncConnection[Any],
    scope: Scope,
    name: str,
    account_id: UUID | None,
    expires_at: datetime | None,
) -> NewKey:
    if account_id is not None:
        await _guard_account(connection, account_id)
    return await _insert(connection, scope, name, account_id, expires_at)


async def _rotated(connection: AsyncConnection[Any], key_id: UUID, overlap_seconds: int) -> NewKey:
    cursor = connection.cursor(binary=True)
    parameters = {"id": key_id, "ends_after": timedelta(seconds=overlap_seconds)}
    await cursor.execute(statement("end_api_key"), parameters)
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("There is no key of that id in force.")
    await _announce(connection)
    return await _insert(connection, *row)


async def _replayed(connection: AsyncConnection[Any], once: Once) -> KeyRecord | None:
    """The first answer, if there was one; a second request waits here for the first to end."""
    cursor = connection.cursor(binary=True)
    lock = int.from_bytes(once.key[:8], signed=True)
    await cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
    await cursor.execute(statement("select_idempotency_key"), (once.key,))
    row = await cursor.fetchone()
    return row and KeyRecord(**dict(zip(KeyRecord.__struct_fields__, row, strict=True)))


async def _remember(connection: AsyncConnection[Any], record: KeyRecord) -> None:
    await connection.execute(
        statement("insert_idempotency_key"),
        (record.key, record.fingerprint, record.status, record.body, record.location),
    )
