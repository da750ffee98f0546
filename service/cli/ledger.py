"""`tallystick accounts …`: what operators do with an account's credits, straight in the database.

Every command that changes something needs a reason, which stands in the log with who did it.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from uuid import UUID

import msgspec
import rich_click as click

from adapters.decision import Committed
from domain import ledger
from domain.event import CREDITS_MAX, NAME_LENGTH_MAX
from domain.ledger import CreditLedger
from service.bootstrap import Service
from service.cli.account_change import (
    Change,
    account_argument,
    account_change,
    carry_out,
    command_on,
)
from service.cli.accounts import accounts
from service.cli.administration import with_service
from service.cli.arguments import read_period, text_of
from service.cli.output import json_option, print_json, print_table
from service.http.grant_resource import (
    GrantResource,
    HoldResource,
    grant_resource,
    hold_resource,
)
from service.identifiers import new_id, parse_id
from service.ledgers import Asked


@accounts.command()
@account_argument
@account_change()
def freeze(change: Change) -> None:
    """Refuse new holds; what is held can still be settled."""
    command_on(change, ledger.FreezeAccount(reason=change.reason))


@accounts.command()
@account_argument
@account_change()
def unfreeze(change: Change) -> None:
    """Allow holds again."""
    command_on(change, ledger.UnfreezeAccount(reason=change.reason))


@accounts.command()
@account_argument
@account_change()
def close(change: Change) -> None:
    """End an account for ever and void what it has left; nothing may be held or owed."""
    command_on(change, ledger.CloseAccount(reason=change.reason))


@accounts.command()
@account_argument
@click.argument("name", metavar="PLAN")
@account_change()
def plan(change: Change, name: str) -> None:
    """Let the limits of PLAN hold from here on."""

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.ledgers.change_plan(asked, name, change.reason)

    carry_out(change, work)


@accounts.command()
@account_argument
@click.argument("credits_", metavar="CREDITS", type=click.IntRange(-CREDITS_MAX, CREDITS_MAX))
@click.option(
    "--reference",
    callback=text_of(NAME_LENGTH_MAX),
    help="Your own reference: the same one adjusts only once.",
)
@account_change()
def adjust(change: Change, credits_: int, reference: str | None) -> None:
    """Correct the balance by CREDITS, up or down (write `-- -20` for down)."""
    command = ledger.AdjustCredits(
        adjustment_id=new_id(),
        amount=credits_,
        source_ref=reference or f"cli-{new_id().hex}",
        reason=change.reason,
    )
    command_on(change, command)


@accounts.command()
@account_argument
@click.argument("grant")
@account_change()
def void(change: Change, grant: str) -> None:
    """Take back what is left of GRANT; what is held of it goes when it comes back."""
    command = ledger.VoidGrant(grant_id=parse_id("grant", grant), reason=change.reason)
    command_on(change, command)


@accounts.command()
@account_argument
@click.argument("charge", metavar="HOLD_OR_TASK")
@click.option(
    "--credits",
    "amount",
    type=click.IntRange(1, CREDITS_MAX),
    help="All that is left, if not given.",
)
@account_change(keyed=True)
def refund(change: Change, charge: str, amount: int | None) -> None:
    """Give back what a hold's capture or a task was charged, to the very grants it came from.

    A group is charged by its hold, which its lines in the statement name (with --json).
    """
    of_task = charge.startswith("task_")
    charged = parse_id("task" if of_task else "hold", charge)

    async def work(service: Service, asked: Asked) -> Committed:
        give_back = service.holds.refund_task if of_task else service.holds.refund
        return await give_back(asked, charged, amount=amount, reason=change.reason)

    carry_out(change, work)


@accounts.command("close-books")
@account_argument
@click.argument("period")
@account_change()
def close_books(change: Change, period: str) -> None:
    """Close the books of PERIOD, a month such as 2026-01: the balances are carried on."""
    read_period("PERIOD", period)

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.ledgers.close_books(asked, period, change.reason)

    carry_out(change, work)


@accounts.command()
@click.argument("account")
@json_option
def grants(account: str, as_json: bool) -> None:
    """List the grants with credits left, in the order in which they are spent."""
    found = map(grant_resource, _state(account).grants)
    _print(found, "id kind priority remaining held effective_at expires_at", as_json=as_json)


@accounts.command()
@click.argument("account")
@json_option
def holds(account: str, as_json: bool) -> None:
    """List the open holds."""
    found = (hold_resource(hold) for _, hold in sorted(_state(account).holds.items()))
    _print(found, "id amount task_id group_id held_at expires_at", as_json=as_json)


def _state(account: str) -> CreditLedger:
    account_id: UUID = parse_id("acct", account)
    return with_service(lambda service: service.ledgers.state(account_id))


def _print(found: Iterable[GrantResource | HoldResource], columns: str, *, as_json: bool) -> None:
    if as_json:
        for one in found:
            print_json(one)
        return
    rows = map(msgspec.structs.asdict, found)
    print_table({name: itemgetter(name) for name in columns.split()}, rows)
