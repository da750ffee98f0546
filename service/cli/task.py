"""`tallystick task …`: what users do with tasks, through the HTTP API."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable
from typing import get_args

import rich_click as click

from service.cli.address import api_command
from service.cli.arguments import limit_option, read_input, read_time
from service.cli.exits import Exit
from service.cli.following import follow
from service.cli.output import print_fields, print_json, print_table, say
from service.cli.progress import ProgressView
from tallystick.client import Client
from tallystick.exchange import RETRIES_MAX
from tallystick.handler import FailureType
from tallystick.models import BulkRetry, HistoryEntry, Priority, Task, TaskStatus, Throttle

LIST_TASKS = 20
WAIT_SECONDS_MAX = 86_400
WATCH_SECONDS = 3_600


@click.group()
def task() -> None:
    """Submit, watch and control tasks, through the HTTP API."""


@task.command()
@click.argument("type_", metavar="TYPE")
@click.argument("input_", metavar="[INPUT]", default="{}")
@click.option(
    "--priority",
    type=click.Choice(get_args(Priority)),
    default="normal",
    show_default=True,
    help="How urgent it is.",
)
@click.option("--project", help="A name of your own, to find the task by.")
@click.option("--not-before", help="Start no earlier: ISO 8601 with an offset, 2030-01-31T08:00Z.")
@click.option("--no-cache", is_flag=True, help="Work on it anew, whatever result is there.")
@click.option("--key", help="Idempotency key: the same one again submits nothing new.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, WAIT_SECONDS_MAX),
    metavar="SECONDS",
    help="Wait for the end, at most this long; a task that did not complete exits with 1.",
)
@api_command
def submit(
    service: Client,
    type_: str,
    input_: str,
    priority: Priority,
    project: str | None,
    not_before: str | None,
    no_cache: bool,
    key: str | None,
    wait_seconds: float | None,
    as_json: bool,
) -> None:
    """Hold the price of TYPE and queue a task with INPUT.

    INPUT is a JSON object, @FILE to read one, or - for stdin.
    """
    document = read_input(input_)
    start = read_time("--not-before", not_before)
    submitted = service.submit(
        type_,
        document,
        priority=priority,
        project=project,
        not_before=start,
        cache=not no_cache,
        idempotency_key=key,
    )
    if wait_seconds is None:
        show_task(submitted, as_json=as_json)
    else:
        say(f"Submitted {submitted.id}.")
        sys.exit(_await(service, submitted, wait_seconds, as_json=as_json))


def _await(service: Client, submitted: Task, seconds: float, *, as_json: bool) -> Exit:
    """Show how it goes, then how it ended."""
    last = submitted
    try:
        with ProgressView() as view:
            for last in follow(service, submitted.id, seconds):
                view.show(last)
    except KeyboardInterrupt:
        say(f"It goes on: `tallystick task show {submitted.id}`.")
        raise
    show_task(last, as_json=as_json)
    return Exit.OK if last.status == "completed" else Exit.FAILED


@task.command()
@click.argument("task_id", metavar="TASK")
@api_command
def show(service: Client, task_id: str, as_json: bool) -> None:
    """Show one task, with its result."""
    show_task(service.get(task_id), as_json=as_json)


@task.command()
@click.argument("task_id", metavar="TASK")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, WAIT_SECONDS_MAX),
    default=WATCH_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="At most this long; a task that did not complete exits with 1.",
)
@api_command
def watch(service: Client, task_id: str, wait_seconds: float, as_json: bool) -> None:
    """Show live how a task goes, to its end, and how it ended."""
    sys.exit(_await(service, service.get(task_id), wait_seconds, as_json=as_json))


@task.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(get_args(TaskStatus)),
    help="Only tasks in this state; may be given several times.",
)
@click.option("--type", "type_", help="Only tasks of this type.")
@click.option("--project", help="Only tasks of this project.")
@click.option("--after", help="Only tasks created after this time (ISO 8601).")
@click.option("--before", help="Only tasks created before this time (ISO 8601).")
@limit_option(LIST_TASKS)
@api_command
def list_(
    service: Client,
    status: tuple[TaskStatus, ...],
    type_: str | None,
    project: str | None,
    after: str | None,
    before: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List tasks, newest first."""
    found = service.list(
        status=status,
        type=type_,
        project=project,
        created_after=read_time("--after", after),
        created_before=read_time("--before", before),
    )
    show_tasks(itertools.islice(found, limit), as_json=as_json)


@task.command()
@click.argument("task_id", metavar="TASK")
@click.option("--reason", default="", help="Why; stands in the history.")
@api_command
def cancel(service: Client, task_id: str, reason: str, as_json: bool) -> None:
    """Cancel a queued task at once, or ask a running one to stop; its credits are given back."""
    show_task(service.cancel(task_id, reason=reason), as_json=as_json)


@task.command()
@click.argument("task_id", metavar="TASK")
@api_command
def retry(service: Client, task_id: str, as_json: bool) -> None:
    """Run a failed task again, with a new hold."""
    show_task(service.retry(task_id), as_json=as_json)


