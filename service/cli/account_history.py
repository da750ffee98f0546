"""`tallystick accounts history`: what happened to an account, straight from the database."""

from __future__ import annotations

import rich_click as click

from adapters.log import BIGINT_MAX
from adapters.queries import PAGE_ROWS_MAX
from service.account_history import facts_before
from service.bootstrap import Service
from service.cli.account_change import account_of
from service.cli.accounts import accounts
from service.cli.administration import with_service
from service.cli.arguments import limit_option
from service.cli.output import json_option, print_json, print_table
from service.http.history import HistoryEntry, history_entry
from service.identifiers import parse_id


@accounts.command()
@click.argument("account")
@click.option(
    "--version",
    type=click.IntRange(min=1, max=BIGINT_MAX - 1),
    help="This fact alone, such as a line of the statement names.",
)
@limit_option(20)
@json_option
def history(account: str, version: int | None, limit: int, as_json: bool) -> None:
    """Show what happened to an account, by whom and why, newest first."""
    account_id = parse_id("acct", account)

    async def work(service: Service) -> list[HistoryEntry]:
        newest = (await account_of(service, account_id)).version
        before, wanted = (newest + 1, limit) if version is None else (version + 1, 1)
        found: list[HistoryEntry] = []
        while before > 1 and len(found) < wanted:
            rows = min(wanted - len(found), PAGE_ROWS_MAX)
            facts = await facts_before(service.log, account_id, before, rows)
            found += [history_entry(fact, None) for fact in facts]
            before = facts[-1].event.originator_version if facts else 1
        return found

    _show(with_service(work), as_json=as_json)


def _show(entries: list[HistoryEntry], *, as_json: bool) -> None:
    if as_json:
        for entry in entries:
            print_json(entry)
        return
    print_table(
        {
            "version": lambda e: e.version,
            "at": lambda e: e.at,
            "event": lambda e: e.type,
            "actor": lambda e: e.actor,
            "reason": lambda e: e.data.get("reason"),
            "amount": lambda e: e.data.get("amount"),
        },
        entries,
    )
