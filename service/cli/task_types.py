"""`tallystick types`: what can be submitted, for users; and its secrets, for operators."""

from __future__ import annotations

import rich_click as click

from service.cli.address import client, client_options
from service.cli.output import json_option, print_json, print_table
from service.cli.type_secret import secret


@click.group(invoke_without_command=True)
@json_option
@client_options
@click.pass_context
def types(ctx: click.Context, as_json: bool, url: str | None, api_key: str | None) -> None:
    """List the task types that can be submitted, and their prices, through the HTTP API."""
    if ctx.invoked_subcommand is not None:
        return
    with client(url, api_key) as service:
        found = list(service.task_types())
    if as_json:
        for one in found:
            print_json(one)
        return
    print_table(
        {
            "name": lambda t: t.name,
            "price": lambda t: t.price_credits,
            "description": lambda t: t.description.partition("\n")[0],
        },
        found,
    )


types.add_command(secret)
