"""`tallystick accounts show --at`: an account as it was."""

from __future__ import annotations

from uuid import UUID

import msgspec

from service.cli.administration import with_service
from service.cli.output import print_fields, print_json, print_table, say
from service.http.accounts import past_resource
from service.past_accounts import past_account


def show_past_account(account_id: UUID, at: str, *, as_json: bool) -> None:
    """With its grants and open holds then, and what was due and not in the log yet."""
    shown = past_resource(with_service(lambda service: past_account(service, account_id, at)))
    if as_json:
        print_json(shown)
        return
    as_of = shown.as_of
    assert not isinstance(as_of, msgspec.UnsetType), "it is of the past"
    fields = {name: getattr(shown, name) for name in shown.__struct_fields__ if name != "as_of"}
    print_fields(fields)
    say(f"As of {as_of.at:%Y-%m-%d %H:%M:%S} UTC, version {as_of.version}.")
    for due in as_of.settled:
        say(f"Due by then, and not in the log yet: {due.type} of {due.amount}.")
    if as_of.grants:
        print_table(
            {
                "grant": lambda g: g.id,
                "kind": lambda g: g.kind,
                "remaining": lambda g: g.remaining,
                "held": lambda g: g.held,
                "expires": lambda g: g.expires_at,
            },
            as_of.grants,
        )
    if as_of.holds:
        print_table(
            {
                "hold": lambda h: h.id,
                "amount": lambda h: h.amount,
                "for": lambda h: h.group_id or h.task_id,
                "expires": lambda h: h.expires_at,
            },
            as_of.holds,
        )
