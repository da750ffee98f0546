"""`tallystick accounts …`: open and look at accounts, for operators."""

from __future__ import annotations

from uuid import UUID

import rich_click as click

from adapters.queries import PAGE_ROWS_MAX
from domain.balance import Balance
from domain.event import NAME_LENGTH_MAX
from service.bootstrap import Service
from service.cli.account_change import account_of, print_account, reason_option
from service.cli.administration import actor_option, operator, with_service
from service.cli.arguments import limit_option, read_at, text_of
from service.cli.output import json_option, print_table
from service.cli.past_account import show_past_account
from service.cli.statement import show_statement
from service.cli.statement_view import StatementAsked, statement_options
from service.identifiers import new_id, parse_id, public_id

LIST_ROWS = 100


@click.group()
def accounts() -> None:
    """Open and look at accounts, straight in the database."""


@accounts.command("open")
@click.option("--name", callback=text_of(NAME_LENGTH_MAX), help="What the account is called.")
@click.option(
    "--plan",
    default="standard",
    show_default=True,
    help="What it is allowed: a plan of the plans file.",
)
@reason_option
@actor_option
@json_option
def open_(name: str | None, plan: str, reason: str, actor: str | None, as_json: bool) -> None:
    """Open an account, without credits."""
    account_id = new_id()

    async def work(service: Service) -> Balance:
        await service.bus.open_account(
            account_id, plan=plan, name=name, reason=reason, origin=operator(actor)
        )
        return await account_of(service, account_id)

    print_account(with_service(work), as_json=as_json)


@accounts.command("list")
@limit_option(LIST_ROWS)
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List accounts, oldest first."""

    async def work(service: Service) -> list[Balance]:
        found: list[Balance] = []
        while len(found) < limit:
            after = found[-1].id if found else None
            page = await _page(service, after, min(limit - len(found), PAGE_ROWS_MAX))
            if not page:
                break
            found += page
        return found

    _show_all(with_service(work), as_json=as_json)


@accounts.command()
@click.argument("account")
@click.option("--at", help="As of this version or time (ISO 8601), with grants and open holds.")
@json_option
def show(account: str, at: str | None, as_json: bool) -> None:
    """Show one account and its balance."""
    account_id, as_of = parse_id("acct", account), read_at(at)
    if as_of is not None:
        show_past_account(account_id, as_of, as_json=as_json)
        return
    found = with_service(lambda service: account_of(service, account_id))
    print_account(found, as_json=as_json)


@accounts.command()
@click.argument("account")
@statement_options
def statement(account: str, asked: StatementAsked) -> None:
    """Show the movements of an account's credits, newest first."""
    show_statement(parse_id("acct", account), asked)


async def _page(service: Service, after: UUID | None, limit: int) -> list[Balance]:
    """As of now: what time has brought since is settled first."""
    page = await service.queries.accounts(after=after, limit=limit)
    if await service.ledgers.settle([account.id for account in page]):
        page = await service.queries.accounts(after=after, limit=limit)
    return page


def _show_all(found: list[Balance], *, as_json: bool) -> None:
    if as_json:
        for account in found:
            print_account(account, as_json=True)
        return
    print_table(
        {
            "id": lambda a: public_id("acct", a.id),
            "name": lambda a: a.name,
            "plan": lambda a: a.plan,
            "status": lambda a: a.status,
            "available": lambda a: a.available,
            "held": lambda a: a.held,
            "captured": lambda a: a.captured,
        },
        found,
    )