@task.command("retry-failed")
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@click.option("--type", "type_", multiple=True, help="Only tasks of this type.")
@click.option("--project", help="Only tasks of this project.")
@click.option(
    "--failure-type",
    multiple=True,
    type=click.Choice(get_args(FailureType)),
    help="Only tasks that failed so; may be given several times.",
)
@click.option("--after", help="Only tasks that failed after this time (ISO 8601).")
@click.option("--before", help="Only tasks that failed before this time (ISO 8601).")
@click.option(
    "--max",
    "tasks_max",
    type=click.IntRange(1, RETRIES_MAX),
    default=RETRIES_MAX,
    show_default=True,
    help="At most this many.",
)
@click.option("--preview", is_flag=True, help="Only say what would be retried, and its price.")
@click.option("--key", help="Idempotency key: the same one again retries nothing more.")
@api_command
def retry_failed(
    service: Client,
    tasks: tuple[str, ...],
    type_: tuple[str, ...],
    project: str | None,
    failure_type: tuple[FailureType, ...],
    after: str | None,
    before: str | None,
    tasks_max: int,
    preview: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Run failed tasks again, the first to fail first: as many as credits and limits allow.

    Those named, else those that fit the options. A refused one stays as it is.
    """
    told = service.retry_failed(
        tasks,
        type=type_,
        project=project,
        failure_type=failure_type,
        failed_after=read_time("--after", after),
        failed_before=read_time("--before", before),
        tasks_max=tasks_max,
        preview=preview,
        idempotency_key=key,
    )
    show_retries(told, as_json=as_json)


@task.command()
@click.argument("task_id", metavar="TASK")
@api_command
def history(service: Client, task_id: str, as_json: bool) -> None:
    """Show the facts of a task's life, in order."""
    entries = service.history(task_id)
    if as_json:
        for entry in entries:
            print_json(entry)
    else:
        print_table(
            {
                "version": lambda e: e.version,
                "at": lambda e: e.at,
                "event": lambda e: e.type,
                "actor": lambda e: e.actor,
                "data": _entry_data,
            },
            entries,
        )


def _entry_data(entry: HistoryEntry) -> str:
    return " ".join(f"{name}={value}" for name, value in entry.data.items() if name != "input")


def show_task(shown: Task, *, as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    print_fields(
        {
            "id": shown.id,
            "type": shown.type,
            "status": shown.status,
            "progress": _progress(shown),
            "project": shown.project,
            "credits": _credits(shown),
            "money": shown.money.sentence if shown.money else None,
            "trial": "yes" if shown.trial else None,
            "next": ", ".join(shown.next),
            "attempt": shown.attempt,
            "run": shown.run if shown.run > 1 else None,
            "created": shown.created_at,
            "not before": shown.not_before,
            "throttled": ", ".join(map(_throttle, shown.throttled)),
            "queue": _place(shown),
            "started": shown.started_at,
            "ended": shown.ended_at,
            "reused from": shown.reused_from,
            "failure": f"{shown.failure.type}: {shown.failure.message}" if shown.failure else None,
            "result": shown.result,
        }
    )


def show_retries(told: BulkRetry, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    reasons = Counter(one.code for one in told.refused)
    print_fields(
        {
            "matched": f"{told.matched}, and more" if told.more else told.matched,
            "would be retried" if told.preview else "retried": len(told.retried),
            "refused": ", ".join(f"{code}: {count}" for code, count in reasons.items()) or 0,
            "credits needed": told.credits_needed,
            "credits to hold" if told.preview else "credits held": told.credits_held,
            "available before": told.available,
        }
    )


def show_tasks(shown: Iterable[Task], *, as_json: bool) -> None:
    if as_json:
        for one in shown:
            print_json(one)
        return
    print_table(
        {
            "id": lambda t: t.id,
            "type": lambda t: t.type,
            "status": lambda t: t.status,
            "percent": lambda t: t.progress.percent,
            "charged": lambda t: t.credits.charged,
            "created": lambda t: t.created_at,
            "project": lambda t: t.project,
        },
        shown,
    )


def _progress(shown: Task) -> str:
    progress = shown.progress
    said = (f"{progress.percent} %", progress.stage, progress.message)
    return " · ".join(part for part in said if part)


def _throttle(one: Throttle) -> str:
    until = f" until {one.until.isoformat(timespec='seconds')}" if one.until else ""
    return one.reason.replace("_", " ") + until


def _place(shown: Task) -> str | None:
    place = shown.queue
    if place is None:
        return None
    how = {"at_least": "at least ", "about": "about "}.get(place.precision, "")
    seconds = place.starts_in_seconds
    when = "" if seconds is None else f", starts in about {seconds} s"
    return f"{how}{place.position} before it{when}"


def _credits(shown: Task) -> str:
    amounts = shown.credits
    return f"{amounts.held} held, {amounts.charged} charged, {amounts.released} given back"
