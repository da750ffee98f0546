"""The credits of one account: grants bring in, holds set aside, captures charge, refunds undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, get_args

from domain import ledger_grants, ledger_holds
from domain.errors import AccountUnsettled, AlreadyExists, NotFound
from domain.event import Metadata
from domain.ledger_book import Book, tell_owner
from domain.ledger_commands import (
    GRANT_PRIORITY_DEFAULT,
    AdjustCredits,
    CaptureHold,
    ChangePlan,
    CloseAccount,
    CloseBooks,
    ExtendHold,
    FreezeAccount,
    GrantCredits,
    HoldCredits,
    LedgerCommand,
    OpenAccount,
    RefundCapture,
    ReleaseHold,
    SettleDue,
    UnfreezeAccount,
    VoidGrant,
)
from domain.ledger_events import (
    OVERDRAFT,
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    CreditsVoided,
    LedgerEvent,
    PeriodClosed,
    PlanChanged,
    Slice,
)
from domain.ledger_machines import ACCOUNT, ACTIVE_RETRY_SECONDS, GRANTS_MAX, HOLD, REFUND_DAYS_MAX
from domain.ledger_settlement import settle_due
from domain.ledger_state import CreditLedger, evolve, evolved, snapshot, whole
from domain.plan import Plan

__all__ = [
    "ACCOUNT",
    "ACTIVE_RETRY_SECONDS",
    "GRANTS_MAX",
    "GRANT_PRIORITY_DEFAULT",
    "HOLD",
    "REFUND_DAYS_MAX",
    "AdjustCredits",
    "CaptureHold",
    "ChangePlan",
    "CloseAccount",
    "CloseBooks",
    "CreditLedger",
    "ExtendHold",
    "FreezeAccount",
    "GrantCredits",
    "HoldCredits",
    "LedgerCommand",
    "OpenAccount",
    "RefundCapture",
    "ReleaseHold",
    "SettleDue",
    "UnfreezeAccount",
    "VoidGrant",
    "decide",
    "evolve",
    "evolved",
    "snapshot",
]


_TOLD = frozenset(
    {HoldCredits, ExtendHold, VoidGrant, AdjustCredits, SettleDue, GrantCredits, ChangePlan}
)
"""Commands after which there may be few credits where time has done nothing."""


def decide(
    ledger: CreditLedger | None,
    command: LedgerCommand,
    meta: Metadata,
    plan: Plan | None = None,
) -> tuple[LedgerEvent, ...]:
    """Events that `command` leads to; none when it was carried out before.

    `plan` is the account's from here on, by which its owner is told of few credits; holds and
    extensions bring their own. Without one the owner is told only of having none.

    What time has brought by `meta.at` (grants that mature or expire, holds that expire) is settled
    first, in the same events, and again after it. Refusals, in this order, after `NotFound` and
    `IllegalTransition`:
    a grant's are `InvalidInput` (amount, priority, rollover, times), then quiet for a known
    `source_ref`,
    `AlreadyExists` (grant id), `InvalidInput` (the account's sum), `LimitReached`;
    a hold's are `InvalidInput` (amount), then quiet for the same open hold, `AlreadyExists`
    (another one of that id), `InvalidInput` (its end), `LimitReached` (holds, active, then daily),
    `InsufficientCredits`, `LimitReached` (slices);
    an extension's are `HoldNotFound`, `HoldNotYours`, `InvalidInput`, `InsufficientCredits`,
    `LimitReached` (slices);
    a capture's are `HoldNotFound`, `HoldNotYours`, `CaptureExceedsHold`;
    a release's are `HoldNotFound`, `HoldNotYours`;
    a refund's are `InvalidInput` (amount, age), `IllegalTransition` (all of it was refunded),
    `RefundExceedsCapture`, `InvalidInput` (the account's sum), `LimitReached` (captures with
    refunds); a void's are `NotFound`, after quiet for one that was voided before, and
    `LimitReached`;
    an adjustment's are `InvalidInput`, then quiet, then those of a grant or `InsufficientCredits`
    and `LimitReached` (slices);
    a closing's is `AccountUnsettled`.
    """
    if isinstance(command, OpenAccount):
        return (_opened(ledger, command, meta),)
    if ledger is None:
        raise NotFound("There is no such account.")
    book = Book(ledger, meta)
    events_max = command.events_max if isinstance(command, SettleDue) else None
    if ledger.dated:
        settle_due(book, events_max)
    due = len(book.events)
    dated = ledger.dated or isinstance(command, RefundCapture)
    _DECIDERS[type(command)](book, command)
    if not book.events or (len(book.events) == due and not isinstance(command, SettleDue)):
        return ()
    if dated:
        settle_due(book, events_max)
    if dated or type(command) in _TOLD:
        known = command.plan if isinstance(command, HoldCredits | ExtendHold) else plan
        tell_owner(book, None if known is None else known.low_credits)
    return tuple(book.events)


def _opened(ledger: CreditLedger | None, command: OpenAccount, meta: Metadata) -> AccountOpened:
    if ledger is not None:
        raise AlreadyExists("There is an account of that id already.")
    return AccountOpened(
        originator_id=command.account_id,
        originator_version=1,
        meta=meta,
        plan=command.plan,
        name=command.name,
        reason=command.reason,
    )


# The account.


def _plan_changed(book: Book, command: ChangePlan) -> None:
    ACCOUNT.target("change_plan", book.ledger.status)
    if command.plan != book.ledger.balance.plan:
        book.write(PlanChanged, plan=command.plan, reason=command.reason)


def _frozen(book: Book, command: FreezeAccount) -> None:
    if book.ledger.status == "frozen":
        return
    ACCOUNT.target("freeze", book.ledger.status)
    book.write(AccountFrozen, reason=command.reason)


def _unfrozen(book: Book, command: UnfreezeAccount) -> None:
    if book.ledger.status == "open":
        return
    ACCOUNT.target("unfreeze", book.ledger.status)
    book.write(AccountUnfrozen, reason=command.reason)


def _closed(book: Book, command: CloseAccount) -> None:
    ledger = book.ledger
    if ledger.status == "closed":
        return
    ACCOUNT.target("close", ledger.status)
    if not ledger.settled:
        raise AccountUnsettled(len(ledger.holds), ledger.balance.available)
    for grant in ledger.grants:
        ledger_grants.void(book, grant, command.reason)
    if left := book.ledger.balance.available:
        slices = (Slice(OVERDRAFT, left),)
        book.write(CreditsVoided, amount=left, slices=slices, reason=command.reason)
    book.write(AccountClosed, reason=command.reason)


def _books_closed(book: Book, command: CloseBooks) -> None:
    ledger = book.ledger
    ACCOUNT.target("close_books", ledger.status)
    if ledger.period is not None and command.period <= ledger.period:
        return
    since = book.meta.at - timedelta(days=REFUND_DAYS_MAX)
    fields = whole(ledger) | {
        "updated_at": book.meta.at,
        "period": command.period,
        "reason": command.reason,
    }
    fields["refunds"] = tuple(r for r in ledger.refunds.values() if r.captured_at >= since)
    book.write(PeriodClosed, **fields)


def _due_settled(_: Book, __: SettleDue) -> None:
    """All of it was done before."""


_DECIDERS: Mapping[type, Callable[[Book, Any], None]] = MappingProxyType(
    {
        ChangePlan: _plan_changed,
        FreezeAccount: _frozen,
        UnfreezeAccount: _unfrozen,
        CloseAccount: _closed,
        GrantCredits: ledger_grants.granted,
        VoidGrant: ledger_grants.grant_voided,
        AdjustCredits: ledger_grants.adjusted,
        HoldCredits: ledger_holds.held,
        ExtendHold: ledger_holds.extended,
        CaptureHold: ledger_holds.captured,
        ReleaseHold: ledger_holds.released,
        RefundCapture: ledger_holds.refunded,
        SettleDue: _due_settled,
        CloseBooks: _books_closed,
    }
)
assert {OpenAccount, *_DECIDERS} == set(get_args(LedgerCommand)), "each command has its decider"
