"""Inline: every account's credits as they are now. The ledger's own fold makes the row."""

from __future__ import annotations

from typing import get_args

from domain import balance
from domain.balance import Balance
from domain.ledger_events import LedgerEvent
from projections.projection import Projection

NAME = "accounts"
VERSION = 1
ACCOUNTS = Projection(
    name=NAME,
    version=VERSION,
    row=Balance,
    events=frozenset(get_args(LedgerEvent)),
    evolve=balance.evolve,
)
