"""Every fact of a hold says what type of task its credits are for, where that is one type."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from domain import ledger, metering
from domain.event import Event
from domain.ledger_commands import (
    CaptureHold,
    ExtendHold,
    LedgerCommand,
    RefundCapture,
    ReleaseHold,
    SettleDue,
)
from domain.ledger_events import CreditsCaptured, CreditsHeld
from domain.task import RetryTask
from tests.unit.domain.given import (
    HOLD_ID,
    NEXT_HOLD_ID,
    NOON,
    PLAN,
    ROOMY,
    a_ledger,
    grant,
    hold,
    metadata,
    submission,
    task_in,
)
from tests.unit.domain.given_group import Played, starting

TYPED = replace(hold(30), task_type="upscaling", expires_at=NOON + timedelta(hours=1))
RAISED = ExtendHold(hold_id=HOLD_ID, plan=ROOMY, added=5)


def _types(events: tuple[Event, ...]) -> set[str | None]:
    return {getattr(event, "task_type", None) for event in events}


def test_a_tasks_hold_names_its_type_in_every_run() -> None:
    first = metering.submit(None, a_ledger(grant(100)), submission(), PLAN, metadata())
    assert [e.task_type for e in first if isinstance(e, CreditsHeld)] == [submission().type]
    failed = task_in("failed")
    retry = RetryTask(hold_id=NEXT_HOLD_ID, credits=7)
    again = metering.retry(failed, a_ledger(grant(100)), retry, PLAN, metadata())
    assert [e.task_type for e in again if isinstance(e, CreditsHeld)] == [failed.type]


@pytest.mark.parametrize(
    ("command", "at"),
    [
        (RAISED, NOON),
        (CaptureHold(hold_id=HOLD_ID, amount=10), NOON),
        (ReleaseHold(hold_id=HOLD_ID), NOON),
        (SettleDue(), NOON + timedelta(hours=1)),
    ],
)
def test_what_becomes_of_a_hold_repeats_its_type(command: LedgerCommand, at: object) -> None:
    state = a_ledger(grant(100), TYPED)
    events = ledger.decide(state, command, replace(metadata(), at=at))
    assert _types(events) == {"upscaling"}


def test_a_hold_keeps_its_type_when_it_is_extended_and_refunded() -> None:
    state = a_ledger(grant(100), TYPED, RAISED)
    [charge] = ledger.decide(state, CaptureHold(hold_id=HOLD_ID, amount=35), metadata())
    assert isinstance(charge, CreditsCaptured)
    refund = RefundCapture(capture=charge, amount=3, reason="blurred")
    assert _types(ledger.decide(ledger.evolve(state, charge), refund, metadata())) == {"upscaling"}


def test_a_groups_hold_has_a_type_only_where_all_its_tasks_have_one() -> None:
    one = Played().start().events
    assert [e.task_type for e in one if isinstance(e, CreditsHeld)] == ["image_generation"]
    first, *others = starting().members
    mixed = replace(starting(), members=(replace(first, type="narration"), *others))
    two = Played().start(mixed).events
    assert [e.task_type for e in two if isinstance(e, CreditsHeld)] == [None]
