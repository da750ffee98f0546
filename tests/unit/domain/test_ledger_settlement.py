"""However much is due at once, settling it is work in proportion, in events of a bounded size."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import FrameType
from typing import Any
from uuid import UUID

import msgspec
import pytest
from immutables import Map
from msgspec.structs import replace

from adapters.committer import CommitterLimits
from domain import ledger
from domain.errors import LimitReached
from domain.grants import in_burn_order
from domain.ledger import (
    GRANTS_MAX,
    AdjustCredits,
    CaptureHold,
    CloseBooks,
    CreditLedger,
    ExtendHold,
    RefundCapture,
    ReleaseHold,
    SettleDue,
    VoidGrant,
)
from domain.ledger_events import (
    CreditsCaptured,
    CreditsExhausted,
    CreditsExpired,
    CreditsMatured,
    CreditsVoided,
    Grant,
    LedgerEvent,
    Refunded,
    Slice,
)
from domain.ledger_machines import HELD_SLICES_MAX, HOLDS_MAX, REFUNDS_MAX, SLICES_MAX, VOIDED_MAX
from tests.unit.domain.given import (
    HOLD_ID,
    NOON,
    ROOMY,
    a_ledger,
    after,
    fold_ledger,
    grant,
    hold,
    metadata,
)

HOUR = timedelta(hours=1)
FEW, MANY = 1_000, 4_000
EVENTS_MAX = 3
GOING = (CreditsExpired, CreditsVoided)


def a_grant(number: int, **fields: Any) -> Grant:
    """One credit that expires in an hour and as many seconds as its number."""
    made = Grant(
        id=UUID(int=10_000 + number),
        kind="paid",
        priority=number % 7,
        order=number + 2,
        remaining=1,
        held=0,
        expires_at=NOON + HOUR + timedelta(seconds=number),
    )
    return replace(made, **fields)


def with_grants(*grants: Grant) -> CreditLedger:
    """A ledger that came to these grants, in burn order."""
    empty = a_ledger()
    total = sum(g.remaining for g in grants)
    waiting = sum(g.remaining for g in grants if g.pending)
    balance = replace(
        empty.balance,
        version=len(grants) + 1,
        granted=total,
        available=total - waiting,
        pending=waiting,
    )
    return replace(empty, balance=balance, grants=in_burn_order(grants))


def work(run: Any) -> int:
    """Lines of the domain's code that `run` went through."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if "domain" not in frame.f_globals.get("__name__", ""):
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return lines


def settle(state: CreditLedger, **fields: Any) -> tuple[tuple[LedgerEvent, ...], CreditLedger]:
    events = ledger.decide(state, SettleDue(**fields), metadata(NOON + 9 * HOUR))
    return events, fold_ledger(events, state)


def expiring(count: int) -> CreditLedger:
    return with_grants(*(a_grant(n) for n in range(count)))


def maturing(count: int) -> CreditLedger:
    """They mature one by one, and expire one by one in between."""
    return with_grants(
        *(
            a_grant(n, pending=True, effective_at=NOON + timedelta(seconds=n * (n % 3)))
            for n in range(count)
        )
    )


