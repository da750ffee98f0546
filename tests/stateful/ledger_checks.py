"""What must hold of one account's ledger: I1, I2, I3, I6, I11, and what the plain ledger says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from domain.event import Event
from domain.ledger import CreditLedger
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
from domain.plan import Plan
from projections.journal import BOOK_ACCOUNTS, JOURNAL, SIDES, CustomerBooks, posting
from tests.stateful.plain_ledger import PlainLedger

Ending = CreditsCaptured | CreditsReleased | HoldExpired


def check_balance(state: CreditLedger, plain: PlainLedger) -> None:
    b = state.balance
    assert (b.granted, b.pending, b.available, b.held) == (
        *(plain.granted, plain.pending, plain.available, plain.held),
    )
    assert (b.captured, b.expired, b.voided, b.refunded) == (
        *(plain.captured, plain.expired, plain.voided, plain.refunded),
    )
    assert (b.status, b.active, b.trials) == (plain.status, plain.active, plain.trials)
    assert state.overdrawn == plain.owed


def check_grants_and_holds(state: CreditLedger, plain: PlainLedger) -> None:
    live = [g for g in plain.in_burn_order() if g.free or g.held]
    assert [(g.id, g.remaining, g.held, g.pending, g.voided) for g in state.grants] == [
        (g.id, g.free, g.held, g.waiting, g.void) for g in live
    ]
    assert {h.id: (h.amount, h.expires_at, h.trial, h.slots) for h in state.holds.values()} == {
        i: (len(h.credits), h.ends, h.trial, h.slots) for i, h in plain.holds.items()
    }
    assert dict(state.expiring) == {i: h.ends for i, h in plain.holds.items() if h.ends is not None}
    assert (state.day, state.day_count) == (plain.day, plain.day_holds)


def check_sums(state: CreditLedger, *, overdraft_max: int) -> None:
    """I1 and I2, and the totals are the sums of their parts."""
    b = state.balance
    assert b.granted == b.pending + b.available + b.held + b.captured + b.expired + b.voided
    assert b.available >= -overdraft_max
    assert all(grant.remaining >= 0 and grant.held >= 0 for grant in state.grants)
    assert min(b.pending, b.held, b.captured, b.expired, b.voided, b.refunded) >= 0
    free = sum(grant.remaining for grant in state.grants if not grant.pending)
    assert b.available == free - state.overdrawn
    assert b.pending == sum(grant.remaining for grant in state.grants if grant.pending)
    assert b.held == sum(hold.amount for hold in state.holds.values())


def check_holds_end_once(log: Iterable[Event], state: CreditLedger) -> None:
    """I3, from the log alone: by grant, what ends is what was held and added."""
    held: dict[UUID, Counter[UUID]] = {}
    ended: set[UUID] = set()
    for event in log:
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
            assert _parts_of(event) == held[event.hold_id]
    assert held.keys() - ended == set(state.holds)


def check_refunds(log: Iterable[Event], state: CreditLedger) -> None:
    """I6, from the log alone: never more than was charged, nor to another grant."""
    charged: dict[UUID, Counter[UUID]] = {}
    for event in log:
        if isinstance(event, CreditsCaptured):
            charged[event.hold_id] = spread(event.slices)
        elif isinstance(event, CreditsRefunded):
            back = spread(event.slices)
            assert back.total() == event.amount
            assert back <= charged[event.hold_id]
            charged[event.hold_id] -= back
    assert sum(counter.total() for counter in charged.values()) == state.balance.captured


def check_nothing_gone_is_free(state: CreditLedger, decided_at: datetime) -> None:
    """I6: as of the last decision, free credits are of grants that last, and have begun."""
    for grant in state.grants:
        assert not (grant.voided and grant.remaining)
        if grant.pending:
            assert grant.effective_at is not None
            assert grant.effective_at > decided_at
        elif grant.remaining and grant.expires_at is not None:
            assert grant.expires_at > decided_at
    assert all(ends > decided_at for ends in state.expiring.values())


def check_trials(log: Iterable[Event], *, trials_max: int) -> None:
    """I11, from the log alone."""
    trials: set[UUID] = set()
    for event in log:
        if isinstance(event, CreditsHeld) and event.trial:
            assert event.amount == 0
            trials.add(event.hold_id)
        elif isinstance(event, CreditsReleased | HoldExpired):
            assert event.trial == (event.hold_id in trials)
            trials.discard(event.hold_id)
        assert len(trials) <= trials_max


def check_postings(log: Iterable[Event], plain: PlainLedger) -> None:
    """What each command posted: of which fact, to which account of the books, how much."""
    posted: dict[UUID, Counter[tuple[str, str]]] = {}
    for event in log:
        if type(event) in JOURNAL.events:
            command = posted.setdefault(event.meta.causation_id, Counter())
            for account, debit, credit in posting(event):
                command[event.TOPIC, account] += debit - credit
    assert _lines(posted.values()) == _lines(plain.postings)


def check_customer_books(row: CustomerBooks, plain: PlainLedger) -> None:
    """The journal's row of a customer, account by account."""
    posted: Counter[str] = Counter()
    for command in plain.postings:
        for (_, account), amount in command.items():
            posted[account] += amount
    debits = {name: getattr(row, name) for name in BOOK_ACCOUNTS}
    assert debits == {n: posted[n] if SIDES[n] == "debit" else -posted[n] for n in BOOK_ACCOUNTS}


def _lines(commands: Iterable[Counter[tuple[str, str]]]) -> list[dict[tuple[str, str], int]]:
    """Without those of nothing."""
    moved = [{line: amount for line, amount in one.items() if amount} for one in commands]
    return [one for one in moved if one]


def check_tellings(log: Sequence[Event], plain: PlainLedger) -> None:
    """The owner is told once a crossing."""
    told = [e.TOPIC for e in log if isinstance(e, CreditsLow | CreditsExhausted)]
    assert told == plain.tellings


def check_told(state: CreditLedger, plan: Plan) -> None:
    """Whoever had credits has been told of this plan's few, and of none, exactly while it is so."""
    balance = state.balance
    if balance.granted == balance.pending or balance.status == "closed":
        return
    assert state.told_exhausted == (balance.available <= 0)
    if plan.low_credits is not None:
        assert (state.told_at == plan.low_credits) == (balance.available < plan.low_credits)


def spread(slices: Iterable[Slice]) -> Counter[UUID]:
    """Credits by grant."""
    spread: Counter[UUID] = Counter()
    for piece in slices:
        spread[piece.grant_id] += piece.amount
    return spread


def _parts_of(event: Ending) -> Counter[UUID]:
    back = event.released_slices if isinstance(event, CreditsCaptured) else ()
    return spread((*event.slices, *back))
