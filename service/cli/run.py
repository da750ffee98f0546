"""`tallystick dev`, `serve`, `work`, `process` and `migrate`: the processes of the service."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import rich_click as click

from adapters.embedded import EmbeddedPostgres
from adapters.migrate import migrate as apply_migrations
from service.bootstrap import Service, open_service
from service.cli.exits import Exit
from service.cli.output import json_option, print_json, say
from service.cli.start import host_option, log_option, port_option, start
from service.local import introduce
from service.processes import (
    listen,
    run_all,
    run_api,
    run_parts,
    run_process,
    run_processors,
    run_worker,
    stopped_by_signals,
    url_of,
)
from service.profile import FILE_NAME
from service.settings import Settings

Part = Callable[[Service, asyncio.Event], Coroutine[Any, Any, None]]


@click.command()
@host_option
@port_option
@log_option("info")
def dev(host: str | None, port: int | None, level: str) -> None:
    """Run everything in one process: database, API, worker and processors.

    Without DATABASE_URL an embedded PostgreSQL keeps its data in the folder .tallystick. An account
    with credits and its keys are made on first use; the task commands find them there. Ctrl-C or
    SIGTERM ends it gracefully.
    """
    settings = start(level, host=host, port=port)
    listener = listen(settings.http_host, settings.http_port)
    sys.exit(run_process(partial(_dev, settings, listener)))


async def _dev(settings: Settings, listener: socket.socket) -> int:
    async with stopped_by_signals() as stop, open_service(settings) as service:
        profile = await introduce(service, url_of(listener))
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(run_all(service, stop, listener, ready=ready))
            group.create_task(_announce(ready, running, settings, profile.url))
    return Exit.OK


async def _announce(
    ready: asyncio.Event, running: asyncio.Task[None], settings: Settings, url: str
) -> None:
    """Say where everything is, as soon as it is there."""
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        return
    database = "given by DATABASE_URL" if settings.database_url else settings.postgres_folder
    say(f"Tallystick is ready at {url}")
    say(f"  API documents  {url}/docs")
    say(f"  database       {database}")
    say(f"  keys           {settings.data_folder / FILE_NAME}")
    say("  try            tallystick types; tallystick task submit TYPE INPUT --wait 60")


@click.command()
@host_option
@port_option
@log_option("info")
def serve(host: str | None, port: int | None, level: str) -> None:
    """Run the HTTP API; any number of these, on any hosts."""
    settings = start(level, host=host, port=port)
    listener = listen(settings.http_host, settings.http_port)
    sys.exit(run_process(partial(_serve, settings, listener)))


async def _serve(settings: Settings, listener: socket.socket) -> int:
    async with stopped_by_signals() as stop, open_service(settings) as service:
        say(f"Tallystick listens at {url_of(listener)}")
        await run_parts(stop, run_api(service, stop, listener))
    return Exit.OK


@click.command()
@log_option("info")
def work(level: str) -> None:
    """Run a worker; any number of these, on any hosts."""
    settings = start(level)
    sys.exit(run_process(partial(_run, settings, run_worker)))


@click.command()
@log_option("info")
def process(level: str) -> None:
    """Run the processors: read models, rescue of stalled tasks, clearing of old keys.

    Several may run: one leads, the others stand by.
    """
    settings = start(level)
    sys.exit(run_process(partial(_run, settings, run_processors)))


async def _run(settings: Settings, part: Part) -> int:
    async with stopped_by_signals() as stop, open_service(settings) as service:
        await run_parts(stop, part(service, stop))
    return Exit.OK


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the database's schema up to date; the other commands do it too when they start."""
    settings = start("warning")
    if settings.database_url:
        applied = apply_migrations(settings.database_url)
    else:
        with EmbeddedPostgres(settings.postgres_folder) as server:
            applied = apply_migrations(server.dsn())
    if as_json:
        print_json({"applied": applied})
        return
    for name in applied:
        click.echo(name)
    say(f"{len(applied)} migrations applied." if applied else "The schema is up to date.")
