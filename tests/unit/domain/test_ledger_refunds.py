"""Refunds to grants that had left the ledger, and holds that outsiders may not settle."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from domain import ledger
from domain.errors import HoldNotYours, HoldSettled, InvalidInput
from domain.event import CREDITS_MAX
from domain.ledger import (
    CaptureHold,
    CreditLedger,
    ExtendHold,
    HoldCredits,
    LedgerCommand,
    RefundCapture,
    ReleaseHold,
    VoidGrant,
    snapshot,
)
from domain.ledger_events import CreditsCaptured, CreditsGranted, LedgerSnapshot
from tests.unit.domain.given import (
    HOLD_ID,
    NOON,
    ROOMY,
    a_ledger,
    fold_ledger,
    grant,
    hold,
    metadata,
)

META = metadata(NOON)
HELD = HoldCredits(hold_id=HOLD_ID, amount=7, plan=ROOMY)
GRANT_ID = grant(10).grant_id


def _done(before: CreditLedger, *commands: LedgerCommand) -> tuple[CreditLedger, list[object]]:
    state: CreditLedger = before
    events: list[object] = []
    for command in commands:
        decided = ledger.decide(state, command, META)
        state = fold_ledger(decided, state)
        events += decided
    return state, events


def _spent_in_two_pieces() -> tuple[CreditLedger, CreditsCaptured, dict[UUID, CreditsGranted]]:
    """A grant of 10, all of it charged by one hold that was extended."""
    opened = a_ledger()
    extension = ExtendHold(hold_id=HOLD_ID, plan=ROOMY, added=3)
    capture = CaptureHold(hold_id=HOLD_ID, amount=None)
    state, events = _done(opened, grant(10), HELD, extension, capture)
    granted, captured = events[0], events[-1]
    assert isinstance(granted, CreditsGranted)
    assert isinstance(captured, CreditsCaptured)
    assert state.grants == ()
    return state, captured, {granted.grant_id: granted}


def test_a_spent_grant_of_several_slices_comes_back_once() -> None:
    state, capture, grants = _spent_in_two_pieces()

    refund = RefundCapture(capture=capture, amount=None, reason="r", grants=grants)
    state, _ = _done(state, refund)

    assert [(g.id, g.remaining) for g in state.grants] == [(GRANT_ID, 10)]
    assert state.balance.available == 10


def test_nothing_comes_back_to_a_grant_that_was_voided_and_had_left() -> None:
    opened = a_ledger()
    void = VoidGrant(grant_id=GRANT_ID, reason="bounced")
    state, events = _done(opened, grant(10), HELD, CaptureHold(hold_id=HOLD_ID, amount=7), void)
    granted, captured = events[0], events[2]
    assert isinstance(granted, CreditsGranted)
    assert isinstance(captured, CreditsCaptured)
    assert state.grants == ()
    restored = ledger.evolve(None, snapshot(state, META))

    refund = RefundCapture(capture=captured, amount=5, reason="r", grants={GRANT_ID: granted})
    for before in (state, restored):
        after, _ = _done(before, refund)
        assert (after.balance.available, after.balance.voided, after.balance.refunded) == (0, 8, 5)
        assert after.grants == ()


@pytest.mark.parametrize(
    "command",
    [
        ExtendHold(hold_id=HOLD_ID, plan=ROOMY, added=1, outside=True),
        CaptureHold(hold_id=HOLD_ID, amount=1, outside=True),
        ReleaseHold(hold_id=HOLD_ID, outside=True),
    ],
    ids=lambda command: type(command).__name__,
)
def test_the_hold_of_a_task_is_settled_with_its_task_alone(command: LedgerCommand) -> None:
    with pytest.raises(HoldNotYours):
        ledger.decide(a_ledger(grant(10), hold(7)), command, META)
    assert ledger.decide(a_ledger(grant(10), HELD), command, META)


def test_a_hold_that_expires_with_the_very_command_says_so() -> None:
    later = NOON + timedelta(hours=1)
    expiring = HoldCredits(hold_id=HOLD_ID, amount=7, plan=ROOMY, expires_at=later)
    state, _ = _done(a_ledger(), grant(10), expiring)
    with pytest.raises(HoldSettled) as refusal:
        ledger.decide(state, CaptureHold(hold_id=HOLD_ID, amount=1), metadata(later))
    assert refusal.value.state == "expired"


def test_all_refunds_of_an_account_stay_a_number_that_its_books_can_carry() -> None:
    """The same credits may be charged and refunded again and again."""
    state, captured, grants = _spent_in_two_pieces()
    before = replace(state, balance=replace(state.balance, refunded=CREDITS_MAX - 4))
    refund = RefundCapture(capture=captured, amount=5, reason="r", grants=grants)
    with pytest.raises(InvalidInput, match="Too many credits would be refunded") as refused:
        ledger.decide(before, refund, META)
    assert [where for where, _ in refused.value.errors] == ["/amount"]
    full, _ = _done(before, replace(refund, amount=4))
    assert full.balance.refunded == CREDITS_MAX
    encoded = msgspec.json.encode(snapshot(full, META))
    assert msgspec.json.decode(encoded, type=LedgerSnapshot).refunded == CREDITS_MAX
