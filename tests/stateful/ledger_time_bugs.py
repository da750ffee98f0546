"""Bugs to plant in what time brings, in trials, in accounts, and in what is kept of a ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from immutables import Map
from msgspec.structs import replace

from domain import (
    grants,
    ledger,
    ledger_book,
    ledger_grants,
    ledger_holds,
    ledger_settlement,
    ledger_state,
)
from domain.event import Event
from domain.ledger import CreditLedger
from domain.ledger_book import Book
from domain.ledger_events import (
    CreditsGranted,
    CreditsLow,
    CreditsMatured,
    CreditsReleased,
    CreditsVoided,
    Grant,
    HoldExpired,
    PeriodClosed,
)
from tests.stateful.ledger_patches import (
    change_decider,
    change_due,
    change_fold,
    change_held,
    change_whole,
    keep_trials,
)

Patch = pytest.MonkeyPatch
MOMENT = timedelta(microseconds=1)


# What comes and goes


def expired_credits_spendable(patch: Patch) -> None:
    change_due(patch, lambda grant, due: None if grant.expires_at == due else due)


def expired_while_held_stays(patch: Patch) -> None:
    """What comes back after its grant's end is not looked at again."""
    once = ledger_settlement.settle_due

    def settle_due(book: Book, _: int | None = None) -> None:
        if not book.events or book.events[-1].TOPIC in {"credits.matured", "credits.expired"}:
            once(book)

    patch.setattr(ledger, "settle_due", settle_due)


def spent_before_it_begins(patch: Patch) -> None:
    burn = grants.burn
    patch.setattr(
        ledger_holds,
        "burn",
        lambda kept, amount: burn(tuple(replace(g, pending=False) for g in kept), amount),
    )


def matured_credits_not_available(patch: Patch) -> None:
    def lossy(before: CreditLedger, _: Event, after: CreditLedger) -> CreditLedger:
        told = replace(after.balance, available=before.balance.available)
        return replace(after, balance=told)

    change_fold(patch, CreditsMatured, lossy)


def earliest_end_ignored(patch: Patch) -> None:
    key = grants.burn_key
    patch.setattr(grants, "burn_key", lambda grant: (grant.priority, *key(grant)[2:]))


def no_end_burns_first(patch: Patch) -> None:
    def key(grant: Grant) -> tuple[Any, ...]:
        ends = grant.expires_at
        order = (grant.priority, ends is not None, ends, grants._BURN_RANK[grant.kind])
        return order if ends is not None else (grant.priority, False, grants._BURN_RANK[grant.kind])

    patch.setattr(grants, "burn_key", key)


def void_leaves_held_usable(patch: Patch) -> None:
    """What is held of a voided grant comes back as if nothing had been."""
    marked = ledger_state._with

    def unmarked(kept: grants.Grants, grant_id: Any, **fields: bool) -> grants.Grants:
        return kept if fields.get("voided") else marked(kept, grant_id, **fields)

    patch.setattr(ledger_state, "_with", unmarked)


def voided_again(patch: Patch) -> None:
    """Quiet is what the second one should be."""
    change_fold(
        patch,
        CreditsVoided,
        lambda before, _, after: replace(after, voided=before.voided),
    )


def rollover_carries_all(patch: Patch) -> None:
    granted = ledger_grants.granted
    change_decider(
        patch,
        ledger.GrantCredits,
        lambda book, command: granted(book, replace(command, rollover_max=10**6)),
    )


def rollover_keeps_the_grant_before(patch: Patch) -> None:
    def generous(book: Book, ended: UUID | None, credits_max: int) -> int:
        free = sum(g.remaining for g in book.ledger.grants if g.id == ended)
        return min(free, credits_max)

    patch.setattr(ledger_grants, "_rolled_over", generous)


def rollover_leaves_held_usable(patch: Patch) -> None:
    change_fold(
        patch,
        CreditsGranted,
        lambda before, event, after: replace(
            after,
            voided=before.voided,
            grants=tuple(
                replace(grant, voided=grant.voided and grant.id != event.rolls_over)
                for grant in after.grants
            ),
        ),
    )


def adjusted_twice(patch: Patch) -> None:
    adjusted = ledger_grants.adjusted
    numbers = count()

    def again(book: Book, command: ledger.AdjustCredits) -> None:
        adjusted(book, replace(command, source_ref=f"{command.source_ref} {next(numbers)}"))

    change_decider(patch, ledger.AdjustCredits, again)


