"""`tallystick queue …`: what holds tasks back, for operators."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import get_args
from uuid import UUID

import rich_click as click

from domain.event import TEXT_LENGTH_MAX
from domain.pause import Pause
from domain.pause_events import GateKind
from service.bootstrap import Service
from service.cli.administration import operator, with_service
from service.cli.output import json_option, print_json, print_table, say
from service.identifiers import parse_id, public_id

_kind = click.argument("kind", type=click.Choice(get_args(GateKind)))
_name = click.argument("name")
_reason = click.option("--reason", required=True, help="Why; stands in the log.")


@click.group()
def queue() -> None:
    """Pause and resume task types, accounts and providers, straight in the database."""


@queue.command()
@_kind
@_name
@_reason
def pause(kind: GateKind, name: str, reason: str) -> None:
    """Start no more tasks of the type, account or provider NAME; those that run go on."""
    stored = _stored_name(kind, name, reason)

    async def work(service: Service) -> bool:
        committed = await service.gates.pause(kind, stored, reason=reason, origin=operator())
        return bool(committed.events)

    if with_service(work):
        say(
            f"Paused the {kind} {name}. Deadlines go on: tasks that wait for too long fail as"
            " timeout and are refunded."
        )
    else:
        say(f"The {kind} {name} was paused before: nothing was changed.")


@queue.command()
@_kind
@_name
@_reason
def resume(kind: GateKind, name: str, reason: str) -> None:
    """Start tasks of the type, account or provider NAME again."""
    stored = _stored_name(kind, name, reason)

    async def work(service: Service) -> bool:
        committed = await service.gates.resume(kind, stored, reason=reason, origin=operator())
        return bool(committed.events)

    done = with_service(work)
    said = f"Resumed the {kind} {name}." if done else f"The {kind} {name} was not paused."
    say(said)


@queue.command()
@json_option
def show(as_json: bool) -> None:
    """Show what is paused, since when and why."""

    async def work(service: Service) -> list[Pause]:
        return await service.gates.paused()

    _show(with_service(work), as_json=as_json)


def _show(paused: Iterable[Pause], *, as_json: bool) -> None:
    rows = [
        {
            "kind": gate.kind,
            "name": _public_name(gate),
            "since": gate.since,
            "actor": gate.actor,
            "reason": gate.reason,
        }
        for gate in paused
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    columns = ("kind", "name", "since", "actor", "reason")
    print_table({name: itemgetter(name) for name in columns}, rows)


def _stored_name(kind: GateKind, name: str, reason: str) -> str:
    if not reason.strip() or len(reason) > TEXT_LENGTH_MAX:
        raise click.UsageError(f"--reason must have 1 to {TEXT_LENGTH_MAX} characters.")
    return parse_id("acct", name).hex if kind == "account" else name


def _public_name(gate: Pause) -> str:
    return public_id("acct", UUID(hex=gate.name)) if gate.kind == "account" else gate.name
