"""`tallystick accounts show --at`: an account as it was."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from service.cli.account_change import account_shown
from service.cli.account_view import show_account
from service.cli.administration import with_service
from service.cli.output import print_json
from service.http.accounts import past_resource
from service.past_accounts import past_account


def show_past_account(account_id: UUID, at: int | datetime, *, as_json: bool) -> None:
    """With its grants and open holds then, and what was due and not in the log yet."""
    shown = past_resource(with_service(lambda service: past_account(service, account_id, at)))
    if as_json:
        print_json(shown)
    else:
        show_account(account_shown(shown))
