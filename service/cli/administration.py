"""Administration works on the database itself, so it needs no running service and no key."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import rich_click as click

from service.bootstrap import Service, open_service
from service.cli.arguments import text_of
from service.command import Origin
from service.logs import configure_logs
from service.settings import load_settings

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])
ACTOR_LENGTH_MAX = 100


def with_service(work: Callable[[Service], Awaitable[T]]) -> T:
    """Open the service's parts, do `work`, close them. Raises what either raises."""
    settings = load_settings()
    configure_logs("warning", readable=None if settings.log_json is None else not settings.log_json)

    async def run() -> T:
        async with open_service(settings) as service:
            return await work(service)

    return asyncio.run(run())


def actor_option(function: Function) -> Function:
    """`--actor`, handed on as it is."""
    option: Callable[[Function], Function] = click.option(
        "--actor",
        callback=text_of(ACTOR_LENGTH_MAX),
        help="Who does it, for the log; your name on this system by default.",
    )
    return option(function)


def operator(actor: str | None = None) -> Origin:
    """Stands in the events as who did it: `actor`, or the user of this system."""
    return Origin(actor=f"cli:{actor or _user()}"[:200])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
