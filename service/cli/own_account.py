"""`tallystick balance` and `statement`: what a user's key sees of its account."""

from __future__ import annotations

import itertools

import rich_click as click

from service.cli.address import client, client_options
from service.cli.output import json_option, print_fields, print_json, print_table
from tallystick.models import Account, StatementLine

STATEMENT_LINES = 20


@click.command()
@json_option
@client_options
def balance(as_json: bool, url: str | None, api_key: str | None) -> None:
    """Show your account and its credits, through the HTTP API."""
    with client(url, api_key) as service:
        account = service.account()
    if as_json:
        print_json(account)
    else:
        print_fields({name: getattr(account, name) for name in Account.__struct_fields__})


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=STATEMENT_LINES,
    show_default=True,
    help="At most this many lines.",
)
@json_option
@client_options
def statement(limit: int, as_json: bool, url: str | None, api_key: str | None) -> None:
    """Show the movements of your account's credits, newest first, through the HTTP API."""
    with client(url, api_key) as service:
        lines = list(itertools.islice(service.statement(), limit))
    if as_json:
        for line in lines:
            print_json(line)
    else:
        print_statement(lines)


def print_statement(lines: list[StatementLine]) -> None:
    print_table(
        {
            "at": lambda line: line.at,
            "kind": lambda line: line.kind,
            "amount": lambda line: line.amount,
            "available": lambda line: line.available,
            "held": lambda line: line.held,
            "for": lambda line: line.group_id or line.task_id,
        },
        lines,
    )
