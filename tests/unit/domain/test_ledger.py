"""What each command of a ledger writes, and the order of its refusals."""

from __future__ import annotations

from uuid import UUID

import pytest
from msgspec.structs import replace

from domain import ledger
from domain.errors import (
    AlreadyExists,
    CaptureExceedsHold,
    DomainError,
    HoldNotFound,
    IllegalTransition,
    InsufficientCredits,
    InvalidInput,
    LimitReached,
    NotFound,
)
from domain.event import COUNT_MAX, CREDITS_MAX
from domain.ledger import GRANTS_MAX, CaptureHold, CreditLedger, LedgerCommand, ReleaseHold
from domain.ledger_events import (
    AccountOpened,
    CreditsCaptured,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
    Slice,
)
from domain.task_events import TaskCancelRequested
from tests.unit.domain.given import (
    ACCOUNT_ID,
    HOLD_ID,
    OPENING,
    PLAN,
    ROOMY,
    TASK_ID,
    a_ledger,
    after,
    fold_ledger,
    grant,
    hold,
    metadata,
)
from tests.unit.domain.ledger_decisions import LATER, META, decide_one, holds, settled


def amounts(state: CreditLedger) -> tuple[int, int, int, int, int]:
    """granted, available, held, captured, active."""
    b = state.balance
    assert b.granted == b.available + b.held + b.captured
    assert b.available == sum(g.remaining for g in state.grants)
    assert b.held == sum(g.held for g in state.grants)
    assert b.active == len(state.holds)
    return b.granted, b.available, b.held, b.captured, b.active


def test_an_account_opens_empty() -> None:
    event = decide_one(None, OPENING)
    assert event == AccountOpened(
        originator_id=ACCOUNT_ID, originator_version=1, meta=META, plan="standard", name="Ada"
    )
    state = fold_ledger([event])
    assert amounts(state) == (0, 0, 0, 0, 0)
    assert (state.balance.opened_at, state.balance.updated_at) == (LATER, LATER)
    assert (state.balance.plan, state.balance.name, state.status) == ("standard", "Ada", "open")


def test_a_grant_brings_credits_in() -> None:
    event = decide_one(a_ledger(), replace(grant(50), reason="invoice 7"))
    assert event == CreditsGranted(
        originator_id=ACCOUNT_ID,
        originator_version=2,
        meta=META,
        grant_id=UUID(int=1001),
        kind="paid",
        amount=50,
        priority=100,
        source_ref="payment 1",
        reason="invoice 7",
    )
    state = fold_ledger([event], a_ledger())
    assert amounts(state) == (50, 50, 0, 0, 0)
    assert state.balance.updated_at == LATER


def test_one_source_is_one_grant() -> None:
    before = a_ledger(grant(50))
    assert ledger.decide(before, grant(50), META) == ()
    assert ledger.decide(before, grant(70, number=2, source_ref="payment 1"), META) == ()


