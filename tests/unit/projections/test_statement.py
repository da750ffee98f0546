"""Each line of a statement says what one event did to one account, and what was left after it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import balance
from domain.balance import Balance
from domain.event import Event
from domain.ledger_events import (
    AccountOpened,
    CreditsCaptured,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
)
from projections import statement
from projections.statement import STATEMENT, Line
from tests.histories import History
from tests.unit.domain.given import ACCOUNT_ID, HOLD_ID, NOON, TASK_ID, metadata

GRANT_ID = UUID(int=9)


@given(seed=st.integers(0, 2**32))
def test_every_line_leaves_the_balance_that_the_ledger_has_at_that_version(seed: int) -> None:
    balances: dict[UUID, Balance] = {}
    lines: dict[UUID, Line] = {}
    for event in History(seed, accounts=2).grow(80).events:
        account_id = event.originator_id
        if event.TOPIC.startswith("task."):
            continue
        balances[account_id] = balance.evolve(balances.get(account_id), event)
        if STATEMENT.key(event) is None:
            continue
        before = lines.get(account_id)
        line = lines[account_id] = statement.evolve(before, event)
        after = balances[account_id]
        assert (line.account_id, line.version) == (account_id, event.originator_version)
        assert (line.available, line.held) == (after.available, after.held)
        assert line.available - (before.available if before else 0) == line.available_change
        assert line.held - (before.held if before else 0) == line.held_change
        assert line.task_id == getattr(event, "task_id", None)


def test_a_grant_names_its_payment_and_reason() -> None:
    event = CreditsGranted(
        originator_id=ACCOUNT_ID,
        originator_version=2,
        meta=metadata(),
        grant_id=GRANT_ID,
        kind="paid",
        amount=100,
        priority=1,
        source_ref="invoice 7",
        reason="spring",
    )
    assert statement.evolve(None, event) == Line(
        account_id=ACCOUNT_ID,
        version=2,
        at=NOON,
        kind="granted",
        amount=100,
        available_change=100,
        held_change=0,
        available=100,
        held=0,
        actor="tester",
        correlation_id=metadata().correlation_id,
        grant_id=GRANT_ID,
        source_ref="invoice 7",
        reason="spring",
    )


@pytest.mark.parametrize(
    ("event", "kind", "amount", "available", "held"),
    [
        (CreditsHeld, "held", 30, -30, 30),
        (CreditsCaptured, "captured", 30, 5, -35),
        (CreditsReleased, "released", 30, 30, -30),
    ],
)
def test_a_movement_names_its_task_and_hold(
    event: Callable[..., Event], kind: str, amount: int, available: int, held: int
) -> None:
    fields = {"released": 5} if kind == "captured" else {}
    moved = event(
        originator_id=ACCOUNT_ID,
        originator_version=3,
        meta=metadata(),
        hold_id=HOLD_ID,
        task_id=TASK_ID,
        amount=amount,
        **fields,
    )
    line = statement.evolve(None, moved)
    assert (line.kind, line.amount) == (kind, amount)
    assert (line.available_change, line.held_change) == (available, held)
    assert (line.task_id, line.hold_id, line.grant_id) == (TASK_ID, HOLD_ID, None)


def test_an_event_that_moves_no_credits_has_no_line() -> None:
    opened = AccountOpened(
        originator_id=ACCOUNT_ID, originator_version=1, meta=metadata(), plan="standard"
    )
    assert STATEMENT.key(opened) is None
    with pytest.raises(TypeError, match="AccountOpened moves no credits"):
        statement.evolve(None, opened)
