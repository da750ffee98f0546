"""`tallystick quote`: what a task would cost, through the HTTP API."""

from __future__ import annotations

import rich_click as click

from service.cli.address import api_command
from service.cli.arguments import read_input
from service.cli.output import print_fields, print_json
from tallystick.client import Client
from tallystick.models import Quote


@click.command()
@click.argument("type_", metavar="TYPE")
@click.argument("input_", metavar="[INPUT]", default="{}")
@click.option("--no-cache", is_flag=True, help="Of working on it anew, whatever result is there.")
@api_command
def quote(service: Client, type_: str, input_: str, no_cache: bool, as_json: bool) -> None:
    """Say what a task of TYPE with INPUT would cost, and whether it would be accepted now.

    INPUT is a JSON object, @FILE to read one, or - for stdin. Nothing is held.
    """
    found = service.quote(type_, read_input(input_), cache=not no_cache)
    if as_json:
        print_json(found)
    else:
        print_fields(_fields(found))


def _fields(found: Quote) -> dict[str, object]:
    return {
        "credits": found.credits,
        "price": found.price,
        "price version": found.price_version,
        "trial": found.trial,
        "reused": found.reused,
        "accepted": found.accepted,
        "refusal": found.refusal.detail if found.refusal else None,
        "paused": ", ".join(found.paused) or None,
    }
