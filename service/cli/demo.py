"""`tallystick demo`: a real video is submitted, worked on, shown and paid for."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import rich_click as click

from service.bootstrap import open_service
from service.cli.exits import Exit
from service.cli.output import cell, print_fields, say
from service.cli.progress import ProgressView
from service.cli.start import log_option, port_option, start
from service.cli.statement_view import print_lines
from service.demo_clip import ensure_clip
from service.local import introduce
from service.processes import listen, run_all, run_process, stopped_by_signals, url_of
from service.profile import Profile
from service.settings import Settings
from tallystick import AsyncClient
from tallystick.models import StatementLine, Task

TASK_TYPE = "media_extraction"
JOB_SECONDS_MAX = 300.0
POLL_SECONDS = 0.1
STATEMENT_SECONDS_MAX = 10.0
PORTS_TRIED = 50


@click.command()
@click.option("--once", is_flag=True, help="End after the job instead of staying up.")
@port_option
@log_option("warning")
def demo(once: bool, port: int | None, level: str) -> None:
    """Show a real video extracted and paid for, on a service of its own.

    Starts everything as `dev` does, on the next free port; submits a media_extraction through the
    HTTP API; shows its progress, its result and the account's statement. Stays up in a terminal
    until Ctrl-C.
    """
    settings = start(level, port=port)
    listener = listen(settings.http_host, settings.http_port, tries=PORTS_TRIED)
    stay = not once and sys.stdout.isatty()
    sys.exit(run_process(partial(run_demo, settings, listener, stay=stay)))


async def run_demo(settings: Settings, listener: socket.socket, *, stay: bool) -> int:
    """Everything as in `dev`, one job through the HTTP API, and what it cost; the exit status.

    With `stay` the service stays up afterwards, until SIGINT or SIGTERM.
    """
    say("Starting Tallystick, with a PostgreSQL of its own …")
    async with stopped_by_signals() as stop, open_service(settings) as service:
        profile = await introduce(service, url_of(listener), lasting=stay)
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(run_all(service, stop, listener, ready=ready))
            job = group.create_task(_job(ready, settings, profile))
            stopping = group.create_task(stop.wait())
            await asyncio.wait([stopping, running, job], return_when=asyncio.FIRST_COMPLETED)
            if stay and job.done():
                say("The service stays up; Ctrl-C ends it.")
                await asyncio.wait([running])
            stop.set()
            job.cancel()
    return Exit.INTERRUPTED if job.cancelled() else job.result()


async def _job(ready: asyncio.Event, settings: Settings, profile: Profile) -> Exit:
    """Submit the job when the API serves, and show all there is to see."""
    upload = await asyncio.to_thread(_upload_clip, settings.data_folder)
    await ready.wait()
    async with AsyncClient(profile.url, profile.api_key) as client:
        account = await client.account()
        say(f"The API is at {profile.url}; account {account.id} has {account.available} credits.")
        task = await _followed(client, upload)
        if task.result is not None:
            _show_result(task.result)
        await _show_money(client, task)
    _show_places(profile, settings, task)
    return Exit.OK if task.status == "completed" else Exit.FAILED


def _upload_clip(data_folder: Path) -> str:
    """Put the clip where uploads arrive; its path from there."""
    clip = ensure_clip(data_folder / "demo")
    upload = data_folder / "uploads" / "demo" / clip.name
    if not upload.exists():
        upload.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, upload)
    return f"demo/{clip.name}"


async def _followed(client: AsyncClient, upload: str) -> Task:
    """Submit, and show the progress to the end."""
    task = await client.submit(TASK_TYPE, {"upload": upload}, project="demo")
    say(f"Submitted {task.id}: {task.credits.held} credits are held.")
    with ProgressView() as view:
        states = client.watch(task.id, timeout_seconds=JOB_SECONDS_MAX, poll_seconds=POLL_SECONDS)
        async for task in states:
            view.show(task)
    if task.failure:
        say(f"It failed: {task.failure.message}")
    return task


def _show_result(result: Mapping[str, Any]) -> None:
    """Every field that is filled; lists of things below, each with its own heading."""
    lists = {name: value for name, value in result.items() if _is_list_of_things(value)}
    click.echo("\nRESULT")
    _show_thing({name: value for name, value in result.items() if name not in lists})
    for name, things in lists.items():
        click.echo(f"\n{name.upper()}")
        for number, thing in enumerate(things):
            if number:
                click.echo()
            _show_thing(thing)


def _show_thing(thing: Mapping[str, Any]) -> None:
    print_fields({name: _readable(value) for name, value in thing.items() if value is not None})


def _is_list_of_things(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _readable(value: object) -> str:
    """A stored object as where it is, and other objects as their values in a row."""
    match value:
        case {"url": str(url), "sha256": str()}:
            return cell(_path(url) if url.startswith("file:") else url)
        case dict():
            return " · ".join(_readable(part) for part in value.values())
        case _:
            return cell(value)


def _path(url: str) -> Path:
    """Of a file, from the current folder where it is below it."""
    path = Path(url2pathname(urlsplit(url).path))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


async def _show_money(client: AsyncClient, task: Task) -> None:
    click.echo("\nSTATEMENT")
    print_lines(await _lines_of(client, task), as_json=False)
    account = await client.account()
    click.echo(f"\n{account.available} credits are left, {account.held} are held.")


async def _lines_of(client: AsyncClient, task: Task) -> list[StatementLine]:
    """The task's lines, oldest first; the statement follows the log in a moment."""
    deadline = time.monotonic() + STATEMENT_SECONDS_MAX
    while True:
        newest = [line async for line in client.statement(since=task.created_at)]
        lines = [line for line in reversed(newest) if line.task_id == task.id]
        settled = any(line.kind != "held" for line in lines)
        if settled or time.monotonic() > deadline:
            return lines
        await asyncio.sleep(POLL_SECONDS)


def _show_places(profile: Profile, settings: Settings, task: Task) -> None:
    say("")
    say(f"API documents  {profile.url}/docs")
    say(f"stored files   {settings.objects_url}")
    say(f"look again     tallystick task show {task.id}; tallystick statement")
    say("               (while this, or `tallystick dev`, runs in this folder)")
