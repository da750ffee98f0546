"""`tallystick accounts …`: what operators do with an account's credits, straight in the database.

Every command that changes something needs a reason, which stands in the log with who did it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from operator import itemgetter
from uuid import UUID

import rich_click as click

from adapters.decision import Committed
from domain import ledger
from domain.balance import Balance
from domain.event import CREDITS_MAX, NAME_LENGTH_MAX, TEXT_LENGTH_MAX
from domain.ledger import CreditLedger, LedgerCommand
from domain.ledger_events import Grant, Hold
from service.bootstrap import Service
from service.cli.accounts import account_of, accounts, bounded, show_account
from service.cli.administration import operator, with_service
from service.cli.output import json_option, print_json, print_table, say
from service.identifiers import Prefix, new_id, parse_id, public_id
from service.ledgers import Asked

_account = click.argument("account")
_reason = click.option("--reason", required=True, help="Why; stands in the log.")
_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
Work = Callable[[Service, Asked], Awaitable[Committed]]


@accounts.command()
@_account
@_reason
@json_option
def freeze(account: str, reason: str, as_json: bool) -> None:
    """Refuse new holds; what is held can still be settled."""
    _carry_out(account, reason, ledger.FreezeAccount(reason=reason), as_json=as_json)


@accounts.command()
@_account
@_reason
@json_option
def unfreeze(account: str, reason: str, as_json: bool) -> None:
    """Allow holds again."""
    _carry_out(account, reason, ledger.UnfreezeAccount(reason=reason), as_json=as_json)


@accounts.command()
@_account
@_reason
@json_option
def close(account: str, reason: str, as_json: bool) -> None:
    """End an account for ever and void what it has left; nothing may be held or owed."""
    _carry_out(account, reason, ledger.CloseAccount(reason=reason), as_json=as_json)


@accounts.command()
@_account
@click.argument("name", metavar="PLAN")
@_reason
@json_option
def plan(account: str, name: str, reason: str, as_json: bool) -> None:
    """Let the limits of PLAN hold from here on."""

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.ledgers.change_plan(asked, name, reason)

    _change(account, reason, work, as_json=as_json)


@accounts.command()
@_account
@click.argument("credits_", metavar="CREDITS", type=click.IntRange(-CREDITS_MAX, CREDITS_MAX))
@_reason
@click.option("--reference", help="Your own reference: the same one adjusts only once.")
@json_option
def adjust(account: str, credits_: int, reason: str, reference: str | None, as_json: bool) -> None:
    """Correct the balance by CREDITS, up or down (write `-- -20` for down)."""
    bounded("--reference", reference, NAME_LENGTH_MAX)
    command = ledger.AdjustCredits(
        adjustment_id=new_id(),
        amount=credits_,
        source_ref=reference or f"cli-{new_id().hex}",
        reason=reason,
    )
    _carry_out(account, reason, command, as_json=as_json)


@accounts.command()
@_account
@click.argument("grant")
@_reason
@json_option
def void(account: str, grant: str, reason: str, as_json: bool) -> None:
    """Take back what is left of GRANT; what is held of it goes when it comes back."""
    command = ledger.VoidGrant(grant_id=parse_id("grant", grant), reason=reason)
    _carry_out(account, reason, command, as_json=as_json)


@accounts.command()
@_account
@click.argument("charge", metavar="HOLD_OR_TASK")
@click.option(
    "--credits",
    "amount",
    type=click.IntRange(1, CREDITS_MAX),
    help="All that is left, if not given.",
)
@_reason
@json_option
def refund(account: str, charge: str, amount: int | None, reason: str, as_json: bool) -> None:
    """Give back what a hold's capture or a task was charged, to the very grants it came from."""
    of_task = charge.startswith("task_")
    charged = parse_id("task" if of_task else "hold", charge)

    async def work(service: Service, asked: Asked) -> Committed:
        give_back = service.holds.refund_task if of_task else service.holds.refund
        return await give_back(asked, charged, amount=amount, reason=reason)

    _change(account, reason, work, as_json=as_json)


@accounts.command("close-books")
@_account
@click.argument("period")
@_reason
@json_option
def close_books(account: str, period: str, reason: str, as_json: bool) -> None:
    """Close the books of PERIOD, a month such as 2026-01: the balances are carried on."""
    if not _PERIOD.fullmatch(period):
        raise click.UsageError("PERIOD is a month such as 2026-01.")

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.ledgers.close_books(asked, period, reason)

    _change(account, reason, work, as_json=as_json)


@accounts.command()
@_account
@json_option
def grants(account: str, as_json: bool) -> None:
    """List the grants with credits left, in the order in which they are spent."""
    columns = "id kind priority remaining held effective_at expires_at"
    _print("grant", _state(account).grants, columns, as_json=as_json)


@accounts.command()
@_account
@json_option
def holds(account: str, as_json: bool) -> None:
    """List the open holds."""
    found = [hold for _, hold in sorted(_state(account).holds.items())]
    columns = "id amount task_id group_id held_at expires_at"
    _print("hold", found, columns, as_json=as_json)


def _carry_out(account: str, reason: str, command: LedgerCommand, *, as_json: bool) -> None:
    async def work(service: Service, asked: Asked) -> Committed:
        return await service.ledgers.carry_out(asked, command)

    _change(account, reason, work, as_json=as_json)


def _change(account: str, reason: str, work: Work, *, as_json: bool) -> None:
    """Do it and show the account after it; say so when nothing had to be changed."""
    if not reason:
        raise click.UsageError("--reason is empty.")
    bounded("--reason", reason, TEXT_LENGTH_MAX)
    account_id = parse_id("acct", account)

    async def change(service: Service) -> tuple[bool, Balance]:
        asked = Asked(account_id=account_id, origin=operator())
        committed = await work(service, asked)
        return bool(committed.events), await account_of(service, account_id)

    changed, balance = with_service(change)
    if not changed:
        say("It was so before: nothing was changed.")
    show_account(balance, as_json=as_json)


def _state(account: str) -> CreditLedger:
    account_id: UUID = parse_id("acct", account)
    return with_service(lambda service: service.ledgers.state(account_id))


def _print(kind: Prefix, found: Iterable[Grant | Hold], columns: str, *, as_json: bool) -> None:
    rows = [_document(kind, one) for one in found]
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table({name: itemgetter(name) for name in columns.split()}, rows)


def _document(kind: Prefix, one: Grant | Hold) -> dict[str, object]:
    """Its fields with ids in their public form; without the slices, which are the log's."""
    prefixes: dict[str, Prefix] = {"id": kind, "task_id": "task", "group_id": "group"}
    fields = {name: getattr(one, name) for name in one.__struct_fields__ if name != "slices"}
    return {
        name: public_id(prefixes[name], value) if name in prefixes and value else value
        for name, value in fields.items()
    }
