"""What must hold of one account after each step of any history: I1, I2, I3, I6, I9, I11."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from hypothesis.stateful import invariant

from domain import ledger
from domain.ledger_events import (
    CreditsCaptured,
    CreditsExhausted,
    CreditsHeld,
    CreditsLow,
    CreditsRefunded,
    CreditsReleased,
    HoldExpired,
    HoldExtended,
    Slice,
)
from tests.stateful.ledger_play import PLANS, LedgerPlay

OVERDRAFT_MAX = max(plan.overdraft_max for plan in PLANS.values())
TRIALS_MAX = max(plan.trial_tasks for plan in PLANS.values())
Ending = CreditsCaptured | CreditsReleased | HoldExpired


class LedgerBooks(LedgerPlay):
    @invariant()
    def the_balance_is_as_the_plain_ledger_has_it(self) -> None:
        if not self.states:
            return
        b, plain = self.state.balance, self.plain
        assert (b.granted, b.pending, b.available, b.held) == (
            *(plain.granted, plain.pending, plain.available, plain.held),
        )
        assert (b.captured, b.expired, b.voided, b.refunded) == (
            *(plain.captured, plain.expired, plain.voided, plain.refunded),
        )
        assert (b.status, b.active, b.trials) == (plain.status, len(plain.holds), plain.trials)
        assert self.state.overdrawn == plain.owed
        assert PLANS[b.plan] is self.plan

    @invariant()
    def grants_and_holds_are_as_the_plain_ledger_has_them(self) -> None:
        if not self.states:
            return
        state, plain = self.state, self.plain
        live = [g for g in plain.in_burn_order() if g.free or g.held]
        assert [(g.id, g.remaining, g.held, g.pending, g.voided) for g in state.grants] == [
            (g.id, g.free, g.held, g.waiting, g.void) for g in live
        ]
        assert {h.id: (h.amount, h.expires_at, h.trial) for h in state.holds.values()} == {
            i: (len(h.credits), h.ends, h.trial) for i, h in plain.holds.items()
        }
        assert dict(state.expiring) == {
            i: h.ends for i, h in plain.holds.items() if h.ends is not None
        }
        assert (state.day, state.day_count) == (plain.day, plain.day_holds)

    @invariant()
    def the_books_balance(self) -> None:
        """I1 and I2, and the totals are the sums of their parts."""
        if not self.states:
            return
        state, b = self.state, self.state.balance
        assert b.granted == b.pending + b.available + b.held + b.captured + b.expired + b.voided
        assert b.available >= -OVERDRAFT_MAX
        assert all(grant.remaining >= 0 and grant.held >= 0 for grant in state.grants)
        assert min(b.pending, b.held, b.captured, b.expired, b.voided, b.refunded) >= 0
        free = sum(grant.remaining for grant in state.grants if not grant.pending)
        assert b.available == free - state.overdrawn
        assert b.pending == sum(grant.remaining for grant in state.grants if grant.pending)
        assert b.held == sum(hold.amount for hold in state.holds.values())

    @invariant()
    def a_hold_ends_once_and_whole(self) -> None:
        """I3, from the log alone: by grant, what ends is what was held and added."""
        held: dict[UUID, Counter[UUID]] = {}
        ended: set[UUID] = set()
        for event in self.log:
            if isinstance(event, CreditsHeld):
                assert event.hold_id not in held
                held[event.hold_id] = spread(event.slices)
                assert held[event.hold_id].total() == event.amount
            elif isinstance(event, HoldExtended):
                assert event.hold_id not in ended
                assert spread(event.slices).total() == event.added
                held[event.hold_id] += spread(event.slices)
            elif isinstance(event, Ending):
                assert event.hold_id not in ended
                ended.add(event.hold_id)
                assert parts_of(event) == held[event.hold_id]
        if self.states:
            assert held.keys() - ended == set(self.state.holds)

    @invariant()
    def refunds_reverse_their_captures(self) -> None:
        """I6, from the log alone: never more than was charged, nor to another grant."""
        charged: dict[UUID, Counter[UUID]] = {}
        for event in self.log:
            if isinstance(event, CreditsCaptured):
                charged[event.hold_id] = spread(event.slices)
            elif isinstance(event, CreditsRefunded):
                back = spread(event.slices)
                assert back.total() == event.amount
                assert back <= charged[event.hold_id]
                charged[event.hold_id] -= back
        if self.states:
            left = sum(counter.total() for counter in charged.values())
            assert left == self.state.balance.captured

    @invariant()
    def nothing_that_is_gone_can_be_spent(self) -> None:
        """I6: as of the last decision, free credits are of grants that last, and have begun."""
        if not self.states:
            return
        for grant in self.state.grants:
            assert not (grant.voided and grant.remaining)
            if grant.pending:
                assert grant.effective_at is not None
                assert grant.effective_at > self.decided_at
            elif grant.remaining and grant.expires_at is not None:
                assert grant.expires_at > self.decided_at
        assert all(ends > self.decided_at for ends in self.state.expiring.values())

    @invariant()
    def no_more_trials_than_the_plan_gives(self) -> None:
        """I11, from the log alone."""
        trials: set[UUID] = set()
        for event in self.log:
            if isinstance(event, CreditsHeld) and event.trial:
                assert event.amount == 0
                trials.add(event.hold_id)
            elif isinstance(event, CreditsReleased | HoldExpired):
                assert event.trial == (event.hold_id in trials)
                trials.discard(event.hold_id)
            assert len(trials) <= TRIALS_MAX

    @invariant()
    def the_owner_is_told_once_a_crossing(self) -> None:
        told = [e.TOPIC for e in self.log if isinstance(e, CreditsLow | CreditsExhausted)]
        assert told == self.plain.tellings

    @invariant()
    def folding_anew_gives_every_version_again(self) -> None:
        """I9: fold(k) is the state as of k, and the read model is the fold."""
        state = None
        for event, then in zip(self.log, self.states, strict=True):
            state = ledger.evolve(state, event)
            assert state == then
        assert state is None or state.balance == self.balance


def spread(slices: Iterable[Slice]) -> Counter[UUID]:
    """Credits by grant."""
    spread: Counter[UUID] = Counter()
    for piece in slices:
        spread[piece.grant_id] += piece.amount
    return spread


def parts_of(event: Ending) -> Counter[UUID]:
    back = event.released_slices if isinstance(event, CreditsCaptured) else ()
    return spread((*event.slices, *back))
