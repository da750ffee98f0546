"""`tallystick books`: the trial balance and what was posted over time, for operators."""

from __future__ import annotations

from datetime import date

import rich_click as click

from adapters.books import Bucket, PeriodTotal, TrialBalance
from service.books import DAY_LAST, span_of, totals, trial_balance
from service.bootstrap import Service
from service.cli.administration import with_service
from service.cli.exits import Exit
from service.cli.output import json_option, print_json, print_table, say
from service.http.books import trial_balance_resource
from service.identifiers import public_id

BUCKETS: tuple[Bucket, ...] = ("day", "month", "total")


@click.group()
def books() -> None:
    """Prove the books of the service, straight from the database."""


@books.command("trial-balance")
@click.option("--day", "day_text", help="As of the end of this UTC day, such as 2026-11-30.")
@json_option
@click.pass_context
def show_trial_balance(ctx: click.Context, day_text: str | None, as_json: bool) -> None:
    """Show every account of the books, and prove them: exit status 1 if they do not hold."""
    day = _day("--day", day_text)
    if day is not None and day > DAY_LAST:
        raise click.UsageError(f"--day must be at most {DAY_LAST}.")

    async def work(service: Service) -> TrialBalance:
        return await trial_balance(service.books, day)

    found = with_service(work)
    if as_json:
        print_json(trial_balance_resource(found))
    else:
        _show(found)
    if not _holds(found):
        ctx.exit(Exit.FAILED)


@books.command("totals")
@click.option("--since", "since_text", help="From this UTC day; 31 days before the end by default.")
@click.option("--until", "until_text", help="Up to before this UTC day; with today by default.")
@click.option(
    "--bucket",
    type=click.Choice(BUCKETS),
    default="day",
    show_default=True,
    help="How the days are added up.",
)
@json_option
def show_totals(
    since_text: str | None, until_text: str | None, bucket: Bucket, as_json: bool
) -> None:
    """Show what was posted to each account, by task type."""
    since, until = _day("--since", since_text), _day("--until", until_text)

    async def work(service: Service) -> list[PeriodTotal]:
        return await totals(service.books, span_of(service.clock.now(), since, until), bucket)

    found = with_service(work)
    if as_json:
        for total in found:
            print_json(total)
        return
    print_table(
        {
            "from": lambda t: t.begins.date(),
            "account": lambda t: t.account,
            "type": lambda t: t.task_type,
            "debits": lambda t: t.debits,
            "credits": lambda t: t.credits,
        },
        found,
    )


def _day(option: str, text: str | None) -> date | None:
    """Raises `UsageError` for what is no day."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}.") from error


def _holds(found: TrialBalance) -> bool:
    customers = found.customers
    return found.balanced and (customers is None or (customers.equal and customers.posted))


def _show(found: TrialBalance) -> None:
    print_table(
        {
            "account": lambda line: line.account,
            "side": lambda line: line.side,
            "debits": lambda line: line.debits,
            "credits": lambda line: line.credits,
            "balance": lambda line: line.balance,
        },
        found.accounts,
    )
    sign = "=" if found.balanced else "IS NOT"
    say(f"Up to position {found.position}: {found.debits} debits {sign} {found.credits} credits.")
    if found.position < found.head:
        say(f"The journal is behind the log, which ends at position {found.head}.")
    if found.parked_streams:
        say(f"The journal has set {found.parked_streams} accounts aside.")
    _say_customers(found)


def _say_customers(found: TrialBalance) -> None:
    customers = found.customers
    if customers is None:
        say("The customers were not compared: that is done as of now.")
        return
    if not customers.posted:
        say("The totals by day ARE NOT the sums of the customers' books.")
    for one in customers.sums:
        if one.journal != one.accounts:
            say(f"{one.name}: the journal has {one.journal}, the accounts {one.accounts}.")
    say(f"{customers.compared} customers were compared, {customers.differing} differ.")
    for account_id in customers.differing_ids:
        say(f"Differs: {public_id('acct', account_id)}.")
