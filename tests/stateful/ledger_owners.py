"""What must hold of whom credits are held for: tasks, groups and outsiders; I4, I5 and I7."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from domain import ledger
from domain.ledger_events import CreditsCaptured, CreditsHeld, HoldExtended
from tests.stateful.ledger_acts import HOUR, ahead, indexes
from tests.stateful.ledger_books import LedgerBooks
from tests.stateful.ledger_checks import Ending, spread

verbs = st.sampled_from(["extend", "capture", "release"])


class LedgerOwners(LedgerBooks):
    """Groups hold once for all of their tasks, outsiders for nobody, and who ended runs again."""

    def _hold(
        self,
        amount: int,
        ends: timedelta | None,
        *,
        trial: bool,
        task_id: UUID | None = None,
        outside: bool = False,
    ) -> None:
        """For a new task, unless one is given; from `outside` for none."""
        self.hold_for(
            ledger.HoldCredits(
                hold_id=self.new_id(),
                task_id=None if outside else task_id or self.new_id(),
                amount=amount,
                plan=self.plan,
                may_be_trial=trial,
                expires_at=self.in_time(ends),
            )
        )

    def hold_for(self, command: ledger.HoldCredits) -> None:
        expected = self.plain.hold(
            command.hold_id,
            command.amount,
            ends=command.expires_at,
            may_be_trial=command.may_be_trial,
            tasks=command.tasks,
            slots=command.slots,
            owned=command.task_id is not None or command.group_id is not None,
        )
        self.carry_out(expected, command)

    @rule(
        amount=st.integers(0, 9),
        slots=st.integers(1, 3),
        waiting=st.integers(0, 2),
        ending=st.sampled_from(["stays", "stays", "capture", "part", "release", "expires"]),
    )
    def a_group(self, amount: int, slots: int, waiting: int, ending: str) -> None:
        """Of which some tasks are active at one time, and others wait."""
        hold_id, ends = self.new_id(), HOUR if ending == "expires" else None
        self.hold_for(
            ledger.HoldCredits(
                hold_id=hold_id,
                group_id=self.new_id(),
                amount=amount,
                plan=self.plan,
                tasks=slots + waiting,
                slots=slots,
                task_type="shot",
                expires_at=self.in_time(ends),
            )
        )
        if ending == "expires":
            self.clock.now += HOUR
            self.sweep()
        elif ending == "release":
            self.carry_out(self.plain.release(hold_id), ledger.ReleaseHold(hold_id=hold_id))
        elif ending != "stays":
            self._capture(hold_id, amount // 2 if ending == "part" else amount)

    @rule(amount=st.integers(0, 9), ends=ahead)
    def hold_for_an_outsider(self, amount: int, ends: timedelta | None) -> None:
        self._hold(amount, ends, trial=False, outside=True)

    @rule(index=indexes, verb=verbs, amount=st.integers(-1, 9))
    def asked_from_outside(self, index: int, verb: str, amount: int) -> None:
        """Who is neither its task nor its group may settle an outsider's hold alone."""
        hold_id, plain = self.hold_id(index), self.plain
        if verb == "extend":
            extend = ledger.ExtendHold(hold_id=hold_id, plan=self.plan, added=amount, outside=True)
            expected = plain.extend(hold_id, amount, None, outside=True)
            self.carry_out(expected, extend, again=False)
        elif verb == "capture":
            capture = ledger.CaptureHold(hold_id=hold_id, amount=amount, outside=True)
            self.carry_out(plain.settle(hold_id, amount, outside=True), capture)
        else:
            release = ledger.ReleaseHold(hold_id=hold_id, outside=True)
            self.carry_out(plain.release(hold_id, outside=True), release)

    @rule(index=indexes, amount=st.integers(0, 9))
    def run_again(self, index: int, amount: int) -> None:
        """The next run of a task whose hold has ended is paid by a hold of its own."""
        busy = {hold.task_id for hold in self.state.holds.values()}
        held = [e.task_id for e in self.log if isinstance(e, CreditsHeld) and e.task_id]
        idle = [task_id for task_id in dict.fromkeys(held) if task_id not in busy][::-1]
        if idle:
            self._hold(amount, None, trial=False, task_id=idle[index % len(idle)])

    @invariant()
    def who_runs_has_one_hold_and_who_has_ended_none(self) -> None:
        """I4 and I5, from the log alone: each run has one hold, which ends once, as its own."""
        terms: dict[UUID, tuple[Any, ...]] = {}
        running: dict[UUID, UUID] = {}
        for event in self.log:
            if isinstance(event, CreditsHeld):
                assert event.task_id is None or event.group_id is None
                terms[event.hold_id] = terms_of(event)
                if owner := event.task_id or event.group_id:
                    assert owner not in running
                    running[owner] = event.hold_id
            elif isinstance(event, Ending):
                assert terms_of(event) == terms[event.hold_id]
                if owner := event.task_id or event.group_id:
                    assert running.pop(owner) == event.hold_id
        if self.states:
            holds = self.state.holds.values()
            owned = {h.task_id or h.group_id: h.id for h in holds if h.task_id or h.group_id}
            assert owned == running
            assert {*owned.values()} == {i for i, h in self.plain.holds.items() if h.owned}

    @invariant()
    def what_was_frozen_is_charged_or_returned(self) -> None:
        """I7, from the log alone: in each end's own figures, and in their slices."""
        frozen: dict[UUID, int] = {}
        for event in self.log:
            if isinstance(event, CreditsHeld):
                frozen[event.hold_id] = event.amount
            elif isinstance(event, HoldExtended):
                frozen[event.hold_id] += event.added
            elif isinstance(event, Ending):
                back = event.released if isinstance(event, CreditsCaptured) else 0
                assert frozen.pop(event.hold_id) == event.amount + back
                assert spread(event.slices).total() == event.amount
        if self.states:
            assert frozen == {hold.id: hold.amount for hold in self.state.holds.values()}


def terms_of(event: CreditsHeld | Ending) -> tuple[Any, ...]:
    """What the end of a hold repeats of its beginning."""
    return event.task_id, event.group_id, event.slots, event.task_type
