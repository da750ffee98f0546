"""Asks a service whether it is there and ready, which needs no key."""

from __future__ import annotations

from typing import Any

import httpx

from tallystick import exchange

ANSWER_SECONDS_MAX = 5.0


def read_health(url: str, *, timeout_seconds: float = ANSWER_SECONDS_MAX) -> dict[str, Any]:
    """What the service at `url` says of itself when it is ready.

    Raises `Unavailable` when it is there but not ready, `Unreachable` when nothing answers, and
    `InvalidArgument` for what is no URL.
    """
    address = exchange.Address(url, "none")
    with httpx.Client(
        base_url=address.url, mounts=address.direct, timeout=timeout_seconds
    ) as client:
        try:
            response = client.get("/health/ready")
        except httpx.HTTPError as error:
            raise exchange.unreachable(address.url, error) from error
    document: dict[str, Any] = exchange.read(response, dict[str, Any])
    return document
