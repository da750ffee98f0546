"""`tallystick accounts` with all its commands, which register themselves by being imported."""

from service.cli import ledger, outside_hold
from service.cli.accounts import accounts

__all__ = ["accounts", "ledger", "outside_hold"]
