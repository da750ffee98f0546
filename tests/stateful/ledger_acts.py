"""What can be done with the ledger of an account, on the domain and on the plain ledger alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from msgspec.structs import replace

from domain import ledger
from domain.event import Event
from domain.ledger import CreditLedger, LedgerCommand
from domain.ledger_events import CreditsCaptured, CreditsGranted, GrantKind, PeriodClosed
from domain.plan import Plan
from tests.stateful.plain_credits import PlainClock, PlainPlan
from tests.stateful.plain_ledger import PlainLedger

NOBODY = UUID(int=99)
PLANS = {
    "careful": Plan(name="careful", active_tasks_max=3, daily_tasks_max=6, low_credits=5),
    "trusted": Plan(
        name="trusted",
        active_tasks_max=5,
        daily_tasks_max=20,
        trial_tasks=2,
        overdraft_max=7,
        low_credits=3,
        priority_raise=1,
    ),
    "tempting": Plan(name="tempting", active_tasks_max=4, trial_tasks=1, overdraft_max=2),
}
PLAIN_PLANS = {
    "careful": PlainPlan(3, 6, low=5),
    "trusted": PlainPlan(5, 20, trials_max=2, overdraft_max=7, low=3, priority_raise=1),
    "tempting": PlainPlan(4, 1_000, trials_max=1, overdraft_max=2),
}
OVERDRAFT_MAX = max(plan.overdraft_max for plan in PLANS.values())
TRIALS_MAX = max(plan.trial_tasks for plan in PLANS.values())
HOUR = timedelta(hours=1)

plan_names = st.sampled_from(list(PLANS))
kinds = st.sampled_from(["trial", "promotional", "adjustment", "paid"])
refs = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"])
ahead = st.none() | st.sampled_from([1, 2, 3, 5, 12, 24]).map(lambda hours: hours * HOUR)
"""How long until something begins or ends; mostly it does."""
behind = st.sampled_from([timedelta(0), -HOUR])
indexes = st.integers(0, 5)
"""Which hold, charge or grant, the newest first."""


class LedgerActs(RuleBasedStateMachine):
    """`plain`, `states`, `events` and `carry_out` are of the account that the acts concern.

    `OUTSIDE`: holds are for something outside, and those of tasks are theirs.
    """

    OUTSIDE: ClassVar[bool] = False
    clock: PlainClock
    numbers: int

    @property
    def plain(self) -> PlainLedger:
        raise NotImplementedError

    @property
    def states(self) -> Sequence[CreditLedger]:
        """After each event of the account."""
        raise NotImplementedError

    @property
    def state(self) -> CreditLedger:
        return self.states[-1]

    @property
    def plan(self) -> Plan:
        return PLANS[self.state.balance.plan]

    @property
    def events(self) -> Sequence[Event]:
        """All of the account."""
        raise NotImplementedError

    def new_id(self) -> UUID:
        raise NotImplementedError

    def carry_out(self, expected: str, command: LedgerCommand, *, again: bool = True) -> None:
        """A command that should come to `expected`; `again`, which writes nothing."""
        raise NotImplementedError

    # What comes in, and what is taken back

    @rule(
        kind=kinds,
        amount=st.integers(0, 12),
        priority=st.sampled_from([50, 100]),
        ref=refs,
        begins=st.none() | ahead | behind,
        ends=ahead | behind,
    )
    def grant_for_a_time(
        self,
        kind: GrantKind,
        amount: int,
        priority: int,
        ref: str,
        begins: timedelta | None,
        ends: timedelta | None,
    ) -> None:
        dates = (self.in_time(begins), self.in_time(ends))
        self.bring_in(kind, amount, ref, priority=priority, dates=dates)

    @rule(amount=st.integers(1, 12), ref=refs, index=indexes, carried_max=st.integers(0, 6))
    def follow_a_grant(self, amount: int, ref: str, index: int, carried_max: int) -> None:
        self.bring_in("paid", amount, ref, follows=self.grant_id(index), carried_max=carried_max)

    def bring_in(
        self,
        kind: GrantKind,
        amount: int,
        ref: str,
        *,
        priority: int = 100,
        dates: tuple[datetime | None, datetime | None] = (None, None),
        follows: UUID | None = None,
        carried_max: int = 0,
    ) -> None:
        command = ledger.GrantCredits(
            grant_id=self.new_id(),
            kind=kind,
            amount=amount,
            source_ref=ref,
            priority=priority,
            effective_at=dates[0],
            expires_at=dates[1],
            rolls_over=follows,
            rollover_max=carried_max,
        )
        expected = self.plain.grant(
            *(command.grant_id, kind, amount, priority, ref),
            dates=dates,
            follows=follows,
            carried_max=carried_max,
        )
        self.carry_out(expected, command)

    def in_time(self, duration: timedelta | None) -> datetime | None:
        return None if duration is None else self.clock.now + duration

    def grant_id(self, index: int) -> UUID:
        newest_first = [grant.id for grant in self.plain.grants[::-1]] or [NOBODY]
        return newest_first[index % len(newest_first)]

    @rule(index=indexes)
    def void(self, index: int) -> None:
        grant_id = self.grant_id(index)
        command = ledger.VoidGrant(grant_id=grant_id, reason="charged back")
        self.carry_out(self.plain.void(grant_id), command)

    @rule(amount=st.integers(-12, 8), ref=refs)
    def adjust(self, amount: int, ref: str) -> None:
        command = ledger.AdjustCredits(
            adjustment_id=self.new_id(),
            amount=amount,
            source_ref=ref,
            reason="miscounted",
        )
        self.carry_out(self.plain.adjust(command.adjustment_id, amount, ref), command)

    # Holds

    @rule(amount=st.integers(-1, 14), ends=ahead, trial=st.booleans())
    def hold(self, amount: int, ends: timedelta | None, trial: bool) -> None:  # noqa: FBT001
        self._hold(amount, ends, trial=trial)

    @rule(over=st.integers(-2, 8), ends=ahead)
    def hold_all_there_is(self, over: int, ends: timedelta | None) -> None:
        """Or nearly; or more, where it may be overdrawn."""
        self._hold(max(0, self.plain.available + over), ends, trial=False)

    def _hold(self, amount: int, ends: timedelta | None, *, trial: bool) -> None:
        command = ledger.HoldCredits(
            hold_id=self.new_id(),
            task_id=None if self.OUTSIDE else self.new_id(),
            amount=amount,
            plan=self.plan,
            may_be_trial=trial,
            expires_at=self.in_time(ends),
        )
        expected = self.plain.hold(
            command.hold_id, amount, ends=command.expires_at, may_be_trial=trial
        )
        self.carry_out(expected, command)

    def hold_id(self, index: int) -> UUID:
        """An open one, made for it if there is none; seldom one that has ended, or none at all."""
        if not self.plain.holds and index < 4:
            self._hold(3 + index, 5 * HOUR, trial=False)
        ids = [*self.plain.holds][::-1] or [*self.plain.charges][::-1] or [NOBODY]
        return ids[index % len(ids)]

    @rule(index=indexes, added=st.integers(-1, 9), ends=ahead | behind)
    def extend(self, index: int, added: int, ends: timedelta | None) -> None:
        hold_id = self.hold_id(index)
        command = ledger.ExtendHold(
            hold_id=hold_id,
            plan=self.plan,
            added=added,
            expires_at=self.in_time(ends),
            outside=self.OUTSIDE,
        )
        until = command.expires_at
        expected = self.plain.extend(hold_id, added, until, outside=self.OUTSIDE)
        self.carry_out(expected, command, again=added == 0)

    @rule(index=indexes, added=st.integers(0, 2), hours=st.integers(0, 3))
    def extend_a_little(self, index: int, added: int, hours: int) -> None:
        """Later than its own end, if it has one."""
        hold_id = self.hold_id(index)
        hold = self.plain.holds.get(hold_id)
        if hold is not None and hold.ends is not None:
            self.extend(index, added, hold.ends + hours * HOUR - self.clock.now)

    @rule(index=indexes, amount=st.integers(-1, 15))
    def capture(self, index: int, amount: int) -> None:
        hold_id = self.hold_id(index)
        self._capture(hold_id, amount)

    @rule(index=indexes, back=st.integers(-1, 2))
    def capture_most(self, index: int, back: int) -> None:
        hold_id = self.hold_id(index)
        hold = self.plain.holds.get(hold_id)
        self._capture(hold_id, max(0, len(hold.credits) - back) if hold else back)

    def _capture(self, hold_id: UUID, amount: int) -> None:
        outside = self.OUTSIDE
        command = ledger.CaptureHold(hold_id=hold_id, amount=amount, outside=outside)
        self.carry_out(self.plain.settle(hold_id, amount, outside=outside), command)

    @rule(index=indexes)
    def release(self, index: int) -> None:
        hold_id = self.hold_id(index)
        outside = self.OUTSIDE
        command = ledger.ReleaseHold(hold_id=hold_id, outside=outside)
        self.carry_out(self.plain.release(hold_id, outside=outside), command)

    @rule(index=indexes, amount=st.integers(0, 12))
    def refund(self, index: int, amount: int) -> None:
        self._refund(index, lambda _: amount)

    @rule(index=indexes)
    def refund_what_is_left(self, index: int) -> None:
        self._refund(index, lambda left: left)

    def _refund(self, index: int, amount_of: Callable[[int], int]) -> None:
        if not self.plain.charges:
            self.capture_most(0, back=0)
        charged = [*self.plain.charges][::-1]
        if not charged:
            return
        hold_id = charged[index % len(charged)]
        self.give_back(hold_id, amount_of(len(self.plain.charges[hold_id].credits)))

    def give_back(self, hold_id: UUID, amount: int) -> None:
        command = ledger.RefundCapture(
            capture=self.capture_of(hold_id),
            amount=amount,
            reason="spoiled",
            grants={e.grant_id: e for e in self.events if isinstance(e, CreditsGranted)},
        )
        self.carry_out(self.plain.refund(hold_id, amount), command, again=False)

    def capture_of(self, hold_id: UUID) -> CreditsCaptured:
        [event] = [
            e for e in self.events if isinstance(e, CreditsCaptured) and e.hold_id == hold_id
        ]
        return event

    @rule(
        amount=st.integers(1, 8),
        held=st.integers(1, 9),
        hours=st.none() | st.integers(1, 3),
        way=st.sampled_from(["ends", "void", "follow", "lasts"]),
        ending=st.sampled_from(["release", "capture", "part", "stays"]),
        refunds=st.lists(st.integers(1, 3), max_size=2),
    )
    def a_grant_goes_while_held(
        self,
        amount: int,
        held: int,
        hours: int | None,
        way: str,
        ending: str,
        refunds: list[int],
    ) -> None:
        """The life of a grant that burns first: histories get somewhere."""
        dates = (None, self.clock.now + 2 * HOUR)
        self.bring_in("trial", amount, f"{self.numbers}", priority=0, dates=dates)
        self._hold(held, None if hours is None else hours * HOUR, trial=False)
        if way == "ends":
            self.clock.now += 2 * HOUR
        elif way == "void":
            self.void(0)
        elif way == "follow":
            self.bring_in("paid", 1, f"{self.numbers}", follows=self.grant_id(0), carried_max=2)
        if ending == "release":
            self.release(0)
            self._hold(1, None, trial=False)
        elif ending != "stays":
            self.capture_most(0, back=2 * (ending == "part"))
        for part in refunds:
            self._refund(0, lambda _, part=part: part)  # type: ignore[misc]

    # The account

    @rule(chance=st.integers(0, 5))
    def freeze(self, chance: int) -> None:
        """Seldom, and not for long: little can be held meanwhile."""
        if chance == 5 or self.plain.status != "open":
            self.carry_out(self.plain.freeze(), ledger.FreezeAccount(reason="disputed"))

    @rule()
    def unfreeze(self) -> None:
        self.carry_out(self.plain.unfreeze(), ledger.UnfreezeAccount(reason="settled"))

    @rule()
    def unfreeze_soon(self) -> None:
        if self.plain.status == "frozen":
            self.unfreeze()

    @rule(chance=st.integers(0, 9))
    def close(self, chance: int) -> None:
        """Seldom, where it is possible: little can happen afterwards."""
        if chance == 9 or self.plain.copied().close() != "ok":
            self.carry_out(self.plain.close(), ledger.CloseAccount(reason="left"))

    @rule(name=plan_names)
    def change_plan(self, name: str) -> None:
        self.carry_out(self.plain.change_plan(PLAIN_PLANS[name]), ledger.ChangePlan(plan=name))

    # Time

    @rule(moment=st.sampled_from([-1, 0, 1]), index=indexes)
    def something_comes_due(self, moment: int, index: int) -> None:
        """The clock goes to just before, at, or just after when something begins or ends."""
        times = [t for g in self.plain.grants for t in (g.begins, g.ends) if t is not None]
        times += [h.ends for h in self.plain.holds.values() if h.ends is not None]
        times = sorted({t for t in times if t > self.clock.now})
        if times:
            due = times[index % len(times)] + timedelta(microseconds=moment)
            self.clock.now = max(self.clock.now, due)

    @rule()
    def sweep(self) -> None:
        self.carry_out(self.plain.see_to_it(), ledger.SettleDue())

    @rule(days=st.sampled_from([399, 400, 401]))
    def a_year_passes(self, days: int) -> None:
        """To just before or after the last charge can be refunded."""
        charges = self.plain.charges.values()
        if charges:
            last = max(charge.at for charge in charges)
            self.clock.now = max(self.clock.now, last + timedelta(days=days))

    @rule(period=st.sampled_from(["2025-01", "2025-02", "2025-03"]))
    def close_the_books(self, period: str) -> None:
        """The ledger is what it was, from this event alone; refunds of long ago are forgotten."""
        expected = self.plain.close_books(period)
        self.carry_out(expected, ledger.CloseBooks(period=period))
        if expected != "ok":
            return
        # What was due is settled before it, of which the owner may be told after it.
        closing = [event for event in self.events if isinstance(event, PeriodClosed)][-1]
        before, closed = self.states[closing.originator_version - 2 :][:2]
        since = self.clock.now - timedelta(days=400)
        kept = {i: r for i, r in before.refunds.items() if r.captured_at >= since}
        assert dict(closed.refunds) == kept
        assert ledger.evolve(None, closing) == closed
        told = replace(
            before.balance, version=closing.originator_version, updated_at=self.clock.now
        )
        unchanged = replace(before, balance=told, period=period, refunds=closed.refunds)
        assert closed == unchanged
