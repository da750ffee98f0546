"""One signed POST to somebody else's HTTPS endpoint, in the form of Standard Webhooks 1.0.

Pushed tasks, alerts and webhooks are all sent by this: guarded as downloads are (public addresses
only, a name resolved once and pinned, no redirect followed), and bounded in time and in what is
read of the answer. One try: trying again is the sender's business.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

import httpx
import msgspec
from standardwebhooks import Webhook

from adapters.addresses import AddressGuard, UnsafeUrl, refusals
from adapters.retry_after import retry_after

ID_LENGTH_MAX = 255
SECRETS_MAX = 5
"""Secrets that one message is signed with, while they are rotated."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: `id` is the same whenever it is sent again, and has no full stop; `body` JSON.

    `at` is the time of sending: receivers refuse what is older than five minutes. `traceparent` is
    the W3C header by which the receiver joins the sender's trace.
    """

    id: str
    at: datetime
    body: bytes
    traceparent: str | None = None


class DeliveryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds to connect and for the whole exchange; the most that is read of an answer's body."""

    connect_seconds: float = 5.0
    total_seconds: float = 30.0
    answer_bytes_max: int = 65_536


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """An answer came, with whatever status. `whole` is False where its body was cut to the limit.

    `retry_after_seconds` is what the server asks to wait, None where it asks for nothing.
    """

    status: int
    retry_after_seconds: int | None
    body: bytes
    whole: bool

    @property
    def accepted(self) -> bool:
        """Any 2xx; a redirect is none, and is not followed."""
        return 200 <= self.status < 300  # noqa: PLR2004


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """No whole answer came. `detail` is for operators.

    `refused`: the address may not be reached, nothing was sent. `certificate`: it is not that
    host's, nothing was sent. `timeout` and `broken`: the message may have arrived all the same.
    """

    reason: Literal["refused", "certificate", "timeout", "broken"]
    detail: str


def signed_headers(message: Message, secrets: Sequence[bytes]) -> dict[str, str]:
    """`webhook-id`, `-timestamp` and `-signature`, one signature for each secret, in their order.

    Raises `ValueError` for an id, a body or secrets that cannot be signed.
    """
    if not 1 <= len(secrets) <= SECRETS_MAX:
        raise ValueError(f"1 to {SECRETS_MAX} secrets sign a message, not {len(secrets)}")
    if not 1 <= len(message.id) <= ID_LENGTH_MAX or "." in message.id:
        raise ValueError(f"not an id of a message: {message.id[:ID_LENGTH_MAX]!r}")
    # The library takes the time as UTC, whatever its zone, and signs text only.
    at, body = message.at.astimezone(UTC), message.body.decode()
    signatures = [Webhook(secret).sign(message.id, at, body) for secret in secrets]
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


class SignedDelivery:
    """Sends messages through the guard, each over a connection of its own."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def __call__(
        self,
        url: str,
        message: Message,
        secrets: Sequence[bytes],
        *,
        limits: DeliveryLimits | None = None,
    ) -> Answered | Unanswered:
        """POST `message` to `url`, signed with each of `secrets`. Raises `ValueError` only."""
        limits = limits or DeliveryLimits()
        headers = {
            **signed_headers(message, secrets),
            "content-type": "application/json",
            # A body that inflates on its way in could not be bounded by what the wire carries.
            "accept-encoding": "identity",
            "user-agent": "tallystick",
        }
        if message.traceparent is not None:
            headers["traceparent"] = message.traceparent
        try:
            with refusals():
                async with asyncio.timeout(limits.total_seconds):
                    return await self._post(url, message.body, headers, limits)
        except UnsafeUrl as error:
            return Unanswered(reason="refused", detail=str(error))
        except (httpx.TimeoutException, TimeoutError) as error:
            seconds = f"{limits.connect_seconds:g} s to connect, {limits.total_seconds:g} s in all"
            return Unanswered(reason="timeout", detail=f"{type(error).__name__} ({seconds})")
        except httpx.TransportError as error:
            return _broken(error)

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str], limits: DeliveryLimits
    ) -> Answered:
        self._guard.check_url(url)
        timeout = httpx.Timeout(limits.total_seconds, connect=limits.connect_seconds)
        async with (
            self._guard.client(timeout=timeout, headers=headers) as client,
            client.stream("POST", url, content=body) as response,
        ):
            read, whole = await _read(response, limits.answer_bytes_max)
            return Answered(
                status=response.status_code,
                retry_after_seconds=retry_after(response),
                body=read,
                whole=whole,
            )


async def _read(response: httpx.Response, bytes_max: int) -> tuple[bytes, bool]:
    """The body, up to `bytes_max`, and whether that is all of it."""
    read = bytearray()
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) > bytes_max:
            return bytes(read[:bytes_max]), False
    return bytes(read), True


def _broken(error: httpx.TransportError) -> Unanswered:
    detail = f"{type(error).__name__}: {error}"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return Unanswered(reason="certificate", detail=detail)
    return Unanswered(reason="broken", detail=detail)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
