"""`tallystick group …`: several tasks started, paid and ended as one, through the HTTP API."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from typing import Any, get_args

import msgspec
import rich_click as click

from service.cli.address import api_command
from service.cli.arguments import limit_option, read_document
from service.cli.exits import Exit
from service.cli.output import print_fields, print_json, print_table, say
from service.cli.progress import ProgressView
from service.cli.task import WAIT_SECONDS_MAX
from tallystick.client import Client
from tallystick.groups import Member
from tallystick.models import Group, GroupStatus, Priority

LIST_GROUPS = 20


class _Member(msgspec.Struct, frozen=True):
    type: str
    input: dict[str, Any]


@click.group()
def group() -> None:
    """Start several tasks as one, and pay for those that are delivered, through the HTTP API."""


@group.command()
@click.argument("kind")
@click.argument("input_", metavar="INPUT")
@click.option("--key", help="A name of your own: a group of it that is at work or done is shown.")
@click.option(
    "--priority",
    type=click.Choice(get_args(Priority)),
    default="normal",
    show_default=True,
    help="How urgent its tasks are.",
)
@click.option("--project", help="A name of your own, to find the group and its tasks by.")
@click.option("--parallel", type=click.IntRange(min=1), help="Tasks at work at one time.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, WAIT_SECONDS_MAX),
    metavar="SECONDS",
    help="Wait for the end, at most this long; a group that did not complete exits with 1.",
)
@api_command
def start(
    service: Client,
    kind: str,
    input_: str,
    key: str | None,
    priority: Priority,
    project: str | None,
    parallel: int | None,
    wait_seconds: float | None,
    as_json: bool,
) -> None:
    """Hold the price of all members and queue the first of them.

    INPUT is the JSON object that KIND makes members of, or a JSON array of members, each an object
    with its `type` and `input`; @FILE reads it from a file, - from stdin.
    """
    given, members = read_members(input_)
    started = service.groups.start(
        kind,
        members,
        input=given,
        key=key,
        priority=priority,
        project=project,
        parallel_max=parallel,
    )
    if wait_seconds is None:
        # Of one that was there, only reading it tells how its members failed.
        shown = service.groups.get(started.id) if started.ended else started
        show_group(shown, as_json=as_json)
    else:
        say(f"Started {started.id}.")
        sys.exit(_await(service, started.id, wait_seconds, as_json=as_json))


@group.command()
@click.argument("group_id", metavar="GROUP")
@click.option(
    "--timeout",
    type=click.FloatRange(0, WAIT_SECONDS_MAX),
    metavar="SECONDS",
    default=600.0,
    show_default=True,
    help="Wait at most this long.",
)
@api_command
def wait(service: Client, group_id: str, timeout: float, as_json: bool) -> None:
    """Wait for a group to end; one that did not complete exits with 1."""
    sys.exit(_await(service, group_id, timeout, as_json=as_json))


def _await(service: Client, group_id: str, seconds: float, *, as_json: bool) -> Exit:
    """Show how it goes, then how it ended."""
    last: Group | None = None
    with ProgressView() as view:
        for last in service.groups.watch(group_id, timeout_seconds=seconds):
            view.show(last)
    assert last is not None, "a watch tells at least what there is"
    show_group(last, as_json=as_json)
    return Exit.OK if last.status == "completed" else Exit.FAILED


@group.command()
@click.argument("group_id", metavar="GROUP")
@api_command
def show(service: Client, group_id: str, as_json: bool) -> None:
    """Show one group, with its members."""
    show_group(service.groups.get(group_id), as_json=as_json)


@group.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(get_args(GroupStatus)),
    help="Only groups in this state; may be given several times.",
)
@click.option("--kind", help="Only groups of this kind.")
@click.option("--key", help="Only groups of this key.")
@click.option("--project", help="Only groups of this project.")
@limit_option(LIST_GROUPS)
@api_command
def list_(
    service: Client,
    status: tuple[GroupStatus, ...],
    kind: str | None,
    key: str | None,
    project: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List groups, newest first."""
    found = service.groups.list(status=status, kind=kind, key=key, project=project)
    _show_groups(itertools.islice(found, limit), as_json=as_json)


@group.command()
@click.argument("group_id", metavar="GROUP")
@click.option("--reason", default="", help="Why; stands in the history.")
@api_command
def cancel(service: Client, group_id: str, reason: str, as_json: bool) -> None:
    """Start no more members and stop those at work; what was delivered is charged."""
    show_group(service.groups.cancel(group_id, reason=reason), as_json=as_json)


@group.command()
@click.argument("group_id", metavar="GROUP")
@api_command
def retry(service: Client, group_id: str, as_json: bool) -> None:
    """Run again what was not delivered, with a new hold."""
    show_group(service.groups.retry(group_id), as_json=as_json)


def read_members(text: str) -> tuple[dict[str, Any] | None, list[Member]]:
    """The input of a kind, or members. Raises `UsageError` for what is neither."""
    try:
        found = msgspec.json.decode(read_document(text), type=dict[str, Any] | list[_Member])
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"INPUT is neither an input nor members: {error}.") from error
    if isinstance(found, dict):
        return found, []
    if not found:
        raise click.UsageError("INPUT has no members.")
    return None, [(member.type, member.input) for member in found]


def show_group(shown: Group, *, as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    progress, amounts = shown.progress, shown.credits
    print_fields(
        {
            "id": shown.id,
            "kind": shown.kind,
            "key": shown.key,
            "status": shown.status,
            "progress": f"{progress.percent} % · {progress.completed} of {progress.total} done",
            "project": shown.project,
            "credits": f"{amounts.held} held, {amounts.charged} charged,"
            f" {amounts.released} given back",
            "money": shown.money.sentence if shown.money else None,
            "next": ", ".join(shown.next),
            "run": shown.run if shown.run > 1 else None,
            "created": shown.created_at,
            "ended": shown.ended_at,
        }
    )
    if shown.members:
        print_table(
            {
                "task": lambda m: m.task_id,
                "type": lambda m: m.type,
                "status": lambda m: m.task_status or m.status,
                "percent": lambda m: m.percent,
                "charged": lambda m: m.charged,
                "failure": lambda m: m.failure and f"{m.failure.type}: {m.failure.message}",
            },
            shown.members,
        )


def _show_groups(shown: Iterable[Group], *, as_json: bool) -> None:
    if as_json:
        for one in shown:
            print_json(one)
        return
    print_table(
        {
            "id": lambda g: g.id,
            "kind": lambda g: g.kind,
            "key": lambda g: g.key,
            "status": lambda g: g.status,
            "done": lambda g: f"{g.progress.completed}/{g.progress.total}",
            "charged": lambda g: g.credits.charged,
            "created": lambda g: g.created_at,
            "project": lambda g: g.project,
        },
        shown,
    )
