"""An account's owner hears of few credits, and of none, once each time, whatever led to it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import ledger, metering, task
from domain.event import Event
from domain.ledger import (
    AdjustCredits,
    CaptureHold,
    ChangePlan,
    CloseAccount,
    CloseBooks,
    CreditLedger,
    ExtendHold,
    FreezeAccount,
    GrantCredits,
    LedgerCommand,
    RefundCapture,
    ReleaseHold,
    SettleDue,
    UnfreezeAccount,
    VoidGrant,
)
from domain.ledger_events import CreditsCaptured, CreditsGranted, CreditsLow
from domain.plan import Plan
from tests.unit.domain.given import (
    HOLD_ID,
    NEXT_HOLD_ID,
    NOON,
    a_ledger,
    fold_ledger,
    grant,
    hold,
    metadata,
)

HOUR = timedelta(hours=1)
FEW = Plan(name="few", low_credits=10)
FEWER = replace(FEW, name="fewer", low_credits=5)
SOME = replace(FEW, name="some", low_credits=20)
PASSING = replace(grant(30, number=2), expires_at=NOON + HOUR)
NOTICES = {"credits.low", "credits.exhausted"}


def _told(events: tuple[Event, ...]) -> list[str]:
    return [event.TOPIC for event in events if event.TOPIC in NOTICES]


def _decided(
    before: CreditLedger, command: LedgerCommand, plan: Plan = FEW, *, late: bool = False
) -> tuple[list[str], CreditLedger]:
    """The notices of a command, and the ledger after it."""
    at = NOON + HOUR if late else NOON
    events = ledger.decide(before, command, metadata(at), plan)
    return _told(events), fold_ledger(events, before)


def _captured(state: CreditLedger) -> CreditsCaptured:
    (event,) = ledger.decide(state, CaptureHold(hold_id=HOLD_ID, amount=1), metadata())
    assert isinstance(event, CreditsCaptured)
    return event


def _granted(command: GrantCredits) -> CreditsGranted:
    (event,) = ledger.decide(a_ledger(), command, metadata())
    assert isinstance(event, CreditsGranted)
    return event


LASTING = a_ledger(grant(7), PASSING, hold(1))
"""Seven that last are free beside those that do not, which burn first."""


@pytest.mark.parametrize(
    "command",
    [
        CaptureHold(hold_id=HOLD_ID, amount=1),
        ReleaseHold(hold_id=HOLD_ID),
        grant(1, number=3),
        RefundCapture(
            capture=_captured(LASTING),
            amount=1,
            reason="r",
            grants={PASSING.grant_id: _granted(PASSING)},
        ),
        FreezeAccount(reason="r"),
        CloseBooks(period="2024-01"),
        AdjustCredits(adjustment_id=HOLD_ID, amount=-1, source_ref="a", reason="r"),
        VoidGrant(grant_id=grant(7).grant_id, reason="r"),
        ChangePlan(plan="few", reason="r"),
        ExtendHold(hold_id=HOLD_ID, plan=FEW, added=1),
        hold(1, number=1, plan=FEW),
        SettleDue(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_it_is_told_with_whatever_meets_an_expiry_first(command: LedgerCommand) -> None:
    before = LASTING
    if isinstance(command, RefundCapture):
        before = fold_ledger([command.capture], LASTING)
    told, after = _decided(before, command, late=True)
    assert told[:1] == ["credits.low"]
    assert after.told_at == 10
    again, _ = _decided(after, grant(1, number=6), late=True)
    assert "credits.low" not in again


def test_it_is_told_by_the_end_of_a_task_that_meets_an_expiry_first() -> None:
    submitted = metering.submit(
        None,
        a_ledger(grant(9), PASSING),
        task.SubmitTask(
            task_id=NEXT_HOLD_ID,
            account_id=LASTING.id,
            type="t",
            input=Raw(b"{}"),
            hold_id=HOLD_ID,
            credits=5,
        ),
        FEW,
        metadata(),
    )
    begun, *held = submitted
    started = metering.proceed(
        task.evolve(None, begun), None, task.StartTask(worker="w"), metadata()
    )
    running = task.evolve(task.evolve(None, begun), started[0])
    paying = fold_ledger(held, a_ledger(grant(9), PASSING))
    for end in (
        task.CompleteTask(token=1, result=Raw(b"{}")),
        task.StallTask(token=1),
        task.ExpireTask(),
    ):
        last = replace(running, stalls=running.stalls_max, deadline_at=NOON)
        events = metering.proceed(last, paying, end, metadata(NOON + HOUR), None, FEW)
        assert _told(events) == ["credits.low"], end


def test_a_change_of_plan_tells_by_the_plan_that_it_leads_to() -> None:
    before = a_ledger(grant(15))
    assert _decided(before, ChangePlan(plan="some"), SOME)[0] == ["credits.low"]
    assert _decided(before, ChangePlan(plan="few"), FEW)[0] == []


def test_another_threshold_is_told_of_once_more() -> None:
    _, low = _decided(a_ledger(grant(15)), ChangePlan(plan="some"), SOME)
    told, back = _decided(low, ChangePlan(plan="few"), FEW)
    assert (told, back.told_at) == ([], 20)
    assert _decided(back, hold(5, plan=FEW))[0] == []
    told, few = _decided(back, hold(6, plan=FEW))
    assert (told, few.told_at) == (["credits.low"], 10)
    assert _decided(few, hold(1, number=1, plan=FEW))[0] == []


def test_it_is_told_again_when_there_were_enough_again() -> None:
    _, low = _decided(a_ledger(grant(12), hold(2)), hold(3, number=1, plan=FEW))
    assert low.told_at == 10
    told, more = _decided(low, grant(2, number=4))
    assert (told, more.told_at) == ([], 10)
    told, enough = _decided(more, grant(1, number=5))
    assert (told, enough.told_at) == ([], None)
    assert _decided(enough, hold(1, number=3, plan=FEW))[0] == ["credits.low"]


def test_a_grant_that_leaves_few_is_told_of() -> None:
    assert _decided(a_ledger(), grant(9))[0] == ["credits.low"]
    assert _decided(a_ledger(), grant(10))[0] == []


def test_who_never_had_credits_has_not_few_of_them() -> None:
    before = a_ledger()
    for command in (hold(0, plan=FEW), ChangePlan(plan="some"), FreezeAccount(reason="r")):
        assert _decided(before, command, SOME)[0] == []


def test_an_account_that_ends_is_not_told_of_few_credits() -> None:
    told, after = _decided(a_ledger(grant(9), PASSING), CloseAccount(reason="r"), late=True)
    assert (told, after.status) == ([], "closed")


def test_both_are_told_where_both_have_come() -> None:
    frozen = fold_ledger(
        ledger.decide(a_ledger(PASSING), FreezeAccount(reason="r"), metadata()), a_ledger(PASSING)
    )
    told, after = _decided(frozen, UnfreezeAccount(reason="r"), late=True)
    assert told == ["credits.low", "credits.exhausted"]
    assert (after.told_at, after.told_exhausted) == (10, True)


def test_a_notice_has_what_is_there_after_all_of_the_decision() -> None:
    events = ledger.decide(
        LASTING, CaptureHold(hold_id=HOLD_ID, amount=0), metadata(NOON + HOUR), FEW
    )
    [low] = [event for event in events if isinstance(event, CreditsLow)]
    assert (low.available, low.threshold) == (7, 10)
