"""Inline: every account's credits as they are now. The ledger's own fold makes the row.

The row shows the ledger's `balance` and `due_at`, for which all its grants have to be known.
"""

from __future__ import annotations

from typing import get_args

from domain import ledger
from domain.ledger import CreditLedger
from domain.ledger_events import LedgerEvent
from projections.projection import Projection

NAME = "accounts"
VERSION = 1
ACCOUNTS = Projection(
    name=NAME,
    version=VERSION,
    row=CreditLedger,
    events=frozenset(get_args(LedgerEvent)),
    evolve=ledger.evolve,
)