def settled_out_of_order(patch: Patch) -> None:
    """All grants first and then all holds, whichever came earlier."""
    pending = ledger_settlement._Settlement._next
    patch.setattr(
        ledger_settlement._Settlement,
        "_next",
        lambda settlement: None if pending(settlement) is None else settlement._book.meta.at,
    )


# Trials


def one_trial_too_many(patch: Patch) -> None:
    change_held(patch, lambda plan: replace(plan, trial_tasks=plan.trial_tasks + 1))


def one_trial_too_few(patch: Patch) -> None:
    change_held(patch, lambda plan: replace(plan, trial_tasks=max(0, plan.trial_tasks - 1)))


def failed_trial_is_lost(patch: Patch) -> None:
    keep_trials(patch, CreditsReleased)


def expired_trial_is_lost(patch: Patch) -> None:
    keep_trials(patch, HoldExpired)


# The account


def closed_with_holds(patch: Patch) -> None:
    patch.setattr(CreditLedger, "settled", property(lambda state: state.balance.available >= 0))


def closed_in_debt(patch: Patch) -> None:
    patch.setattr(CreditLedger, "settled", property(lambda state: not state.holds))


def held_while_frozen(patch: Patch) -> None:
    table = dict(ledger.ACCOUNT.table)
    edge = {("hold", "frozen"): table["capture", "frozen"]}
    patch.setattr(ledger.ACCOUNT, "table", table | edge)


def told_with_every_hold(patch: Patch) -> None:
    change_fold(patch, CreditsLow, lambda _, __, after: replace(after, told_at=None))


def told_only_once_ever(patch: Patch) -> None:
    patch.setattr(ledger_state, "_heard", lambda state, _: state)


def told_of_nothing_left_only_where_few_are_told(patch: Patch) -> None:
    tell_owner = ledger_book.tell_owner

    def tell(book: Book, low: int | None) -> None:
        if low is not None:
            tell_owner(book, low)

    patch.setattr(ledger, "tell_owner", tell)


def told_again_by_what_is_gone(patch: Patch) -> None:
    """What comes back to a grant that has expired is there for an instant."""
    patch.setattr(ledger_state, "_lasting", lambda state, _: state.balance.available)


# What is kept


def books_close_loses_refunds(patch: Patch) -> None:
    change_fold(patch, PeriodClosed, lambda _, __, after: replace(after, refunds=Map()))


def books_close_keeps_old_refunds(patch: Patch) -> None:
    patch.setattr(ledger, "REFUND_DAYS_MAX", 10_000)


def books_close_loses_holds(patch: Patch) -> None:
    change_whole(patch, "books", holds=())


def snapshot_loses_overdrawn(patch: Patch) -> None:
    change_whole(patch, "snapshot", overdrawn=0)


def snapshot_loses_trials(patch: Patch) -> None:
    change_whole(patch, "snapshot", trials=0)


def snapshot_loses_what_was_told(patch: Patch) -> None:
    change_whole(patch, "snapshot", told_at=None)


def snapshot_loses_voided_grants(patch: Patch) -> None:
    change_whole(patch, "snapshot", voided_grants=())


def books_closed_twice(patch: Patch) -> None:
    change_fold(patch, PeriodClosed, lambda before, _, after: replace(after, period=before.period))


TIME_BUGS: list[Callable[[Patch], None]] = [
    expired_credits_spendable,
    expired_while_held_stays,
    spent_before_it_begins,
    matured_credits_not_available,
    earliest_end_ignored,
    no_end_burns_first,
    void_leaves_held_usable,
    voided_again,
    rollover_carries_all,
    rollover_keeps_the_grant_before,
    rollover_leaves_held_usable,
    adjusted_twice,
    settled_out_of_order,
    one_trial_too_many,
    one_trial_too_few,
    failed_trial_is_lost,
    expired_trial_is_lost,
    closed_with_holds,
    closed_in_debt,
    held_while_frozen,
    told_with_every_hold,
    told_only_once_ever,
    told_of_nothing_left_only_where_few_are_told,
    told_again_by_what_is_gone,
    books_close_loses_refunds,
    books_close_keeps_old_refunds,
    books_close_loses_holds,
    snapshot_loses_overdrawn,
    snapshot_loses_trials,
    snapshot_loses_what_was_told,
    snapshot_loses_voided_grants,
    books_closed_twice,
]
