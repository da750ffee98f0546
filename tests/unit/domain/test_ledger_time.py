"""What time does to a ledger: the same late as in time, and nobody is told of it twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from domain import ledger
from domain.errors import InvalidInput, NotFound
from domain.ledger import (
    AdjustCredits,
    CaptureHold,
    CloseAccount,
    ExtendHold,
    GrantCredits,
    LedgerCommand,
    RefundCapture,
    ReleaseHold,
    SettleDue,
    VoidGrant,
)
from domain.ledger_events import (
    CreditsCaptured,
    CreditsExhausted,
    CreditsGranted,
    CreditsLow,
    LedgerEvent,
)
from tests.unit.domain.given import (
    HOLD_ID,
    NEXT_HOLD_ID,
    NOON,
    ROOMY,
    a_ledger,
    after,
    grant,
    hold,
    metadata,
)

HOUR = timedelta(hours=1)
OVERDRAWN = replace(ROOMY, overdraft_max=5)
TELLING = replace(ROOMY, low_credits=10)


def topics(events: tuple[LedgerEvent, ...]) -> list[str]:
    return [event.TOPIC for event in events]


def test_what_is_due_comes_to_the_same_late_as_in_time() -> None:
    """A hold on what was owed ends before the grant that would have paid for it."""
    borrowed = replace(hold(5, plan=OVERDRAWN), expires_at=NOON + HOUR)
    passing = replace(grant(20), expires_at=NOON + 2 * HOUR)
    before = a_ledger(borrowed, passing)
    late = after(before, SettleDue(), at=NOON + 3 * HOUR)
    in_time = after(before, SettleDue(), at=NOON + HOUR)
    in_time = after(in_time, SettleDue(), at=NOON + 2 * HOUR)
    assert (late.balance.available, late.balance.expired, late.overdrawn) == (0, 20, 0)
    assert (in_time.balance.available, in_time.balance.expired, in_time.overdrawn) == (0, 20, 0)


@pytest.mark.parametrize("way", ["expires", "is voided"])
def test_what_comes_back_to_a_grant_that_is_gone_is_no_news(way: str) -> None:
    passing = replace(grant(20, priority=1), expires_at=NOON + HOUR)
    before = a_ledger(passing, grant(12, number=2), hold(20, plan=TELLING))
    before = after(before, hold(3, number=1, plan=TELLING))
    assert before.told_at == 10
    at = NOON + 2 * HOUR
    if way == "is voided":
        at = NOON
        before = after(before, VoidGrant(grant_id=passing.grant_id, reason="r"))
    released = after(before, ReleaseHold(hold_id=HOLD_ID), at=at)
    assert (released.balance.available, released.told_at) == (9, 10)
    again = ledger.decide(released, hold(1, number=2, plan=TELLING), metadata(at))
    assert topics(again) == ["credits.held"]


def test_who_had_enough_in_between_is_told_again() -> None:
    low = a_ledger(grant(12), hold(3, plan=TELLING))
    enough = after(low, ReleaseHold(hold_id=HOLD_ID))
    assert (low.told_at, enough.told_at) == (10, None)
    *_, told = ledger.decide(enough, hold(4, number=1, plan=TELLING), metadata())
    assert isinstance(told, CreditsLow)
    assert (told.available, told.threshold) == (8, 10)


@pytest.mark.parametrize("ends", [None, NOON + 2 * HOUR], ids=["never", "later"])
def test_an_extension_makes_no_hold_shorter(ends: object) -> None:
    before = a_ledger(grant(20), replace(hold(5), expires_at=ends))
    for added in (0, 1):
        command = ExtendHold(hold_id=HOLD_ID, plan=ROOMY, added=added, expires_at=NOON + HOUR)
        with pytest.raises(InvalidInput) as refusal:
            ledger.decide(before, command, metadata())
        assert refusal.value.errors == (("/expires_at", "is before its end"),)


@pytest.mark.parametrize("way", ["released", "refunded"])
def test_what_comes_back_to_a_grant_that_was_followed_goes(way: str) -> None:
    """Or a hold at the right moment would carry more over than the rollover allows."""
    may = grant(20)
    june = replace(grant(50, number=2), rolls_over=may.grant_id, rollover_max=4)
    if way == "released":
        before = after(a_ledger(may, hold(12)), june)
        assert (before.balance.available, before.balance.expired) == (54, 8)
        now = after(before, ReleaseHold(hold_id=HOLD_ID))
    else:
        [held] = ledger.decide(a_ledger(may), hold(20), metadata())[:1]
        charging = ledger.evolve(a_ledger(may), held)
        [capture] = ledger.decide(charging, CaptureHold(hold_id=HOLD_ID, amount=12), metadata())
        assert isinstance(capture, CreditsCaptured)
        before = after(ledger.evolve(charging, capture), june)
        assert (before.balance.available, before.balance.expired) == (54, 8)
        spent = {may.grant_id: _event_of(may)}
        now = after(before, RefundCapture(capture=capture, amount=12, reason="r", grants=spent))
    assert (now.balance.available, now.balance.voided) == (54, 12)
    assert [(left.id, left.remaining) for left in now.grants] == [(june.grant_id, 54)]


def _event_of(command: GrantCredits) -> CreditsGranted:
    *_, event = ledger.decide(a_ledger(), command, metadata())
    assert isinstance(event, CreditsGranted)
    return event


def test_a_grant_that_is_to_come_goes_on_when_another_follows_it() -> None:
    later = replace(grant(20), effective_at=NOON + HOUR)
    june = replace(grant(50, number=2), rolls_over=later.grant_id, rollover_max=4)
    before = after(a_ledger(later), june)
    now = after(before, SettleDue(), at=NOON + HOUR)
    assert (before.balance.available, before.balance.pending, now.balance.available) == (50, 20, 70)


def test_a_grant_cannot_follow_itself_out_of_the_ledger() -> None:
    own = replace(grant(20), rolls_over=grant(20).grant_id, rollover_max=9)
    now = after(a_ledger(), own)
    assert (now.balance.available, [left.voided for left in now.grants]) == (20, [False])


def test_an_extension_may_only_add() -> None:
    dated = a_ledger(grant(20), replace(hold(5), expires_at=NOON + HOUR))
    more = after(dated, ExtendHold(hold_id=HOLD_ID, plan=ROOMY, added=2))
    assert (more.holds[HOLD_ID].amount, more.holds[HOLD_ID].expires_at) == (7, NOON + HOUR)


def test_a_grant_voided_again_is_quiet_also_when_nothing_is_left_of_it() -> None:
    void = VoidGrant(grant_id=grant(5).grant_id, reason="r")
    assert ledger.decide(after(a_ledger(grant(5)), void), void, metadata()) == ()
    with pytest.raises(NotFound):
        ledger.decide(a_ledger(), void, metadata())


@pytest.mark.parametrize(
    "command",
    [
        SettleDue(),
        VoidGrant(grant_id=grant(8).grant_id, reason="r"),
        AdjustCredits(adjustment_id=HOLD_ID, amount=-8, source_ref="a", reason="r"),
    ],
    ids=["expiry", "void", "adjustment"],
)
def test_the_owner_is_told_however_credits_went(command: LedgerCommand) -> None:
    lasting, passing = grant(5, number=2), replace(grant(8), expires_at=NOON + HOUR)
    at = NOON + HOUR if isinstance(command, SettleDue) else NOON
    events = ledger.decide(a_ledger(lasting, passing), command, metadata(at), TELLING)
    *_, told = events
    assert isinstance(told, CreditsLow)
    assert (told.available, told.threshold) == (5, 10)


def test_nothing_is_told_where_nothing_happened() -> None:
    assert ledger.decide(a_ledger(grant(5)), SettleDue(), metadata(), TELLING) == ()


@pytest.mark.parametrize(
    "command",
    [
        hold(8),
        SettleDue(),
        ReleaseHold(hold_id=NEXT_HOLD_ID),
        VoidGrant(grant_id=grant(8).grant_id, reason="r"),
        AdjustCredits(adjustment_id=HOLD_ID, amount=-8, source_ref="a", reason="r"),
    ],
    ids=["hold", "expiry", "expiry met by a release", "void", "adjustment"],
)
def test_nothing_left_is_told_on_every_plan(command: LedgerCommand) -> None:
    passing = replace(grant(8), expires_at=NOON + HOUR)
    before = a_ledger(passing, replace(hold(0), hold_id=NEXT_HOLD_ID))
    late = isinstance(command, SettleDue | ReleaseHold)
    events = ledger.decide(before, command, metadata(NOON + HOUR if late else NOON))
    *_, told = events
    assert isinstance(told, CreditsExhausted)
    assert told.available == 0
    assert topics(events).count("credits.low") == 0


def test_nothing_left_is_told_once_until_there_is_something_again() -> None:
    spent = a_ledger(grant(8), hold(8))
    assert spent.told_exhausted
    assert topics(ledger.decide(spent, hold(0, number=1), metadata())) == ["credits.held"]
    again = after(spent, ReleaseHold(hold_id=HOLD_ID))
    assert not again.told_exhausted
    assert topics(ledger.decide(again, hold(7, number=1), metadata())) == ["credits.held"]
    assert topics(ledger.decide(again, hold(8, number=1), metadata()))[1:] == ["credits.exhausted"]


def test_who_never_had_credits_has_none_to_run_out_of() -> None:
    promised = replace(grant(8), effective_at=NOON + HOUR)
    for before in (a_ledger(), a_ledger(promised)):
        assert topics(ledger.decide(before, hold(5, plan=OVERDRAWN), metadata())) == [
            "credits.held"
        ]


def test_an_account_that_ends_is_told_of_its_end_alone() -> None:
    closing = ledger.decide(a_ledger(grant(8)), CloseAccount(reason="r"), metadata())
    assert topics(closing) == ["credits.voided", "account.closed"]


def test_a_grant_that_only_pays_what_was_owed_leaves_nothing() -> None:
    owing = a_ledger(hold(5, plan=OVERDRAWN))
    assert topics(ledger.decide(owing, grant(5), metadata())) == [
        *("credits.granted", "credits.exhausted"),
    ]
    assert topics(ledger.decide(owing, grant(6), metadata())) == ["credits.granted"]
