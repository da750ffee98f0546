"""How accounts, their grants and their holds are shown to people."""

from __future__ import annotations

from collections.abc import Sequence

from service.cli.output import print_fields, print_table, say
from tallystick.models import Account, Grant, Hold

_APART = {"as_of", "limits", "storage"}


def show_account(account: Account) -> None:
    """With its grants and open holds where it is one of the past."""
    fields = {name: getattr(account, name) for name in account.__struct_fields__}
    shown = {name: value for name, value in fields.items() if name not in _APART}
    limits = account.limits
    if limits is not None:
        active, daily = limits.active_tasks, limits.daily_tasks
        shown["active tasks"] = f"{active.used} of {active.maximum}"
        shown["tasks that day" if account.as_of else "tasks today"] = (
            f"{daily.used} of {daily.maximum}"
        )
    if account.storage is not None:
        stored, bytes_max = account.storage.stored_bytes, account.storage.stored_bytes_max
        shown["stored bytes"] = f"{stored}" if bytes_max is None else f"{stored} of {bytes_max}"
    print_fields(shown)
    if account.as_of is not None:
        _show_past(account)


def _show_past(account: Account) -> None:
    as_of = account.as_of
    assert as_of is not None, "it is of the past"
    say(f"As of {as_of.at:%Y-%m-%d %H:%M:%S} UTC, version {as_of.version}.")
    for due in as_of.settled:
        say(f"Due by then, and not in the log yet: {due.type} of {due.amount}.")
    show_grants_and_holds(as_of.grants, as_of.holds)


def show_grants_and_holds(grants: Sequence[Grant], holds: Sequence[Hold]) -> None:
    """Nothing where there are none."""
    if grants:
        print_table(
            {
                "grant": lambda g: g.id,
                "kind": lambda g: g.kind,
                "remaining": lambda g: g.remaining,
                "held": lambda g: g.held,
                "expires": lambda g: g.expires_at,
            },
            grants,
        )
    if holds:
        print_table(
            {
                "hold": lambda h: h.id,
                "amount": lambda h: h.amount,
                "for": lambda h: h.group_id or h.task_id,
                "expires": lambda h: h.expires_at,
            },
            holds,
        )
