"""`tallystick balance`, `statement` and `plans`: what a user's key sees of its account."""

from __future__ import annotations

import itertools

import rich_click as click

from service.cli.account_view import show_account, show_grants_and_holds
from service.cli.address import api_command, client, client_options
from service.cli.arguments import read_at
from service.cli.output import print_json, print_table
from service.cli.statement_view import (
    StatementAsked,
    print_lines,
    print_piece,
    print_summary,
    say_balances,
    statement_options,
)
from tallystick.client import Client


@click.command()
@click.option("--at", help="As of this version or time (ISO 8601), with grants and open holds.")
@click.option("--details", is_flag=True, help="With grants, in the order of use, and open holds.")
@api_command
def balance(service: Client, at: str | None, details: bool, as_json: bool) -> None:
    """Show your account and its credits, through the HTTP API."""
    as_of = read_at(at)
    if details and (as_of is not None or as_json):
        raise click.UsageError("--details is for people, as of now: --at shows them anyway.")
    account = service.account(at=as_of)
    if as_json:
        print_json(account)
        return
    show_account(account)
    if details:
        show_grants_and_holds(list(service.grants()), list(service.holds()))


@click.command()
@statement_options
@client_options
def statement(asked: StatementAsked, url: str | None, api_key: str | None) -> None:
    """Show the movements of your account's credits, newest first, through the HTTP API."""
    with client(url, api_key) as service:
        _FORMS[asked.form](service, asked)


def _csv(service: Client, asked: StatementAsked) -> None:
    for piece in service.statement_csv(since=asked.since, until=asked.until):
        print_piece(piece)


def _summary(service: Client, asked: StatementAsked) -> None:
    found = service.statement_summary(since=asked.since, until=asked.until)
    print_summary(found, as_json=asked.as_json)


def _lines(service: Client, asked: StatementAsked) -> None:
    lines = service.statement(since=asked.since, until=asked.until)
    print_lines(list(itertools.islice(lines, asked.limit)), as_json=asked.as_json)
    if asked.bounded and not asked.as_json:
        say_balances(service.statement_summary(since=asked.since, until=asked.until))


_FORMS = {"csv": _csv, "summary": _summary, "lines": _lines}


@click.command()
@api_command
def plans(service: Client, as_json: bool) -> None:
    """List the plans in force: what accounts are allowed, through the HTTP API."""
    found = list(service.plans())
    if as_json:
        for one in found:
            print_json(one)
        return
    print_table(
        {
            "name": lambda p: p.name,
            "active": lambda p: p.active_tasks_max,
            "daily": lambda p: p.daily_tasks_max,
            "trials": lambda p: p.trial_tasks,
            "overdraft": lambda p: p.overdraft_max,
            "low": lambda p: p.low_credits,
            "weight": lambda p: p.weight,
            "version": lambda p: p.version,
        },
        found,
    )
