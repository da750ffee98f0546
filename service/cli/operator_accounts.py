"""`tallystick accounts` with all its commands, which register themselves by being imported."""

from service.cli import account_history, ledger, outside_hold
from service.cli.accounts import accounts

__all__ = ["account_history", "accounts", "ledger", "outside_hold"]
