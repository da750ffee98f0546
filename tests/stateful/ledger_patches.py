"""How bugs are planted in the ledger: in what a command writes, and in what an event assigns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from msgspec.structs import replace

from domain import (
    grants,
    ledger,
    ledger_book,
    ledger_holds,
    ledger_settlement,
    ledger_state,
)
from domain.event import Event
from domain.ledger import CreditLedger, HoldCredits
from domain.ledger_book import Book
from domain.ledger_events import (
    Grant,
)
from domain.plan import Plan

Patch = pytest.MonkeyPatch
MOMENT = timedelta(microseconds=1)


def change_decider(patch: Patch, command_type: type, decide: Callable[[Book, Any], None]) -> None:
    deciders = {**ledger._DECIDERS, command_type: decide}
    patch.setattr(ledger, "_DECIDERS", MappingProxyType(deciders))


def change_fold(
    patch: Patch,
    event_type: type[Event],
    change: Callable[[CreditLedger, Any, CreditLedger], CreditLedger],
) -> None:
    """`change(before, event, after)` gives the state instead."""
    evolve = ledger_state.evolve

    def changed(before: CreditLedger | None, event: Event) -> CreditLedger:
        after = evolve(before, event)
        if isinstance(event, event_type) and before is not None:
            return change(before, event, after)
        return after

    for module in (ledger_state, ledger_book, ledger):
        patch.setattr(module, "evolve", changed)


def change_fields(
    patch: Patch, event_type: type[Event], fold: Callable[[CreditLedger, Any], Any]
) -> None:
    """The fields that an event of this type assigns."""
    folds: dict[type[Event], Any] = {**ledger_state._FOLDS, event_type: fold}
    patch.setattr(ledger_state, "_FOLDS", MappingProxyType(folds))


def change_plan(patch: Patch, change: Callable[[Plan], Plan]) -> None:
    guard = ledger_holds._guard_available
    patch.setattr(
        ledger_holds,
        "_guard_available",
        lambda state, amount, plan: guard(state, amount, change(plan)),
    )


def change_held(patch: Patch, change: Callable[[Plan], Plan]) -> None:
    def held(book: Book, command: HoldCredits) -> None:
        ledger_holds.held(book, replace(command, plan=change(command.plan)))

    change_decider(patch, HoldCredits, held)


def change_due(patch: Patch, change: Callable[[Grant, datetime | None], datetime | None]) -> None:
    due_at = grants.due_at
    for module in (grants, ledger_settlement, ledger_state):
        patch.setattr(module, "due_at", lambda grant: change(grant, due_at(grant)))


def settle(patch: Patch, at: Callable[[datetime], datetime]) -> None:
    once = ledger_settlement.settle_due

    def settle_due(book: Book, _: int | None = None) -> None:
        meta = book.meta
        book.meta = replace(meta, at=at(meta.at))
        once(book)
        book.meta = meta

    patch.setattr(ledger, "settle_due", settle_due)


def keep_trials(patch: Patch, event_type: type[Event]) -> None:
    change_fold(
        patch,
        event_type,
        lambda before, _, after: replace(
            after, balance=replace(after.balance, trials=before.balance.trials)
        ),
    )


def change_whole(patch: Patch, which: str, **fields: object) -> None:
    """A snapshot, or the closing of the books, with other fields."""
    whole = ledger_state.whole
    module = {"snapshot": ledger_state, "books": ledger}[which]
    patch.setattr(module, "whole", lambda state: whole(state) | fields)
