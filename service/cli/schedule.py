"""`tallystick schedule …`: tasks that are submitted again and again, through the HTTP API."""

from __future__ import annotations

import itertools
from typing import get_args

import rich_click as click

from service.cli.address import api_command
from service.cli.arguments import limit_option, read_input
from service.cli.output import cell, print_fields, print_json, print_table
from tallystick.client import Client
from tallystick.models import Priority, Schedule

LIST_SCHEDULES = 20


@click.group()
def schedule() -> None:
    """Submit a task at the times of a cron expression, through the HTTP API."""


@schedule.command()
@click.argument("cron")
@click.argument("type_", metavar="TYPE")
@click.argument("input_", metavar="[INPUT]", default="{}")
@click.option("--zone", default="UTC", show_default=True, help="Time zone, as Europe/Berlin.")
@click.option("--name", help="What the schedule is called.")
@click.option(
    "--priority",
    type=click.Choice(get_args(Priority)),
    default="normal",
    show_default=True,
    help="How urgent its tasks are.",
)
@click.option("--project", help="A name of your own, to find its tasks by.")
@click.option("--key", help="Idempotency key: the same one again creates nothing new.")
@api_command
def create(
    service: Client,
    cron: str,
    type_: str,
    input_: str,
    zone: str,
    name: str | None,
    priority: Priority,
    project: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Submit TYPE with INPUT whenever CRON says so.

    CRON is minute, hour, day of the month, month and day of the week, in quotes: "30 2 * * MON".
    INPUT is a JSON object, @FILE to read one, or - for stdin.
    """
    document = read_input(input_)
    made = service.schedules.create(
        cron,
        type_,
        document,
        zone=zone,
        name=name,
        priority=priority,
        project=project,
        idempotency_key=key,
    )
    show_schedule(made, as_json=as_json)


@schedule.command("list")
@limit_option(LIST_SCHEDULES)
@api_command
def list_(service: Client, limit: int, as_json: bool) -> None:
    """List schedules, newest first."""
    found = list(itertools.islice(service.schedules.list(), limit))
    if as_json:
        for one in found:
            print_json(one)
        return
    print_table(
        {
            "id": lambda s: s.id,
            "name": lambda s: s.name,
            "status": lambda s: s.status,
            "cron": lambda s: s.cron,
            "zone": lambda s: s.zone,
            "type": lambda s: s.type,
            "next": lambda s: s.next_times[0] if s.next_times else None,
            "fired": lambda s: s.fired,
            "skipped": lambda s: s.skipped,
        },
        found,
    )


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@api_command
def show(service: Client, schedule_id: str, as_json: bool) -> None:
    """Show one schedule: its next times, its last task, why it was skipped last."""
    show_schedule(service.schedules.get(schedule_id), as_json=as_json)


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.option("--reason", default="", help="Why; stands with the schedule.")
@api_command
def pause(service: Client, schedule_id: str, reason: str, as_json: bool) -> None:
    """Let a schedule fire no more until it is resumed."""
    show_schedule(service.schedules.pause(schedule_id, reason=reason), as_json=as_json)


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@api_command
def resume(service: Client, schedule_id: str, as_json: bool) -> None:
    """Let a paused schedule fire again, from its next time on."""
    show_schedule(service.schedules.resume(schedule_id), as_json=as_json)


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@api_command
def delete(service: Client, schedule_id: str, as_json: bool) -> None:
    """End a schedule for good; the tasks that it submitted go on."""
    show_schedule(service.schedules.delete(schedule_id), as_json=as_json)


def show_schedule(shown: Schedule, *, as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    refusal, paused = shown.last_refusal, shown.pause
    print_fields(
        {
            "id": shown.id,
            "name": shown.name,
            "status": shown.status,
            "paused": f"{paused.cause}: {paused.reason}" if paused else None,
            "cron": f"{shown.cron} ({shown.zone})",
            "type": shown.type,
            "input": shown.input,
            "project": shown.project,
            "next times": ", ".join(map(cell, shown.next_times)),
            "next": ", ".join(shown.next),
            "fired": shown.fired,
            "skipped": shown.skipped,
            "missed": shown.missed,
            "last task": shown.last_task_id,
            "last refusal": f"{refusal.reason}: {refusal.detail}" if refusal else None,
            "created": shown.created_at,
        }
    )
