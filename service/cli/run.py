"""`tallystick dev`, `serve`, `work`, `process` and `migrate`: the processes of the service."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
import rich_click as click

from adapters.embedded import EmbeddedPostgres
from adapters.migrate import migrate as apply_migrations
from service.bootstrap import Service, open_service
from service.cli.exits import Exit
from service.cli.output import json_option, print_json, say
from service.demo import run_demo
from service.local import introduce
from service.logs import LEVELS, configure_logs
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
from service.settings import Settings, load_settings

PORTS_TRIED = 50
Part = Callable[[Service, asyncio.Event], Coroutine[Any, Any, None]]

log_option = click.option(
    "--log",
    "level",
    type=click.Choice(list(LEVELS)),
    default="info",
    show_default=True,
    help="Least important log lines to print on stderr.",
)
host_option = click.option("--host", help="Address to listen on [TALLYSTICK_HTTP_HOST].")
port_option = click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port to listen on [TALLYSTICK_HTTP_PORT]."
)


@click.command()
@host_option
@port_option
@log_option
def dev(host: str | None, port: int | None, level: str) -> None:
    """Run everything in one process: database, API, worker and processors.

    Without DATABASE_URL an embedded PostgreSQL keeps its data in the folder .tallystick. An account
    with credits and its keys are made on first use; the task commands find them there. Ctrl-C or
    SIGTERM ends it gracefully.
    """
    settings = _start(level, host, port)
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
@log_option
def serve(host: str | None, port: int | None, level: str) -> None:
    """Run the HTTP API; any number of these, on any hosts."""
    settings = _start(level, host, port)
    listener = listen(settings.http_host, settings.http_port)
    sys.exit(run_process(partial(_serve, settings, listener)))


async def _serve(settings: Settings, listener: socket.socket) -> int:
    async with stopped_by_signals() as stop, open_service(settings) as service:
        say(f"Tallystick listens at {url_of(listener)}")
        await run_parts(stop, run_api(service, stop, listener))
    return Exit.OK


@click.command()
@log_option
def work(level: str) -> None:
    """Run a worker; any number of these, on any hosts."""
    settings = _start(level)
    sys.exit(run_process(partial(_run, settings, run_worker)))


@click.command()
@log_option
def process(level: str) -> None:
    """Run the processors: read models, rescue of stalled tasks, clearing of old keys.

    Several may run: one leads, the others stand by.
    """
    settings = _start(level)
    sys.exit(run_process(partial(_run, settings, run_processors)))


async def _run(settings: Settings, part: Part) -> int:
    async with stopped_by_signals() as stop, open_service(settings) as service:
        await run_parts(stop, part(service, stop))
    return Exit.OK


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the database's schema up to date; the other commands do it too when they start."""
    settings = _start("warning")
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


@click.command()
@click.option("--once", is_flag=True, help="End after the job instead of staying up.")
@port_option
@click.option(
    "--log",
    "level",
    type=click.Choice(list(LEVELS)),
    default="warning",
    show_default=True,
    help="Least important log lines to print on stderr.",
)
def demo(once: bool, port: int | None, level: str) -> None:
    """Show a real video extracted and paid for, on a service of its own.

    Starts everything as `dev` does, on the next free port; submits a media_extraction through the
    HTTP API; shows its progress, its result and the account's statement. Stays up in a terminal
    until Ctrl-C.
    """
    settings = _start(level, None, port)
    listener = listen(settings.http_host, settings.http_port, tries=PORTS_TRIED)
    stay = not once and sys.stdout.isatty()
    sys.exit(run_process(partial(run_demo, settings, listener, stay=stay)))


def _start(level: str, host: str | None = None, port: int | None = None) -> Settings:
    """Settings of this process, with its options in them, and its logs set up."""
    settings = load_settings()
    changes = {"http_host": host, "http_port": port}
    settings = msgspec.structs.replace(
        settings, **{name: value for name, value in changes.items() if value is not None}
    )
    configure_logs(level, readable=None if settings.log_json is None else not settings.log_json)
    return settings
