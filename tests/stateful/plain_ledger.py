"""Credits a second time, counted one by one in plain Python: what the ledger is held against.

Each command answers `ok`, `quiet`, or the code of the refusal, and changes nothing unless `ok`.
Nothing here is shared with the domain, not even its machines: there are no slices, only single
credits that know their grant, or `None` where there was none to take them from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from typing import Concatenate, Literal, ParamSpec
from uuid import UUID

from tests.stateful.plain_credits import (
    BEGINNING,
    BURN_ORDER,
    FAR,
    MIDDLE,
    REFUND_DAYS,
    PlainCharge,
    PlainClock,
    PlainGrant,
    PlainHold,
    PlainPlan,
)

P = ParamSpec("P")


def _all_or_nothing(
    command: Callable[Concatenate[PlainLedger, P], str],
) -> Callable[Concatenate[PlainLedger, P], str]:
    """With what time has brought before the command and after it; or as if it had not been."""

    @wraps(command)
    def tried(ledger: PlainLedger, /, *given: P.args, **named: P.kwargs) -> str:
        copy = ledger.copied()
        copy.lapsed = set()
        copy.posted = Counter()
        copy.pass_time()
        answer = command(copy, *given, **named)
        if answer == "ok":
            copy.pass_time()
            vars(ledger).update(vars(copy))
            ledger.settled()
        return answer

    return tried


@dataclass
class PlainLedger:
    clock: PlainClock
    plan: PlainPlan
    status: str = "open"
    granted: int = 0
    captured: int = 0
    expired: int = 0
    voided: int = 0
    refunded: int = 0
    trials: int = 0
    owed: int = 0
    """Credits taken that no grant had; below zero what came back of them after they were paid."""
    grants: list[PlainGrant] = field(default_factory=list)
    holds: dict[UUID, PlainHold] = field(default_factory=dict)
    charges: dict[UUID, PlainCharge] = field(default_factory=dict)
    refs: dict[str, object] = field(default_factory=dict)
    """What each was used for."""
    compares_refs: bool = False
    """Whether one is refused that was used for something else."""
    day: date = date.min
    day_holds: int = 0
    low_when_told: int | None = None
    told_of_nothing: bool = False
    tellings: list[str] = field(default_factory=list)
    posted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By this command: what each fact debits an account of the books; below zero it credits it."""
    postings: list[Counter[tuple[str, str]]] = field(default_factory=list)
    """Of each command that moved credits."""
    period: str | None = None
    lapsed: set[UUID] = field(default_factory=set)
    """Holds that this very command finds at their end."""

    def copied(self) -> PlainLedger:
        """Another one of the same time, to try a command on."""
        return replace(
            self,
            grants=[replace(grant) for grant in self.grants],
            holds={i: replace(hold, credits=[*hold.credits]) for i, hold in self.holds.items()},
            charges={i: replace(c, credits=[*c.credits]) for i, c in self.charges.items()},
            refs={**self.refs},
            tellings=[*self.tellings],
            postings=[*self.postings],
        )

    @property
    def now(self) -> datetime:
        return self.clock.now

    @property
    def available(self) -> int:
        return sum(grant.free for grant in self.grants if not grant.waiting) - self.owed

    @property
    def pending(self) -> int:
        return sum(grant.free for grant in self.grants if grant.waiting)

    @property
    def held(self) -> int:
        return sum(len(hold.credits) for hold in self.holds.values())

    @property
    def active(self) -> int:
        return sum(hold.slots for hold in self.holds.values())

    def in_burn_order(self) -> list[PlainGrant]:
        """Stable: the earliest first where all else is equal."""
        return sorted(
            self.grants, key=lambda g: (g.priority, g.ends or FAR, BURN_ORDER.index(g.kind))
        )

    def named(self, grant_id: UUID) -> PlainGrant | None:
        return next((grant for grant in self.grants if grant.id == grant_id), None)

    # Time

    def next_moment(self) -> datetime | None:
        """The earliest that has come and has not been seen to."""
        moments = [
            *(g.begins for g in self.grants if g.waiting),
            *(g.ends for g in self.grants if g.free and not g.waiting),
            *(hold.ends for hold in self.holds.values()),
        ]
        return min((m for m in moments if m is not None and m <= self.now), default=None)

    def pass_time(self) -> None:
        self.clear_gone(BEGINNING)
        while (moment := self.next_moment()) is not None:
            for grant in self.grants:
                if grant.waiting and grant.begins is not None and grant.begins <= moment:
                    grant.waiting = False
                    self.post("credits.matured", "pending", "available", grant.free)
            self.clear_gone(moment)
            for hold_id, hold in list(self.holds.items()):
                if hold.ends is not None and hold.ends <= moment:
                    self.lapsed.add(hold_id)
                    self.let_go(hold_id, "credits.hold_expired")
            self.clear_gone(BEGINNING)
            self.clear_gone(moment)
        if self.low_when_told is not None and self.available >= self.low_when_told:
            self.low_when_told = None
        if self.available > 0:
            self.told_of_nothing = False

    def clear_gone(self, at: datetime) -> None:
        """Credits of grants that are gone pay what is owed, and are lost."""
        for grant in self.in_burn_order():
            while grant.free and grant.gone(at):
                grant.free -= 1
                self.lose_one("voided" if grant.void else "expired")

    def lose_one(self, way: Literal["voided", "expired"]) -> bool:
        """A free credit that is gone; whether it was lost, for it paid nothing."""
        lost = self.owed <= 0
        if not lost:
            self.owed -= 1
        elif way == "voided":
            self.voided += 1
        else:
            self.expired += 1
        self.post(f"credits.{way}", "available", way if lost else "overdraft", 1)
        return lost

    def post(self, fact: str, debit: str, credit: str, amount: int) -> None:
        self.posted[fact, debit] += amount
        self.posted[fact, credit] -= amount

    def settled(self) -> None:
        """A command is over."""
        self.tell()
        self.postings.append(self.posted)
        self.posted = Counter()

    def as_one(self, since: int) -> None:
        """Take the commands after the first `since` for one, as the service carried them out."""
        one: Counter[tuple[str, str]] = Counter()
        for posted in self.postings[since:]:
            for line, amount in posted.items():
                one[line] += amount
        self.postings[since:] = [one]

    def tell(self) -> None:
        if self.status == "closed" or self.granted == self.pending:
            return
        low = self.plan.low
        if low is not None and self.available < low and self.low_when_told != low:
            self.low_when_told = low
            self.tellings.append("credits.low")
        if self.available <= 0 and not self.told_of_nothing:
            self.told_of_nothing = True
            self.tellings.append("credits.exhausted")

    # Credits, one by one

    def take_one(self) -> UUID | None:
        for grant in self.in_burn_order():
            if grant.free and not grant.waiting:
                grant.free -= 1
                return grant.id
        self.owed += 1
        return None

    def hold_one(self, fact: str) -> UUID | None:
        grant_id = self.take_one()
        self.post(fact, "overdraft" if grant_id is None else "available", "held", 1)
        if grant_id is not None and (grant := self.named(grant_id)):
            grant.held += 1
        return grant_id

    def put_back(self, grant_id: UUID | None, fact: str, out_of: str) -> None:
        self.post(fact, out_of, "overdraft" if grant_id is None else "available", 1)
        grant = None if grant_id is None else self.named(grant_id)
        if grant is None:
            self.owed -= 1
        else:
            grant.free += 1

    def unhold(self, grant_id: UUID | None) -> None:
        if grant_id is not None and (grant := self.named(grant_id)):
            grant.held -= 1

    def let_go(self, hold_id: UUID, fact: str) -> None:
        hold = self.holds.pop(hold_id)
        self.trials -= hold.trial
        for credit in hold.credits:
            self.unhold(credit)
            self.put_back(credit, fact, "held")

    # Commands

    @_all_or_nothing
    def grant(
        self,
        grant_id: UUID,
        kind: str,
        amount: int,
        priority: int,
        ref: str,
        *,
        dates: tuple[datetime | None, datetime | None] = (None, None),
        follows: UUID | None = None,
        carried_max: int = 0,
    ) -> str:
        begins, ends = dates
        if self.status == "closed":
            return "illegal_transition"
        terms = (kind, amount, priority, dates, follows, carried_max if follows else 0)
        if self.compares_refs and self.refs.get(ref) == terms:
            return "quiet"
        if amount < 1 or (ends is not None and ends <= max(self.now, begins or self.now)):
            return "invalid_input"
        if ref in self.refs:
            return self.known(ref, terms)
        amount += self.carried_over(follows, carried_max)
        self.refs[ref] = terms
        self.granted += amount
        waiting = begins is not None and begins > self.now
        into = "pending" if waiting else "available"
        self.post("credits.granted", f"granted_{kind}", into, amount)
        self.grants.append(
            PlainGrant(grant_id, priority, kind, amount, begins, ends, waiting=waiting)
        )
        return "ok"

    def known(self, ref: str, terms: object) -> str:
        same = not self.compares_refs or self.refs[ref] == terms
        return "quiet" if same else "reference_reused"

    def carried_over(self, follows: UUID | None, carried_max: int) -> int:
        grant = None if follows is None else self.named(follows)
        if grant is None or grant.waiting or grant.void:
            return 0
        grant.void = True
        lost = sum(self.lose_one("expired") for _ in range(grant.free))
        grant.free = 0
        return min(lost, carried_max)

    @_all_or_nothing
    def void(self, grant_id: UUID) -> str:
        if self.status == "closed":
            return "illegal_transition"
        grant = self.named(grant_id)
        if grant is not None and grant.void:
            return "quiet"
        if grant is None or not (grant.free or grant.held):
            return "not_found"
        self.make_void(grant)
        return "ok"

    def make_void(self, grant: PlainGrant) -> None:
        if grant.waiting:
            self.voided += grant.free
            self.post("credits.voided", "pending", "voided", grant.free)
            grant.free, grant.waiting = 0, False
        grant.void = True
        self.clear_gone(self.now)

    @_all_or_nothing
    def adjust(self, adjustment_id: UUID, amount: int, ref: str) -> str:
        if self.status == "closed":
            return "illegal_transition"
        if amount == 0:
            return "invalid_input"
        terms = ("adjustment", amount, MIDDLE, (None, None), None, 0)
        if ref in self.refs:
            return self.known(ref, terms)
        if amount < 0 and -amount > self.available:
            return "insufficient_credits"
        self.refs[ref] = terms
        if amount > 0:
            self.granted += amount
            self.post("credits.granted", "granted_adjustment", "available", amount)
            self.grants.append(PlainGrant(adjustment_id, MIDDLE, "adjustment", amount))
        else:
            for _ in range(-amount):
                self.take_one()
            self.post("credits.voided", "available", "voided", -amount)
            self.voided -= amount
        return "ok"

    @_all_or_nothing
    def hold(
        self,
        hold_id: UUID,
        amount: int,
        *,
        ends: datetime | None = None,
        may_be_trial: bool = False,
        tasks: int = 1,
        slots: int = 1,
        owned: bool = False,
    ) -> str:
        if self.status != "open":
            return "illegal_transition"
        if amount < 0:
            return "invalid_input"
        if ends is not None and ends <= self.now:
            return "invalid_input"
        if refusal := self.over_the_limits(tasks, slots):
            return refusal
        trial = may_be_trial and amount > 0 and self.trials < self.plan.trials_max
        amount = 0 if trial else amount
        if amount and amount > self.available + self.plan.overdraft_max:
            return "insufficient_credits"
        self.day_holds += tasks
        self.trials += trial
        taken = [self.hold_one("credits.held") for _ in range(amount)]
        self.holds[hold_id] = PlainHold(taken, ends, trial, slots, owned)
        return "ok"

    def over_the_limits(self, tasks: int, slots: int) -> str | None:
        day = max(self.now.astimezone(UTC).date(), self.day)
        if day != self.day:
            self.day, self.day_holds = day, 0
        if self.active + slots > self.plan.active_max:
            return "limit_reached active_tasks_max"
        if self.day_holds + tasks > self.plan.daily_max:
            return "limit_reached daily_tasks_max"
        return None

    def not_to_end(self, hold_id: UUID, *, outside: bool) -> str | None:
        """Why there is nothing to be done with a hold; `outside` of its tasks is who asks."""
        hold = self.holds.get(hold_id)
        if hold is None:
            return "hold_settled" if hold_id in self.lapsed else "hold_not_found"
        return "hold_not_yours" if outside and hold.owned else None

    @_all_or_nothing
    def extend(  # noqa: PLR0911 - one a refusal
        self, hold_id: UUID, added: int, ends: datetime | None, *, outside: bool = False
    ) -> str:
        if self.status != "open":
            return "illegal_transition"
        if refusal := self.not_to_end(hold_id, outside=outside):
            return refusal
        hold = self.holds[hold_id]
        if not added and ends is not None and ends == hold.ends:
            return "quiet"
        if added < 0 or (ends is not None and ends < max(self.now, hold.ends or FAR)):
            return "invalid_input"
        if not added and ends is None:
            return "quiet"
        if added and added > self.available + self.plan.overdraft_max:
            return "insufficient_credits"
        hold.credits += [self.hold_one("credits.hold_extended") for _ in range(added)]
        hold.ends = ends or hold.ends
        return "ok"

    @_all_or_nothing
    def settle(self, hold_id: UUID, charge: int, *, outside: bool = False) -> str:
        """Charge so much of a hold, its first credits, and give back the rest."""
        if self.status == "closed":
            return "illegal_transition"
        if refusal := self.not_to_end(hold_id, outside=outside):
            return refusal
        hold = self.holds[hold_id]
        if not 0 <= charge <= len(hold.credits):
            return "capture_exceeds_hold"
        del self.holds[hold_id]
        for credit in hold.credits:
            self.unhold(credit)
        for credit in hold.credits[charge:]:
            self.put_back(credit, "credits.captured", "held")
        self.captured += charge
        self.post("credits.captured", "held", "revenue", charge)
        self.charges[hold_id] = PlainCharge(hold.credits[:charge], charge, self.now)
        return "ok"

    @_all_or_nothing
    def release(self, hold_id: UUID, *, outside: bool = False) -> str:
        if self.status == "closed":
            return "illegal_transition"
        if refusal := self.not_to_end(hold_id, outside=outside):
            return refusal
        self.let_go(hold_id, "credits.released")
        return "ok"

    @_all_or_nothing
    def refund(self, hold_id: UUID, amount: int) -> str:
        if self.status == "closed":
            return "illegal_transition"
        charge = self.charges[hold_id]
        if amount < 1 or charge.at < self.now - timedelta(days=REFUND_DAYS):
            return "invalid_input"
        if charge.amount and not charge.credits:
            return "illegal_transition"
        if amount > len(charge.credits):
            return "refund_exceeds_capture"
        for _ in range(amount):
            self.put_back(charge.credits.pop(), "credits.refunded", "refunded")
        self.captured -= amount
        self.refunded += amount
        return "ok"

    @_all_or_nothing
    def freeze(self) -> str:
        if self.status != "open":
            return "quiet" if self.status == "frozen" else "illegal_transition"
        self.status = "frozen"
        return "ok"

    @_all_or_nothing
    def unfreeze(self) -> str:
        if self.status != "frozen":
            return "quiet" if self.status == "open" else "illegal_transition"
        self.status = "open"
        return "ok"

    @_all_or_nothing
    def close(self) -> str:
        if self.status == "closed":
            return "quiet"
        if self.holds or self.available < 0:
            return "account_unsettled"
        for grant in self.in_burn_order():
            self.make_void(grant)
        self.voided -= self.owed
        self.post("credits.voided", "overdraft", "voided", -self.owed)
        self.owed = 0
        self.status = "closed"
        return "ok"

    @_all_or_nothing
    def change_plan(self, plan: PlainPlan) -> str:
        if self.status != "open":
            return "illegal_transition"
        if plan is self.plan:
            return "quiet"
        self.plan = plan
        return "ok"

    @_all_or_nothing
    def close_books(self, period: str) -> str:
        if self.status == "closed":
            return "illegal_transition"
        if self.period is not None and period <= self.period:
            return "quiet"
        self.period = period
        return "ok"

    def see_to_it(self) -> str:
        """What time has brought is entered by nobody's command."""
        if self.next_moment() is None:
            return "quiet"
        self.pass_time()
        self.settled()
        return "ok"