@pytest.mark.parametrize("amount", [-1, 0, CREDITS_MAX + 1])
def test_a_grant_has_bounds(amount: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        ledger.decide(a_ledger(), grant(amount), META)
    assert refusal.value.errors == (("/amount", f"must be 1 to {CREDITS_MAX}"),)


@pytest.mark.parametrize("amount", [1, CREDITS_MAX])
def test_a_grant_may_be_as_small_or_large_as_its_bounds(amount: int) -> None:
    assert amounts(a_ledger(grant(amount)))[0] == amount


@pytest.mark.parametrize("priority", [-1, COUNT_MAX + 1])
def test_a_grants_priority_has_bounds(priority: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        ledger.decide(a_ledger(), grant(1, priority=priority), META)
    assert refusal.value.errors == (("/priority", f"must be 0 to {COUNT_MAX}"),)
    for allowed in (0, COUNT_MAX):
        assert a_ledger(grant(1, priority=allowed)).grants[0].priority == allowed


def test_all_grants_together_have_a_bound() -> None:
    almost = a_ledger(grant(CREDITS_MAX - 1))
    assert amounts(after(almost, grant(1, number=2)))[0] == CREDITS_MAX
    with pytest.raises(InvalidInput) as refusal:
        ledger.decide(almost, grant(2, number=2), META)
    assert refusal.value.errors == (("/amount", "is too large"),)


def test_a_grants_id_is_not_used_twice() -> None:
    """Two grants of one id would both move when a slice of one does."""
    with pytest.raises(AlreadyExists):
        ledger.decide(a_ledger(grant(5)), grant(5, source_ref="another payment"), META)


def test_the_number_of_live_grants_is_bounded() -> None:
    one = a_ledger(grant(1)).grants[0]
    full = replace(a_ledger(grant(1)), grants=(one,) * GRANTS_MAX)
    with pytest.raises(LimitReached) as refusal:
        ledger.decide(full, grant(1, number=2), META)
    assert (refusal.value.limit, refusal.value.maximum) == ("grants_max", 10_000)
    assert refusal.value.retry_after_seconds is None
    assert ledger.decide(replace(full, grants=full.grants[1:]), grant(1, number=2), META)


def test_a_hold_sets_credits_aside() -> None:
    before = a_ledger(grant(50))
    event = decide_one(before, hold(20))
    assert event == CreditsHeld(
        originator_id=ACCOUNT_ID,
        originator_version=3,
        meta=META,
        hold_id=HOLD_ID,
        task_id=TASK_ID,
        amount=20,
        slices=(Slice(UUID(int=1001), 20),),
    )
    state = fold_ledger([event], before)
    assert amounts(state) == (50, 30, 20, 0, 1)
    assert state.holds[HOLD_ID].held_at == LATER
    assert state.balance.updated_at == LATER


def test_a_hold_may_take_the_last_credit_and_no_more() -> None:
    before = a_ledger(grant(50))
    assert amounts(after(before, hold(50))) == (50, 0, 50, 0, 1)
    with pytest.raises(InsufficientCredits) as refusal:
        ledger.decide(before, hold(51), META)
    assert (refusal.value.required, refusal.value.available) == (51, 50)


def test_a_hold_of_nothing_counts_as_an_active_task() -> None:
    state = a_ledger(hold(0))
    assert amounts(state) == (0, 0, 0, 0, 1)
    assert amounts(after(state, CaptureHold(hold_id=HOLD_ID, amount=0))) == (0, 0, 0, 0, 0)


def test_a_negative_hold_is_refused() -> None:
    with pytest.raises(InvalidInput) as refusal:
        ledger.decide(a_ledger(grant(50)), hold(-1), META)
    assert refusal.value.errors == (("/amount", "must be 0 or more"),)


def test_the_same_hold_again_is_quiet_even_at_the_limits() -> None:
    before = a_ledger(grant(10), hold(10))
    assert ledger.decide(before, hold(10, plan=replace(PLAN, active_tasks_max=0)), META) == ()


@pytest.mark.parametrize("other", [hold(9), hold(10, task_id=UUID(int=77))], ids=["sum", "task"])
def test_an_open_holds_id_is_not_used_for_another(other: LedgerCommand) -> None:
    """Two tasks on one hold would leave the second unpaid."""
    with pytest.raises(AlreadyExists):
        ledger.decide(a_ledger(grant(50), hold(10)), other, META)


def test_a_capture_of_the_whole_hold_charges_it() -> None:
    before = a_ledger(grant(50), hold(20))
    event = decide_one(before, CaptureHold(hold_id=HOLD_ID, amount=20))
    assert event == CreditsCaptured(
        originator_id=ACCOUNT_ID,
        originator_version=4,
        meta=META,
        hold_id=HOLD_ID,
        task_id=TASK_ID,
        amount=20,
        slices=(Slice(UUID(int=1001), 20),),
    )
    state = fold_ledger([event], before)
    assert amounts(state) == (50, 30, 0, 20, 0)
    assert state.balance.updated_at == LATER


def test_a_capture_of_a_part_gives_the_rest_back_to_its_grants() -> None:
    before = a_ledger(grant(5), grant(50, number=2), hold(20))
    event = decide_one(before, CaptureHold(hold_id=HOLD_ID, amount=7))
    assert isinstance(event, CreditsCaptured)
    assert event.slices == (Slice(UUID(int=1001), 5), Slice(UUID(int=1002), 2))
    assert (event.released, event.released_slices) == (13, (Slice(UUID(int=1002), 13),))
    state = fold_ledger([event], before)
    assert amounts(state) == (55, 48, 0, 7, 0)
    assert [(g.id.int, g.remaining) for g in state.grants] == [(1002, 48)]


@pytest.mark.parametrize("amount", [-1, 21])
def test_a_capture_stays_within_the_hold(amount: int) -> None:
    with pytest.raises(CaptureExceedsHold) as refusal:
        ledger.decide(
            a_ledger(grant(50), hold(20)), CaptureHold(hold_id=HOLD_ID, amount=amount), META
        )
    assert (refusal.value.amount, refusal.value.held) == (amount, 20)


def test_a_release_gives_all_back_to_its_grants() -> None:
    before = a_ledger(grant(5), grant(50, number=2), hold(20))
    event = decide_one(before, ReleaseHold(hold_id=HOLD_ID, reason="task.failed"))
    assert event == CreditsReleased(
        originator_id=ACCOUNT_ID,
        originator_version=5,
        meta=META,
        hold_id=HOLD_ID,
        task_id=TASK_ID,
        amount=20,
        slices=(Slice(UUID(int=1001), 5), Slice(UUID(int=1002), 15)),
        reason="task.failed",
    )
    state = fold_ledger([event], before)
    assert amounts(state) == (55, 55, 0, 0, 0)
    assert state.grants == a_ledger(grant(5), grant(50, number=2)).grants
    assert state.balance.updated_at == LATER


def test_a_hold_that_is_not_there_is_named() -> None:
    with pytest.raises(HoldNotFound) as refusal:
        ledger.decide(a_ledger(), ReleaseHold(hold_id=HOLD_ID), META)
    assert refusal.value.hold_id == HOLD_ID


CLOSED = replace(
    a_ledger(grant(50), hold(20)), balance=replace(a_ledger().balance, version=3, status="closed")
)


@pytest.mark.parametrize(
    ("trigger", "command"),
    [
        ("grant", grant(0)),
        ("hold", hold(-1)),
        ("capture", CaptureHold(hold_id=UUID(int=0), amount=-1)),
        ("release", ReleaseHold(hold_id=UUID(int=0))),
    ],
    ids=["grant", "hold", "capture", "release"],
)
def test_a_state_without_the_edge_refuses_before_the_command_is_looked_at(
    trigger: str, command: LedgerCommand
) -> None:
    with pytest.raises(IllegalTransition) as refusal:
        ledger.decide(CLOSED, command, META)
    assert (refusal.value.trigger, refusal.value.state) == (trigger, "closed")


def test_a_hold_ends_only_by_the_edges_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger.HOLD, "table", {})
    for command in (CaptureHold(hold_id=HOLD_ID, amount=1), ReleaseHold(hold_id=HOLD_ID)):
        with pytest.raises(IllegalTransition):
            ledger.decide(a_ledger(grant(50), hold(20)), command, META)


def test_settling_one_hold_leaves_the_others() -> None:
    state = a_ledger(grant(50), hold(20), hold(10, number=1), hold(5, number=2))
    state = after(state, CaptureHold(hold_id=hold(number=1).hold_id, amount=10))
    assert amounts(state) == (50, 15, 25, 10, 2)
    assert set(state.holds) == {HOLD_ID, hold(number=2).hold_id}


# Refusals in order: each command breaks the rule of its row and every later one it can.
FULL = a_ledger(grant(5), *settled(2, first=20), *holds(3, first=10))
DAY_SPENT = a_ledger(grant(5), *settled(5, first=10))
PRECEDENCE: list[tuple[str, CreditLedger | None, LedgerCommand]] = [
    ("not_found", None, hold(-1)),
    ("invalid_input", FULL, hold(-1, number=10, plan=PLAN)),
    ("already_exists", FULL, hold(99, number=10, plan=PLAN)),
    ("active_tasks_max", FULL, hold(99, plan=PLAN)),
    ("daily_tasks_max", DAY_SPENT, hold(99, plan=PLAN)),
    ("insufficient_credits", DAY_SPENT, hold(99)),
    ("not_found", None, grant(0)),
    ("must be 1 to", a_ledger(grant(5)), grant(0, priority=-1)),
    ("must be 0 to", a_ledger(grant(5)), grant(CREDITS_MAX, priority=-1)),
    ("already_exists", a_ledger(grant(5)), grant(CREDITS_MAX, source_ref="new")),
    ("is too large", a_ledger(grant(5)), grant(CREDITS_MAX, number=2)),
    ("not_found", None, CaptureHold(hold_id=HOLD_ID, amount=-1)),
    ("hold_not_found", a_ledger(), CaptureHold(hold_id=HOLD_ID, amount=-1)),
    ("capture_exceeds_hold", a_ledger(hold(0)), CaptureHold(hold_id=HOLD_ID, amount=-1)),
    ("not_found", None, ReleaseHold(hold_id=HOLD_ID)),
    ("hold_not_found", a_ledger(), ReleaseHold(hold_id=HOLD_ID)),
    ("already_exists", a_ledger(), OPENING),
]


@pytest.mark.parametrize(("refusal", "before", "command"), PRECEDENCE)
def test_refusals_come_in_their_order(
    refusal: str, before: CreditLedger | None, command: LedgerCommand
) -> None:
    with pytest.raises(DomainError) as refused:
        ledger.decide(before, command, META)
    assert refusal in told_by(refused.value)


def told_by(error: DomainError) -> str:
    """Code, limit and sentences of a refusal."""
    limit = error.limit if isinstance(error, LimitReached) else ""
    sentences = [s for _, s in error.errors] if isinstance(error, InvalidInput) else []
    return " ".join([error.code, limit, *sentences])


def test_the_plans_limits_are_read_from_the_command() -> None:
    """A plan that grew lets the same ledger go on at once."""
    assert ledger.decide(FULL, hold(1, plan=ROOMY), META)


def test_only_events_of_a_ledger_are_folded() -> None:
    foreign = TaskCancelRequested(originator_id=ACCOUNT_ID, originator_version=2, meta=META)
    with pytest.raises(TypeError, match="TaskCancelRequested"):
        ledger.evolve(a_ledger(), foreign)
    with pytest.raises(AssertionError):
        ledger.evolve(None, decide_one(a_ledger(), grant(1)))
    with pytest.raises(NotFound):
        ledger.decide(None, grant(1), META)


def test_a_snapshot_gives_the_whole_state_back() -> None:
    state = a_ledger(grant(5), grant(50, number=2, kind="trial"), hold(20), hold(3, number=1))
    state = after(state, CaptureHold(hold_id=HOLD_ID, amount=4), at=LATER)
    event = ledger.snapshot(state, metadata())
    assert (event.originator_id, event.originator_version) == (ACCOUNT_ID, state.version)
    assert fold_ledger([event]) == state
    tail = ledger.decide(state, hold(1, number=2), META)
    assert fold_ledger([event, *tail]) == fold_ledger(tail, state)
