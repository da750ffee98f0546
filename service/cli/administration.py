"""Administration works on the database itself, so it needs no running service and no key."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.bootstrap import Service, open_service
from service.command_bus import Origin
from service.logs import configure_logs
from service.settings import load_settings

T = TypeVar("T")


def with_service(work: Callable[[Service], Awaitable[T]]) -> T:
    """Open the service's parts, do `work`, close them. Raises what either raises."""
    settings = load_settings()
    configure_logs("warning", readable=None if settings.log_json is None else not settings.log_json)

    async def run() -> T:
        async with open_service(settings) as service:
            return await work(service)

    return asyncio.run(run())


def operator() -> Origin:
    """Stands in the events as who did it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return Origin(actor=f"cli:{name}"[:200])
