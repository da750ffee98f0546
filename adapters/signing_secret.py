"""Secrets that sign what is sent to one receiver: made once, rotated with both in use for a time.

They are kept in `secrets` as JSON, in the clear, since signing needs them; they are shown to
operators alone, and never in a log.
"""

from __future__ import annotations

import base64
import secrets
from datetime import datetime, timedelta

import msgspec

from adapters.pool import LOST, Pool, fetch, lent
from adapters.sql import statement
from domain.errors import Unavailable

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - what such secrets begin with


class SigningSecret(msgspec.Struct, frozen=True, kw_only=True):
    """`previous` signs as well until `previous_until`; both None when no rotation is under way."""

    current: bytes
    previous: bytes | None = None
    previous_until: datetime | None = None

    @property
    def all(self) -> tuple[bytes, ...]:
        """Those to sign with, the newest first."""
        return (self.current,) if self.previous is None else (self.current, self.previous)

    def at(self, now: datetime) -> SigningSecret:
        """As it is at a time: without the previous one once that is over."""
        over = self.previous_until is None or self.previous_until <= now
        return SigningSecret(current=self.current) if over else self

    def __repr__(self) -> str:
        return "SigningSecret(…)"


def secret_text(value: bytes) -> str:
    """A secret as receivers are given it: `whsec_` and base64."""
    return SECRET_PREFIX + base64.b64encode(value).decode()


class SigningSecrets:
    """Secrets by name, read anew each time, so that a rotation counts from the next message on."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, name: str) -> SigningSecret:
        """The secret of that name, made if there was none. Raises `Unavailable`."""
        query = "SELECT value, clock_timestamp() FROM secrets WHERE name = %(name)s"
        if rows := await fetch(self._pool, query, {"name": name}):
            return _kept(rows[0][0]).at(rows[0][1])
        return await self._advance(name, None)

    async def rotate(self, name: str, overlap_seconds: float) -> SigningSecret:
        """Put a new secret in the place of the present one, which signs on for `overlap_seconds`.

        One that was signing on already ends at once. Raises `Unavailable`.
        """
        return await self._advance(name, timedelta(seconds=overlap_seconds))

    async def _advance(self, name: str, overlap: timedelta | None) -> SigningSecret:
        fresh = SigningSecret(current=secrets.token_bytes(SECRET_BYTES))
        try:
            async with lent(self._pool) as connection, connection.transaction():
                made = (name, msgspec.json.encode(fresh))
                await connection.execute(statement("insert_secret"), made)
                cursor = await connection.execute(statement("lock_secret"), (name,))
                row = await cursor.fetchone()
                assert row is not None
                kept, now = _kept(row[0]), row[1]
                if overlap is None:
                    return kept.at(now)
                kept = SigningSecret(
                    current=fresh.current, previous=kept.current, previous_until=now + overlap
                )
                query = "UPDATE secrets SET value = %s WHERE name = %s"
                await connection.execute(query, (msgspec.json.encode(kept), name))
                return kept.at(now)
        except LOST as error:
            raise Unavailable("The signing secrets cannot be read.") from error


def _kept(value: bytes) -> SigningSecret:
    return msgspec.json.decode(value, type=SigningSecret)