def held(count: int) -> CreditLedger:
    """Holds that expire one after the other, on three grants that last, expire, and are voided."""
    lasting = a_grant(0, remaining=count, expires_at=None)
    voided = a_grant(2, remaining=count // 20)
    state = with_grants(lasting, a_grant(1, remaining=count // 20), voided)
    for number in range(count // 8):
        ends = NOON + number * HOUR / count
        made = replace(hold(1, number=number), expires_at=ends + HOUR / 2)
        state = after(state, replace(made, amount=1 + number % 2))
    return after(state, VoidGrant(grant_id=voided.id, reason="r"))


@pytest.mark.parametrize("due", [expiring, maturing, held])
def test_the_work_grows_with_what_is_due_and_no_faster(due: Any) -> None:
    """Deciding and folding together; four times as much would be sixteen times, each by each."""
    few, many = due(FEW), due(MANY)
    assert work(lambda: settle(many)) < 6 * work(lambda: settle(few))


@pytest.mark.parametrize("due", [expiring, maturing, held])
def test_it_comes_to_the_same_at_once_or_bit_by_bit_or_in_time(due: Any) -> None:
    start: CreditLedger = due(300)
    _, at_once = settle(start)
    in_bits = in_time = start
    while in_bits.due_at is not None:
        events, in_bits = settle(in_bits, events_max=EVENTS_MAX)
        assert 0 < len(events) <= EVENTS_MAX + 1
    while (moment := in_time.due_at) is not None:
        in_time = after(in_time, SettleDue(), at=max(moment, NOON))
    for other in (in_bits, in_time):
        told = replace(other.balance, version=at_once.version, updated_at=NOON + 9 * HOUR)
        assert replace(other, balance=told) == at_once
    assert at_once.held_slices == 0
    assert sum(g.remaining for g in at_once.grants) == at_once.balance.available


def test_ten_thousand_grants_that_expire_are_ten_events() -> None:
    events, state = settle(expiring(10_000))
    assert [type(event) for event in events] == [CreditsExpired] * 10 + [CreditsExhausted]
    assert {len(event.slices) for event in events if isinstance(event, CreditsExpired)} == {
        SLICES_MAX
    }
    assert (state.grants, state.balance.expired, state.due_at) == ((), 10_000, None)


def test_what_is_owed_is_paid_by_the_first_that_go() -> None:
    owing = replace(expiring(5), overdrawn=3)
    owing = replace(owing, balance=replace(owing.balance, available=2))
    [event, told], state = settle(owing)
    assert isinstance(event, CreditsExpired)
    assert isinstance(told, CreditsExhausted)
    assert (event.repaid, event.amount, len(event.slices)) == (3, 2, 5)
    assert (state.overdrawn, state.balance.expired, state.balance.available) == (0, 2, 0)


def test_a_debt_is_paid_once_whichever_way_credits_go() -> None:
    owing = with_grants(a_grant(1, remaining=2, voided=True), a_grant(2, remaining=5))
    owing = replace(owing, overdrawn=3, balance=replace(owing.balance, available=4))
    events, state = settle(owing)
    assert [(e.TOPIC, e.amount, e.repaid) for e in events if isinstance(e, GOING)] == [
        ("credits.voided", 0, 2),
        ("credits.expired", 4, 1),
    ]
    assert (state.overdrawn, state.balance.available) == (0, 0)


def test_a_hold_that_ends_after_its_grants_gives_back_what_it_borrowed_and_nothing_else() -> None:
    start = with_grants(a_grant(1, remaining=4), a_grant(2, remaining=6))
    lending = replace(hold(12, plan=replace(ROOMY, overdraft_max=2)), expires_at=NOON + 3 * HOUR)
    events, state = settle(after(start, lending))
    assert [event.TOPIC for event in events] == ["credits.hold_expired", "credits.expired"]
    assert (state.overdrawn, state.grants, state.balance.expired) == (0, (), 10)
    assert state.balance.available == 0


def test_one_that_matures_by_itself_is_told_as_ever() -> None:
    later = a_grant(1, pending=True, effective_at=NOON + HOUR, expires_at=None)
    [event], state = settle(with_grants(later))
    assert isinstance(event, CreditsMatured)
    assert (event.grant_id, event.amount, event.slices) == (later.id, 1, ())
    assert state.balance.available == 1


def test_what_comes_back_to_voided_grants_goes_as_voided_before() -> None:
    voided = after(with_grants(a_grant(1), a_grant(2), a_grant(8)), hold(3))
    for number in (1, 2):
        voided = after(voided, VoidGrant(grant_id=a_grant(number).id, reason="r"))
    events = ledger.decide(voided, ReleaseHold(hold_id=HOLD_ID), metadata())
    [_, gone] = events
    assert isinstance(gone, CreditsVoided)
    assert (gone.grant_id, gone.amount, len(gone.slices)) == (None, 2, 2)
    state = fold_ledger(events, voided)
    assert [g.id for g in state.grants] == [a_grant(8).id]
    assert ledger.decide(state, VoidGrant(grant_id=a_grant(1).id, reason="r"), metadata()) == ()


# The largest that there can be.


def test_a_hold_takes_from_so_many_grants_and_no_more() -> None:
    state = with_grants(*(a_grant(n) for n in range(SLICES_MAX + 2)))
    fits = after(state, hold(SLICES_MAX))
    assert len(fits.holds[HOLD_ID].slices) == fits.held_slices == SLICES_MAX
    extension = ExtendHold(hold_id=HOLD_ID, plan=ROOMY, added=1)
    adjustment = AdjustCredits(
        adjustment_id=UUID(int=9), amount=-SLICES_MAX - 1, source_ref="a", reason="r"
    )
    for before, command in (
        (state, hold(SLICES_MAX + 1)),
        (state, adjustment),
        (fits, extension),
    ):
        with pytest.raises(LimitReached) as refusal:
            ledger.decide(before, command, metadata())
        assert (refusal.value.limit, refusal.value.maximum) == ("hold_slices_max", 1_000)
    assert ledger.decide(fits, hold(1, number=1), metadata())


def test_open_holds_have_so_many_slices_together() -> None:
    state = with_grants(*(a_grant(n) for n in range(3)))
    nearly = replace(state, held_slices=HELD_SLICES_MAX - 2)
    assert after(nearly, hold(2)).held_slices == HELD_SLICES_MAX
    with pytest.raises(LimitReached) as refusal:
        ledger.decide(nearly, hold(3), metadata())
    assert (refusal.value.limit, refusal.value.maximum) == ("held_slices_max", 200_000)


def test_slices_are_counted_as_holds_come_and_go() -> None:
    state = after(with_grants(*(a_grant(n) for n in range(9))), hold(4), hold(2, number=1))
    state = after(state, ExtendHold(hold_id=HOLD_ID, plan=ROOMY, added=2))
    assert state.held_slices == 8
    again = ledger.evolve(None, ledger.snapshot(state, metadata()))
    assert again == state
    ended = after(state, CaptureHold(hold_id=HOLD_ID, amount=3))
    assert ended.held_slices == 2
    assert after(ended, ReleaseHold(hold_id=hold(number=1).hold_id)).held_slices == 0


def test_a_ledger_has_so_many_open_holds() -> None:
    state = after(with_grants(a_grant(1), a_grant(2)), hold(1))
    one = state.holds[HOLD_ID]
    full = replace(
        state,
        holds=Map({UUID(int=50_000 + n): one for n in range(HOLDS_MAX)}),
    )
    with pytest.raises(LimitReached) as refusal:
        ledger.decide(full, hold(1, number=1), metadata())
    assert (refusal.value.limit, refusal.value.maximum) == ("holds_max", 100_000)
    assert ledger.decide(
        replace(full, holds=full.holds.delete(UUID(int=60_000))), hold(1, number=1), metadata()
    )


def test_a_ledger_full_of_refunds_gives_more_of_the_same_and_closing_its_books_makes_room() -> None:
    state = after(a_ledger(grant(10)), hold(7))
    [capture] = ledger.decide(state, CaptureHold(hold_id=HOLD_ID, amount=None), metadata())
    assert isinstance(capture, CreditsCaptured)
    refund = RefundCapture(capture=capture, amount=2, reason="r")
    refunded = after(fold_ledger([capture], state), refund)
    old = replace(refunded.refunds[HOLD_ID], captured_at=NOON - timedelta(days=401))
    others = {UUID(int=50_000 + n): old for n in range(REFUNDS_MAX)}
    full = replace(refunded, refunds=refunded.refunds.update(others))
    assert ledger.decide(full, refund, metadata())
    closed = after(full, CloseBooks(period="2025-02"))
    assert set(closed.refunds) == {HOLD_ID}


def test_a_ledger_of_many_past_entries_is_as_large_as_a_new_one() -> None:
    """But for the digits of its totals."""

    def size(pairs: int) -> int:
        state = a_ledger(grant(pairs))
        roomy = replace(ROOMY, daily_tasks_max=10**6)
        for number in range(pairs):
            made = hold(1, number=number, plan=roomy)
            state = after(state, made, CaptureHold(hold_id=made.hold_id, amount=None))
        return len(msgspec.json.encode(ledger.snapshot(state, metadata())))

    assert size(3_000) <= size(3) + 5 * len("000")


def test_the_largest_ledger_fits_in_one_commit() -> None:
    """With as much of everything as it may have; identifiers and amounts as long as they get."""
    amount, one = 2**53 - 1, a_grant(1, remaining=2**53 - 1, held=2**53 - 1, effective_at=NOON)
    state = after(a_ledger(grant(3)), hold(3))
    [open_hold] = state.holds.values()
    piece = Slice(one.id, amount)
    open_hold = replace(
        open_hold,
        amount=amount,
        slices=(piece,) * (HELD_SLICES_MAX // HOLDS_MAX),
        slots=2**31 - 1,
        trial=True,
        expires_at=NOON,
        task_type="t" * 30,
    )
    refund = Refunded(hold_id=HOLD_ID, amount=amount, captured_at=NOON)
    whole = replace(
        state,
        grants=(replace(one, pending=True, voided=True),) * GRANTS_MAX,
        holds=Map({UUID(int=n): open_hold for n in range(HOLDS_MAX)}),
        refunds=Map({UUID(int=n): refund for n in range(REFUNDS_MAX)}),
        voided=Map({UUID(int=n): None for n in range(VOIDED_MAX)}),
    )
    size = len(msgspec.json.encode(ledger.snapshot(whole, metadata())))
    assert size < CommitterLimits().batch_bytes_max


def test_the_largest_event_of_a_hold_is_a_small_part_of_a_commit() -> None:
    """Of amounts and names as long as they can be; the bound of a commit is 1 MiB at the least."""
    state = after(with_grants(*(a_grant(n) for n in range(SLICES_MAX))), hold(SLICES_MAX))
    [capture] = ledger.decide(state, CaptureHold(hold_id=HOLD_ID, amount=500), metadata())
    assert len(msgspec.json.encode(capture)) < 64 * 2**10
