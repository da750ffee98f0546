"""Each refusal of each command of a ledger, in the documented order: one row a refusal.

Each command breaks the rule of its row and every later one that it can at the same time, so a row
shows that its refusal is the one that is told.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import get_args
from uuid import UUID

import pytest
from immutables import Map
from msgspec.structs import replace

from domain import ledger, ledger_book, ledger_grants, ledger_holds
from domain.errors import (
    AccountUnsettled,
    DomainError,
    HoldSettled,
    IllegalTransition,
    InsufficientCredits,
    InvalidInput,
    LimitReached,
    NotFound,
)
from domain.event import COUNT_MAX, CREDITS_MAX
from domain.ledger import (
    GRANTS_MAX,
    AdjustCredits,
    CaptureHold,
    ChangePlan,
    CloseAccount,
    CloseBooks,
    CreditLedger,
    ExtendHold,
    FreezeAccount,
    LedgerCommand,
    RefundCapture,
    ReleaseHold,
    SettleDue,
    UnfreezeAccount,
    VoidGrant,
)
from domain.ledger_events import CreditsCaptured
from tests.unit.domain.given import (
    HOLD_ID,
    NOON,
    OPENING,
    PLAN,
    ROOMY,
    a_ledger,
    after,
    fold_ledger,
    grant,
    hold,
    metadata,
)

LATER = NOON + timedelta(hours=1)
TOO_LATE = NOON + timedelta(days=400, microseconds=1)
NOBODYS = UUID(int=77)
OUTSIDE = replace(hold(7), task_id=None)
FOR_A_GROUP = replace(OUTSIDE, group_id=NOBODYS)
DATED = replace(OUTSIDE, expires_at=LATER)
OWING = replace(ROOMY, overdraft_max=5)
GONE = replace(grant(1), expires_at=NOON)
GRANT_ID = grant(1).grant_id

FRESH = a_ledger()
FUNDED = a_ledger(grant(50))
CLOSED = a_ledger(grant(50), CloseAccount(reason="left"))
FROZEN = a_ledger(grant(50), OUTSIDE, FreezeAccount(reason="disputed"))
MOST = a_ledger(grant(CREDITS_MAX))
FULL = replace(MOST, grants=MOST.grants * GRANTS_MAX)
"""Of as many grants as there may be; and the account could hold no credit more."""
MANY = replace(FUNDED, grants=FUNDED.grants * GRANTS_MAX)
RICH = a_ledger(grant(2_000))
PIECES = tuple(replace(RICH.grants[0], id=UUID(int=n), remaining=1) for n in range(1, 2_001))
VOIDING = replace(FUNDED, voided=Map({UUID(int=10**6 + n): None for n in range(20_000)}))
SLICED = replace(RICH, grants=PIECES)
"""Of credits that each came in by itself."""
HOLDING = a_ledger(grant(50), OUTSIDE)
OF_A_TASK = a_ledger(grant(50), hold(7))
OF_A_GROUP = a_ledger(grant(50), FOR_A_GROUP)
EXPIRING = a_ledger(grant(50), DATED)
BUSY = a_ledger(*(hold(0, number=number) for number in range(3)))
CROWDED = replace(
    BUSY, holds=Map({UUID(int=10_000 + n): BUSY.holds[HOLD_ID] for n in range(10**5)})
)
SPENT_DAY = a_ledger(
    *(c for n in range(5) for c in (hold(0, number=n), ReleaseHold(hold_id=hold(number=n).hold_id)))
)


def _captured() -> CreditsCaptured:
    [event] = ledger.decide(HOLDING, CaptureHold(hold_id=HOLD_ID, amount=None), metadata())
    assert isinstance(event, CreditsCaptured)
    return event


def _refund(amount: int | None) -> RefundCapture:
    return RefundCapture(capture=_captured(), amount=amount, reason="r")


def _adjust(amount: int, *, number: int = 9) -> AdjustCredits:
    return AdjustCredits(
        adjustment_id=UUID(int=1000 + number), amount=amount, source_ref="ticket", reason="r"
    )


def _extend(added: int = 0, **fields: object) -> ExtendHold:
    return replace(ExtendHold(hold_id=HOLD_ID, plan=PLAN, added=added), **fields)


def _capture(amount: int, **fields: object) -> CaptureHold:
    return replace(CaptureHold(hold_id=HOLD_ID, amount=amount), **fields)


DECIDING = (ledger, ledger_book, ledger_grants, ledger_holds)
SAID: dict[type[DomainError], tuple[str, ...]] = {
    IllegalTransition: ("trigger", "state"),
    LimitReached: ("limit", "maximum"),
    InsufficientCredits: ("required", "available"),
    AccountUnsettled: ("holds", "available"),
    HoldSettled: ("state",),
}
CHARGED = fold_ledger([_captured()], HOLDING)
REFUNDED = after(CHARGED, _refund(7))
REFUNDING = replace(
    CHARGED,
    refunds=Map({UUID(int=10**6 + n): REFUNDED.refunds[HOLD_ID] for n in range(20_000)}),
)
"""Of as many captures with refunds as there may be."""
REFUNDED_UP = replace(REFUNDING, balance=replace(REFUNDING.balance, refunded=CREDITS_MAX - 6))
CLOSING = CloseAccount(reason="left")
RELEASE = ReleaseHold(hold_id=HOLD_ID, outside=True)
Row = tuple[str, CreditLedger | None, LedgerCommand]
ROWS: list[Row] = [
    ("already_exists", CLOSED, OPENING),
    # The account itself.
    ("illegal_transition change_plan closed", CLOSED, ChangePlan(plan="golden")),
    ("illegal_transition change_plan frozen", FROZEN, ChangePlan(plan="golden")),
    ("illegal_transition freeze closed", CLOSED, FreezeAccount(reason="")),
    ("illegal_transition unfreeze closed", CLOSED, UnfreezeAccount(reason="")),
    ("account_unsettled 1 43", HOLDING, CLOSING),
    ("account_unsettled 1 -5", a_ledger(grant(2), replace(OUTSIDE, plan=OWING)), CLOSING),
    (
        "account_unsettled 0 -5",
        a_ledger(grant(2), replace(OUTSIDE, plan=OWING), _capture(7)),
        CLOSING,
    ),
    ("illegal_transition close_books closed", CLOSED, CloseBooks(period="")),
    # What comes in.
    ("illegal_transition grant closed", CLOSED, replace(GONE, amount=0)),
    ("invalid_input /amount must be 1 to", FULL, replace(GONE, amount=0, priority=-1)),
    (
        "invalid_input /amount must be 1 to",
        FULL,
        replace(GONE, amount=CREDITS_MAX + 1, priority=-1),
    ),
    (
        "invalid_input /priority must be 0 to",
        FULL,
        replace(GONE, priority=COUNT_MAX + 1, rollover_max=-1),
    ),
    ("invalid_input /rollover_max", FULL, replace(GONE, rollover_max=-1)),
    ("invalid_input /rollover_max", FULL, replace(GONE, rollover_max=CREDITS_MAX + 1)),
    ("invalid_input /expires_at is too early", FULL, GONE),
    (
        "invalid_input /expires_at is too early",
        FULL,
        replace(grant(1), effective_at=LATER, expires_at=LATER),
    ),
    ("quiet", FULL, grant(1)),
    ("already_exists", FULL, grant(1, source_ref="another")),
    ("invalid_input /amount is too large", FULL, grant(1, number=2)),
    ("limit_reached grants_max 10000", MANY, grant(1, number=2)),
    (
        "limit_reached voided_max 20000",
        VOIDING,
        replace(grant(1, number=2), rolls_over=GRANT_ID),
    ),
    # What is taken back.
    ("illegal_transition void closed", CLOSED, VoidGrant(grant_id=NOBODYS, reason="")),
    ("not_found grant", VOIDING, VoidGrant(grant_id=NOBODYS, reason="")),
    ("quiet", VOIDING, VoidGrant(grant_id=UUID(int=10**6), reason="")),
    ("limit_reached voided_max 20000", VOIDING, VoidGrant(grant_id=GRANT_ID, reason="")),
    ("illegal_transition adjust closed", CLOSED, _adjust(0)),
    ("invalid_input /amount must not be 0", FULL, _adjust(0)),
    ("invalid_input /amount must not be 0", FULL, _adjust(-CREDITS_MAX - 1)),
    ("invalid_input /amount must be 1 to", FULL, _adjust(CREDITS_MAX + 1)),
    ("quiet", after(FRESH, _adjust(1, number=2)), _adjust(-99)),
    ("quiet", after(FRESH, _adjust(1)), _adjust(CREDITS_MAX)),
    ("already_exists", FULL, _adjust(1, number=1)),
    ("invalid_input /amount is too large", FULL, _adjust(1)),
    ("limit_reached grants_max 10000", MANY, _adjust(1)),
    ("insufficient_credits 51 50", FUNDED, _adjust(-51)),
    ("limit_reached hold_slices_max 1000", SLICED, _adjust(-1_001)),
    # Holds.
    ("illegal_transition hold closed", CLOSED, hold(-1)),
    ("illegal_transition hold frozen", FROZEN, hold(-1)),
    ("invalid_input /amount must be 0", BUSY, replace(hold(-1, plan=PLAN), expires_at=NOON)),
    ("quiet", BUSY, replace(hold(0, plan=PLAN), expires_at=NOON)),
    ("already_exists", BUSY, replace(hold(99, plan=PLAN), expires_at=NOON)),
    ("already_exists", BUSY, replace(hold(0, plan=PLAN), task_id=NOBODYS)),
    ("already_exists", BUSY, replace(hold(0, plan=PLAN), group_id=NOBODYS)),
    (
        "invalid_input /expires_at is in the past",
        BUSY,
        replace(hold(99, number=9, plan=PLAN), expires_at=NOON, tasks=9),
    ),
    (
        "limit_reached holds_max 100000",
        CROWDED,
        replace(hold(99, number=10**6, plan=PLAN), tasks=9),
    ),
    (
        "limit_reached active_tasks_max 3",
        BUSY,
        replace(hold(99, number=9, plan=PLAN), tasks=9),
    ),
    (
        "limit_reached active_tasks_max 3",
        FRESH,
        replace(FOR_A_GROUP, amount=99, plan=PLAN, slots=4, tasks=9),
    ),
    ("limit_reached daily_tasks_max 5", SPENT_DAY, hold(99, plan=PLAN)),
    (
        "limit_reached daily_tasks_max 5",
        FRESH,
        replace(FOR_A_GROUP, amount=99, plan=PLAN, slots=3, tasks=6),
    ),
    ("insufficient_credits 51 50", FUNDED, hold(51, plan=PLAN)),
    ("insufficient_credits 56 50", FUNDED, hold(56, plan=OWING)),
    ("limit_reached hold_slices_max 1000", SLICED, hold(1_001)),
    (
        "limit_reached held_slices_max 200000",
        replace(SLICED, held_slices=199_001),
        hold(1_000),
    ),
    ("illegal_transition extend closed", CLOSED, _extend(-1)),
    ("illegal_transition extend frozen", FROZEN, _extend(-1)),
    ("hold_not_found", FUNDED, _extend(-1, outside=True, expires_at=NOON)),
    ("hold_settled expired", EXPIRING, _extend(-1, expires_at=NOON)),
    ("hold_not_yours", OF_A_TASK, _extend(-1, outside=True, expires_at=NOON)),
    ("hold_not_yours", OF_A_GROUP, _extend(-1, outside=True, expires_at=NOON)),
    ("invalid_input /added must be 0", HOLDING, _extend(-1, expires_at=NOON)),
    ("invalid_input /expires_at is in the past", HOLDING, _extend(99, expires_at=NOON)),
    ("invalid_input /expires_at is before its end", HOLDING, _extend(99, expires_at=TOO_LATE)),
    ("insufficient_credits 44 43", HOLDING, _extend(44)),
    (
        "limit_reached hold_slices_max 1000",
        after(SLICED, replace(hold(7), task_id=None)),
        _extend(994),
    ),
    ("illegal_transition capture closed", CLOSED, _capture(-1)),
    ("hold_not_found", FUNDED, _capture(-1, outside=True)),
    ("hold_settled expired", EXPIRING, _capture(-1, outside=True)),
    ("hold_not_yours", OF_A_TASK, _capture(-1, outside=True)),
    ("hold_not_yours", OF_A_GROUP, _capture(8, outside=True)),
    ("capture_exceeds_hold", HOLDING, _capture(-1, outside=True)),
    ("capture_exceeds_hold", OF_A_GROUP, _capture(8)),
    ("illegal_transition release closed", CLOSED, RELEASE),
    ("hold_not_found", FUNDED, RELEASE),
    ("hold_settled expired", EXPIRING, RELEASE),
    ("hold_not_yours", OF_A_TASK, RELEASE),
    ("hold_not_yours", OF_A_GROUP, RELEASE),
    # What is given back.
    ("illegal_transition refund closed", CLOSED, _refund(0)),
    ("invalid_input /amount must be 1", REFUNDED, _refund(0)),
    ("invalid_input /hold_id was charged more than 400 days ago", REFUNDED, _refund(99)),
    ("illegal_transition refund refunded", REFUNDED, _refund(99)),
    ("illegal_transition refund refunded", REFUNDED, _refund(None)),
    ("refund_exceeds_capture", CHARGED, _refund(8)),
    ("refund_exceeds_capture", after(CHARGED, _refund(3)), _refund(5)),
    ("refund_exceeds_capture", REFUNDED_UP, _refund(8)),
    ("invalid_input /amount would bring all refunds", REFUNDED_UP, _refund(7)),
    ("limit_reached refunds_max 20000", REFUNDING, _refund(7)),
]
ROWS += [
    ("not_found account", None, command)
    for command in (
        *(ChangePlan(plan=""), FreezeAccount(reason=""), UnfreezeAccount(reason=""), CLOSING),
        *(grant(0), VoidGrant(grant_id=NOBODYS, reason=""), _adjust(0), hold(-1), _extend(-1)),
        *(_capture(-1), RELEASE, _refund(0), SettleDue(), CloseBooks(period="")),
    )
]


def _refusal(row: Row) -> DomainError | None:
    """What `decide` raises; None where it is quiet."""
    told, state, command = row
    at = TOO_LATE if "400 days" in told else LATER if state is EXPIRING else NOON
    try:
        assert ledger.decide(state, command, metadata(at)) == ()
    except DomainError as refusal:
        return refusal
    return None


def _told(refusal: DomainError | None) -> str:
    """Its code, and what it says beyond it."""
    if refusal is None:
        return "quiet"
    said: tuple[str, ...]
    if isinstance(refusal, InvalidInput):
        [said] = refusal.errors
    elif isinstance(refusal, NotFound):
        said = ("grant" if "grant" in str(refusal) else "account",)
    else:
        said = tuple(str(getattr(refusal, name)) for name in SAID.get(type(refusal), ()))
    return " ".join([refusal.code, *said])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{type(row[2]).__name__} {row[0]}")
def test_the_first_reason_in_the_documented_order_is_told(row: Row) -> None:
    assert _told(_refusal(row)).startswith(row[0])


def test_only_limits_that_time_lifts_say_when_to_try_again() -> None:
    limits = {
        refusal.limit: refusal.retry_after_seconds
        for refusal in map(_refusal, ROWS)
        if isinstance(refusal, LimitReached)
    }
    lasting = {limit for limit, seconds in limits.items() if seconds is None}
    assert lasting == {"grants_max", "voided_max", "hold_slices_max", "refunds_max"}
    assert limits.keys() - lasting == {
        *("holds_max", "active_tasks_max", "daily_tasks_max", "held_slices_max"),
    }


def test_every_command_has_its_rows() -> None:
    never_refused_but_for_want_of_an_account = {SettleDue}
    known = {type(command) for told, _, command in ROWS if told != "not_found account"}
    assert known | never_refused_but_for_want_of_an_account == set(get_args(LedgerCommand))


def test_every_refusal_in_the_code_has_its_row() -> None:
    raised = {
        (Path(frame.filename).name, frame.lineno)
        for row in ROWS
        for refusal in (_refusal(row),)
        if refusal is not None
        for frame in extract_tb(refusal.__traceback__)
    }
    assert [at for module in DECIDING for at in _raising(module) if at not in raised] == []


def _raising(module: ModuleType) -> Iterator[tuple[str, int]]:
    """Where it refuses."""
    path = Path(str(module.__file__))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise):
            yield path.name, node.lineno
