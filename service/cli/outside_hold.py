"""`tallystick accounts hold`, `extend`, `capture`, `release`: for things outside of Tallystick."""

from __future__ import annotations

import rich_click as click

from adapters.decision import Committed
from domain.event import CREDITS_MAX
from service.bootstrap import Service
from service.cli.account_change import Change, account_argument, account_change, carry_out
from service.cli.accounts import accounts
from service.cli.arguments import read_time
from service.identifiers import new_id, parse_id
from service.ledgers import Asked


@accounts.command()
@account_argument
@click.argument("credits_", metavar="CREDITS", type=click.IntRange(1, CREDITS_MAX))
@click.option("--expires", help="Given back by itself at this time (ISO 8601 with an offset).")
@account_change(keyed=True)
def hold(change: Change, credits_: int, expires: str | None) -> None:
    """Set CREDITS aside for something outside of Tallystick; it counts as an active task."""
    hold_id, expires_at = new_id(), read_time("--expires", expires)

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.ledgers.hold(
            asked, hold_id, amount=credits_, reason=change.reason, expires_at=expires_at
        )

    carry_out(change, work, hold_id=hold_id)


@accounts.command()
@account_argument
@click.argument("hold")
@click.option(
    "--credits",
    "added",
    type=click.IntRange(0, CREDITS_MAX),
    default=0,
    help="So many more.",
)
@click.option("--expires", help="Until this later time (ISO 8601 with an offset).")
@account_change(keyed=True)
def extend(change: Change, hold: str, added: int, expires: str | None) -> None:
    """Hold more credits with HOLD, or for longer, or both."""
    hold_id, expires_at = parse_id("hold", hold), read_time("--expires", expires)
    if not added and expires_at is None:
        raise click.UsageError("Give --credits or --expires.")

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.holds.extend(
            asked, hold_id, added=added, expires_at=expires_at, reason=change.reason
        )

    carry_out(change, work, hold_id=hold_id)


@accounts.command()
@account_argument
@click.argument("hold")
@click.option(
    "--credits",
    "amount",
    type=click.IntRange(0, CREDITS_MAX),
    help="All that is held, if not given; the rest goes back.",
)
@account_change(keyed=True)
def capture(change: Change, hold: str, amount: int | None) -> None:
    """Charge HOLD, whole or in part."""
    hold_id = parse_id("hold", hold)

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.holds.capture(asked, hold_id, amount=amount, reason=change.reason)

    carry_out(change, work)


@accounts.command()
@account_argument
@click.argument("hold")
@account_change(keyed=True)
def release(change: Change, hold: str) -> None:
    """Give all of HOLD back."""
    hold_id = parse_id("hold", hold)

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.holds.release(asked, hold_id, reason=change.reason)

    carry_out(change, work)
