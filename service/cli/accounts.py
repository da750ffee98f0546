"""`tallystick accounts …` and `tallystick grant`: accounts and their credits, for operators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args
from uuid import UUID

import rich_click as click

from adapters.queries import PAGE_ROWS_MAX, StatementFilter, StatementLine
from domain.balance import Balance
from domain.errors import NotFound
from domain.event import CREDITS_MAX, NAME_LENGTH_MAX, TEXT_LENGTH_MAX
from domain.ledger_events import GrantKind
from projections.statement import Line
from service.bootstrap import Service
from service.cli.administration import operator, with_service
from service.cli.output import json_option, print_fields, print_json, print_table, say
from service.cli.past_account import show_past_account
from service.identifiers import Prefix, new_id, parse_id, public_id

_PREFIXES: dict[str, Prefix] = {
    "account_id": "acct",
    "task_id": "task",
    "group_id": "group",
    "hold_id": "hold",
    "grant_id": "grant",
}

LIST_ROWS = 100


@click.group()
def accounts() -> None:
    """Open and look at accounts, straight in the database."""


@accounts.command("open")
@click.option("--name", help="What the account is called.")
@click.option(
    "--plan",
    default="standard",
    show_default=True,
    help="What it is allowed: a plan of the plans file.",
)
@json_option
def open_(name: str | None, plan: str, as_json: bool) -> None:
    """Open an account, without credits."""
    bounded("--name", name, NAME_LENGTH_MAX)
    account_id = new_id()

    async def work(service: Service) -> Balance:
        await service.bus.open_account(account_id, plan=plan, name=name, origin=operator())
        return await account_of(service, account_id)

    show_account(with_service(work), as_json=as_json)


@accounts.command("list")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIST_ROWS,
    show_default=True,
    help="At most this many.",
)
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List accounts, oldest first."""

    async def work(service: Service) -> list[Balance]:
        found: list[Balance] = []
        while len(found) < limit:
            after = found[-1].id if found else None
            page = await service.queries.accounts(
                after=after, limit=min(limit - len(found), PAGE_ROWS_MAX)
            )
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
    account_id = parse_id("acct", account)
    if at is not None:
        show_past_account(account_id, at, as_json=as_json)
        return
    show_account(with_service(lambda service: account_of(service, account_id)), as_json=as_json)


@accounts.command()
@click.argument("account")
@click.option(
    "--limit",
    type=click.IntRange(1, PAGE_ROWS_MAX),
    default=LIST_ROWS,
    show_default=True,
    help="At most this many lines.",
)
@json_option
def statement(account: str, limit: int, as_json: bool) -> None:
    """Show the newest movements of an account's credits, newest first."""
    account_id = parse_id("acct", account)

    async def work(service: Service) -> list[StatementLine]:
        await account_of(service, account_id)
        return await service.queries.statement(StatementFilter(account_id=account_id), limit=limit)

    lines = with_service(work)
    if as_json:
        for line in lines:
            print_json(_line_document(line))
        return
    print_table(
        {
            "at": lambda entry: entry.line.at,
            "kind": lambda entry: entry.line.kind,
            "amount": lambda entry: entry.line.amount,
            "available": lambda entry: entry.line.available,
            "held": lambda entry: entry.line.held,
            "for": lambda entry: _paid_for(entry.line),
        },
        lines,
    )


@click.command()
@click.argument("account")
@click.argument("credits_", metavar="CREDITS", type=click.IntRange(1, CREDITS_MAX))
@click.option(
    "--kind",
    type=click.Choice(get_args(GrantKind)),
    default="paid",
    show_default=True,
    help="What the credits are.",
)
@click.option("--reason", default="", help="Why; stands in the statement.")
@click.option(
    "--reference",
    help="Your own reference, such as an invoice number: the same one grants only once.",
)
@json_option
def grant(
    account: str,
    credits_: int,
    kind: GrantKind,
    reason: str,
    reference: str | None,
    as_json: bool,
) -> None:
    """Grant CREDITS to an account."""
    bounded("--reason", reason, TEXT_LENGTH_MAX)
    bounded("--reference", reference, NAME_LENGTH_MAX)
    account_id = parse_id("acct", account)

    async def work(service: Service) -> Balance:
        committed = await service.bus.grant(
            account_id,
            amount=credits_,
            kind=kind,
            source_ref=reference or f"cli-{new_id().hex}",
            reason=reason,
            origin=operator(),
        )
        if not committed.events:
            say("Granted before under this reference: nothing was changed.")
        return await account_of(service, account_id)

    show_account(with_service(work), as_json=as_json)


async def account_of(service: Service, account_id: UUID) -> Balance:
    """As of now: what time has brought since is settled first. Raises `NotFound`."""
    await service.ledgers.settle([account_id])
    account = await service.queries.account(account_id)
    if account is None:
        raise NotFound(f"There is no account {public_id('acct', account_id)}.")
    return account


def bounded(option: str, text: str | None, length_max: int) -> None:
    if text is not None and len(text) > length_max:
        raise click.UsageError(f"{option} is longer than {length_max} characters.")


def _document(account: Balance) -> dict[str, object]:
    fields = {name: getattr(account, name) for name in account.__struct_fields__}
    return {**fields, "id": public_id("acct", account.id)}


def _paid_for(line: Line) -> str | None:
    """The task or the group whose credits moved."""
    if line.group_id is not None:
        return public_id("group", line.group_id)
    return None if line.task_id is None else public_id("task", line.task_id)


def _line_document(line: StatementLine) -> dict[str, object]:
    fields = {name: getattr(line.line, name) for name in line.line.__struct_fields__}
    for name, prefix in _PREFIXES.items():
        if fields.get(name) is not None:
            fields[name] = public_id(prefix, fields[name])
    return {"position": line.position, **fields}


def show_account(account: Balance, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(account))
    else:
        print_fields(_document(account))


def _show_all(found: Iterable[Balance], *, as_json: bool) -> None:
    if as_json:
        for account in found:
            print_json(_document(account))
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
