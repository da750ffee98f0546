"""`tallystick grant`: credits for an account, straight in the database."""

from __future__ import annotations

from typing import get_args

import rich_click as click

from domain.event import COUNT_MAX, CREDITS_MAX, NAME_LENGTH_MAX
from domain.ledger import GRANT_PRIORITY_DEFAULT, GrantCredits
from domain.ledger_events import GrantKind
from service.cli.account_change import Change, account_argument, account_change, command_on
from service.cli.arguments import read_time, text_of
from service.identifiers import new_id, parse_id


@click.command()
@account_argument
@click.argument("credits_", metavar="CREDITS", type=click.IntRange(1, CREDITS_MAX))
@click.option(
    "--kind",
    type=click.Choice(get_args(GrantKind)),
    default="paid",
    show_default=True,
    help="What the credits are.",
)
@click.option(
    "--reference",
    callback=text_of(NAME_LENGTH_MAX),
    help="Your own reference, such as an invoice number: it grants only once.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, COUNT_MAX),
    default=GRANT_PRIORITY_DEFAULT,
    show_default=True,
    help="The lowest is spent first.",
)
@click.option("--effective", help="From this time on (ISO 8601 with an offset); now by default.")
@click.option("--expires", help="Until this time (ISO 8601 with an offset); without it, for ever.")
@click.option("--rolls-over", metavar="GRANT", help="A grant that ends with this one.")
@click.option(
    "--rollover-max",
    type=click.IntRange(0, CREDITS_MAX),
    default=0,
    help="Up to so many of its free credits come along.",
)
@account_change()
def grant(
    change: Change,
    credits_: int,
    kind: GrantKind,
    reference: str | None,
    priority: int,
    effective: str | None,
    expires: str | None,
    rolls_over: str | None,
    rollover_max: int,
) -> None:
    """Grant CREDITS to an account."""
    command = GrantCredits(
        grant_id=new_id(),
        kind=kind,
        amount=credits_,
        source_ref=reference or f"cli-{new_id().hex}",
        priority=priority,
        reason=change.reason,
        effective_at=read_time("--effective", effective),
        expires_at=read_time("--expires", expires),
        rolls_over=parse_id("grant", rolls_over) if rolls_over else None,
        rollover_max=rollover_max,
    )
    command_on(change, command)
