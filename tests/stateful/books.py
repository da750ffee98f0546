"""What must hold after each step of any history: the model agrees, and the books balance.

Every invariant that concerns tasks and the ledger is checked (I1 to I5, I9, and the limits)
against the log.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis.stateful import invariant

from domain.group import Group
from domain.ledger import CreditLedger
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsReleased
from domain.task import Task
from domain.task_events import (
    TaskAttemptFailed,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
)
from tests.stateful.play import ACCOUNTS, PLANS, Play, evolved

ENDINGS = (TaskCompleted, TaskFailed, TaskCancelled)
SETTLEMENTS = (CreditsCaptured, CreditsReleased)


class Books(Play):
    @property
    def groups(self) -> set[UUID]:
        return {stream for stream, states in self.history.items() if isinstance(states[-1], Group)}

    @property
    def paying_tasks(self) -> list[UUID]:
        """Those that have a hold of their own, being in no group."""
        return [one for one in self.plain_tasks if self.task(one).group_id is None]

    def at_work(self, account_id: UUID) -> int:
        tasks = map(self.task, self.plain_tasks)
        return sum(one.account_id == account_id and not one.ended for one in tasks)

    @invariant()
    def tasks_are_as_the_model_has_them(self) -> None:
        for task_id, plain in self.plain_tasks.items():
            state = self.task(task_id)
            assert (state.status, state.token, state.stalls, state.run, state.attempt) == (
                plain.status, plain.token, plain.stalls, plain.run, plain.attempt,
            )  # fmt: skip
            assert (state.failures, state.priority) == (plain.failures, plain.priority)
            assert (state.deadline_at, state.not_before) == (plain.deadline, plain.not_before)
            assert (state.hold_id, state.credits_held) == (plain.hold_id, plain.credits)
            assert state.credits_charged == plain.charged
            assert state.credits_released == plain.released
            assert (state.worker is not None) == (state.status in {"running", "cancelling"})
            assert (state.ended_at is not None) == state.ended
            assert state.reused_from == plain.reused_from
            assert (state.result is not None) == (state.status == "completed")
            assert (state.failure.type if state.failure else None) == plain.failure
            assert state.failure is not None or state.status not in {"failed", "backoff"}

    @invariant()
    def accounts_are_as_the_model_has_them(self) -> None:
        for account_id, plain in self.plain_accounts.items():
            state = self.ledger(account_id)
            live = [g for g in plain.in_burn_order() if g.free or g.held]
            assert [(g.id, g.remaining, g.held) for g in state.grants] == [
                (g.id, g.free, g.held) for g in live
            ]
            assert {h.id: h.amount for h in state.holds.values()} == {
                hold_id: len(taken) for hold_id, taken in plain.holds.items()
            }
            assert (state.day, state.day_count) == (plain.day, plain.day_holds)
            b = state.balance
            assert (b.granted, b.available, b.held, b.captured, b.active) == (
                plain.granted, plain.available, plain.held, plain.captured,
                sum(plain.slots.values()),
            )  # fmt: skip

    @invariant()
    def books_balance(self) -> None:
        """I1, I2: nothing appears or vanishes, and nothing is spent twice."""
        states = [self.ledger(account_id) for account_id in self.plain_accounts]
        for state in states:
            b = state.balance
            assert b.granted == b.available + b.held + b.captured
            assert b.available >= 0
            assert all(grant.remaining >= 0 and grant.held >= 0 for grant in state.grants)
            assert b.available == sum(grant.remaining for grant in state.grants)
            assert b.held == sum(hold.amount for hold in state.holds.values())
        paid = [self.task(task_id).credits_charged for task_id in self.paying_tasks]
        paid += [self.group(group_id).credits_charged for group_id in self.groups]
        assert sum(paid) == sum(state.balance.captured for state in states)

    @invariant()
    def a_hold_ends_once(self) -> None:
        """I3, from the log alone."""
        for account_id in self.touched & set(self.plain_accounts):
            held = {e.hold_id: e for e in self.log[account_id] if isinstance(e, CreditsHeld)}
            holds = [e.hold_id for e in self.log[account_id] if isinstance(e, CreditsHeld)]
            assert len(holds) == len(held)
            ends = [e for e in self.log[account_id] if isinstance(e, SETTLEMENTS)]
            assert all(count == 1 for count in Counter(e.hold_id for e in ends).values())
            for end in ends:
                back = end.released if isinstance(end, CreditsCaptured) else 0
                assert end.amount + back == held[end.hold_id].amount
                assert _spread(end) == _spread(held[end.hold_id])
            open_holds = set(holds) - {end.hold_id for end in ends}
            assert open_holds == set(self.ledger(account_id).holds)

    @invariant()
    def a_run_ends_once_and_its_hold_with_it(self) -> None:
        """I4, from the log alone."""
        for task_id in self.touched & set(self.plain_tasks):
            state = self.task(task_id)
            runs: list[int] = [0]
            for event in self.log[task_id]:
                if isinstance(event, TaskRetried):
                    runs.append(0)
                runs[-1] += isinstance(event, ENDINGS)
            assert runs == [1] * (state.run - 1) + [int(state.ended)]
            if task_id in self.paying_tasks:
                assert (state.hold_id in self.ledger(state.account_id).holds) != state.ended

    @invariant()
    def a_run_is_tried_so_often_and_so_long(self) -> None:
        """From the log alone: failures within the task's number, `timeout` only past the time."""
        for task_id in self.touched & set(self.plain_tasks):
            submitted, *events = self.log[task_id]
            assert isinstance(submitted, TaskSubmitted)
            since = max(submitted.meta.at, submitted.not_before or submitted.meta.at)
            seconds, failures = submitted.queue_seconds_max, 0
            for event in events:
                match event:
                    case TaskRetried():
                        since, seconds, failures = event.meta.at, submitted.queue_seconds_max, 0
                    case TaskStarted(attempt=1):
                        since, seconds = event.meta.at, submitted.run_seconds_max
                    case TaskAttemptFailed():
                        failures += 1
                        assert event.failures == failures < submitted.attempts_max
                        assert event.meta.at < event.retry_at < since + timedelta(seconds=seconds)
                    case TaskFailed(failure=reason) if reason.type == "timeout":
                        assert event.meta.at >= since + timedelta(seconds=seconds)

    @invariant()
    def a_live_hold_has_a_live_task(self) -> None:
        """I5, both ways, over all accounts."""
        paying: list[Task | Group] = [self.task(task_id) for task_id in self.paying_tasks]
        paying += [self.group(group_id) for group_id in self.groups]
        live = {
            (state.account_id, state.hold_id, state.id, state.credits_held)
            for state in paying
            if not state.ended
        }
        holds = {
            (account_id, hold.id, hold.task_id or hold.group_id, hold.amount)
            for account_id in self.plain_accounts
            for hold in self.ledger(account_id).holds.values()
        }
        assert live == holds

    @invariant()
    def limits_hold(self) -> None:
        """Open holds never pass the plan's number; nor do holds made in one day of a true clock."""
        for account_id, plan in zip(ACCOUNTS, PLANS, strict=True):
            if account_id not in self.plain_accounts:
                continue
            state = self.ledger(account_id)
            assert state.balance.active <= plan.active_tasks_max
            assert self.at_work(account_id) <= state.balance.active
            latest = datetime.min.replace(tzinfo=UTC)
            days: Counter[object] = Counter()
            for event in self.log[account_id]:
                if isinstance(event, CreditsHeld):
                    latest = max(latest, event.meta.at)
                    days[latest.date()] += event.tasks
            assert all(count <= plan.daily_tasks_max for count in days.values())

    @invariant()
    def folding_anew_gives_every_version_again(self) -> None:
        """I9: fold(k) is the state as of k, for every k, and the read model is the fold."""
        for stream in self.touched:
            state = None
            for version, event in enumerate(self.log[stream]):
                state = evolved(state, event)
                assert state == self.history[stream][version]
                assert state.version == version + 1
            if isinstance(state, CreditLedger):
                assert state.balance == self.balances[stream]
        self.touched.clear()


def _spread(event: CreditsHeld | CreditsCaptured | CreditsReleased) -> Counter[UUID]:
    """Credits by grant, of all the slices of an event."""
    spread: Counter[UUID] = Counter()
    back = event.released_slices if isinstance(event, CreditsCaptured) else ()
    for piece in (*event.slices, *back):
        spread[piece.grant_id] += piece.amount
    return spread
