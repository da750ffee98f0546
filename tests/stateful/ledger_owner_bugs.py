"""Bugs to plant in whom credits are held for: groups' slots, outsiders, and what an end repeats."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from msgspec.structs import replace

from domain import balance, ledger_book, ledger_holds, ledger_state
from domain.errors import HoldNotYours
from domain.ledger import CaptureHold, CreditLedger, ExtendHold, ReleaseHold
from domain.ledger_book import Book
from domain.ledger_events import CreditsCaptured, CreditsHeld, Hold, LedgerEvent
from tests.stateful.ledger_patches import change_decider, change_fields

Patch = pytest.MonkeyPatch
Settling = ExtendHold | CaptureHold | ReleaseHold


def _change_ends(patch: Patch, **instead: object) -> None:
    """What every end of a hold repeats of it."""
    repeated = ledger_book.ending_of
    for module in (ledger_book, ledger_holds):
        patch.setattr(module, "ending_of", lambda hold: repeated(hold) | instead)


def slots_not_given_back(patch: Patch) -> None:
    _change_ends(patch, slots=1)


def end_forgets_its_task(patch: Patch) -> None:
    _change_ends(patch, task_id=None)


def end_forgets_its_group(patch: Patch) -> None:
    _change_ends(patch, group_id=None)


def end_forgets_the_type(patch: Patch) -> None:
    _change_ends(patch, task_type=None)


def _change_limits(patch: Patch, **instead: int) -> None:
    guard = ledger_holds._guard_limits
    patch.setattr(
        ledger_holds,
        "_guard_limits",
        lambda state, command, at: guard(state, replace(command, **instead), at),
    )


def group_asks_for_one_slot(patch: Patch) -> None:
    _change_limits(patch, slots=1)


def group_asks_for_one_task_of_the_day(patch: Patch) -> None:
    _change_limits(patch, tasks=1)


def group_counts_as_one_active(patch: Patch) -> None:
    held = balance._held
    changed: dict[type, Any] = {
        **balance._CHANGES,
        CreditsHeld: lambda b, e: held(b, replace(e, slots=1)),
    }
    patch.setattr(balance, "_CHANGES", MappingProxyType(changed))


def group_counts_as_one_of_the_day(patch: Patch) -> None:
    held = ledger_state._held
    change_fields(patch, CreditsHeld, lambda state, event: held(state, replace(event, tasks=1)))


def snapshot_counts_holds_as_active(patch: Patch) -> None:
    restored = ledger_state._restored_balance
    patch.setattr(
        ledger_state,
        "_restored_balance",
        lambda event: replace(restored(event), active=len(event.holds)),
    )


def _change_asker(patch: Patch, outside: Callable[[Hold | None, bool], bool]) -> None:
    find = ledger_holds._hold_of

    def changed(book: Book, command: Settling, trigger: str) -> Hold:
        told = outside(book.ledger.holds.get(command.hold_id), command.outside)
        return find(book, replace(command, outside=told), trigger)

    patch.setattr(ledger_holds, "_hold_of", changed)


def outsiders_settle_every_hold(patch: Patch) -> None:
    _change_asker(patch, lambda _, __: False)


def outsiders_settle_groups(patch: Patch) -> None:
    _change_asker(patch, lambda hold, outside: outside and not (hold and hold.group_id))


def tasks_settle_no_hold_of_theirs(patch: Patch) -> None:
    _change_asker(patch, lambda _, __: True)


def outsiders_refused_their_own(patch: Patch) -> None:
    """As if every hold were a task's."""
    find = ledger_holds._hold_of

    def changed(book: Book, command: Settling, trigger: str) -> Hold:
        hold = find(book, command, trigger)
        if command.outside:
            raise HoldNotYours(trigger, hold.id)
        return hold

    patch.setattr(ledger_holds, "_hold_of", changed)


def outsiders_refused_before_the_hold_is_looked_for(patch: Patch) -> None:
    for command_type in (ExtendHold, CaptureHold, ReleaseHold):
        change_decider(patch, command_type, _hasty)


def _hasty(book: Book, command: Settling) -> None:
    if command.outside and command.hold_id not in book.ledger.holds:
        raise HoldNotYours("settle", command.hold_id)
    decide: dict[type, Callable[[Book, Any], None]] = {
        ExtendHold: ledger_holds.extended,
        CaptureHold: ledger_holds.captured,
        ReleaseHold: ledger_holds.released,
    }
    decide[type(command)](book, command)


def what_is_returned_is_not_counted(patch: Patch) -> None:
    """The figures of a part capture do not come to what was frozen."""
    add = Book.add

    def lossy(book: Book, event: LedgerEvent) -> None:
        add(book, replace(event, released=0) if isinstance(event, CreditsCaptured) else event)

    patch.setattr(Book, "add", lossy)


def hold_of_a_group_stays(patch: Patch) -> None:
    """After its end."""
    without = ledger_state._without_hold

    def kept(state: CreditLedger, hold_id: Any) -> dict[str, Any]:
        hold = state.holds[hold_id]
        return {"holds": state.holds} if hold.group_id else without(state, hold_id)

    patch.setattr(ledger_state, "_without_hold", kept)


OWNER_BUGS: list[Callable[[Patch], None]] = [
    slots_not_given_back,
    end_forgets_its_task,
    end_forgets_its_group,
    end_forgets_the_type,
    group_asks_for_one_slot,
    group_asks_for_one_task_of_the_day,
    group_counts_as_one_active,
    group_counts_as_one_of_the_day,
    snapshot_counts_holds_as_active,
    outsiders_settle_every_hold,
    outsiders_settle_groups,
    tasks_settle_no_hold_of_theirs,
    outsiders_refused_their_own,
    outsiders_refused_before_the_hold_is_looked_for,
    what_is_returned_is_not_counted,
    hold_of_a_group_stays,
]
