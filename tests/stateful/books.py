"""What must hold after each step of any history: the model agrees, and the books balance.

Every invariant that concerns tasks and the ledger is checked (I1 to I6, I9, I11, and the limits)
against the log.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from uuid import UUID

from hypothesis.stateful import invariant

from domain.event import Event
from domain.group import Group
from domain.ledger import CreditLedger
from domain.ledger_events import (
    AccountOpened,
    CreditsCaptured,
    CreditsHeld,
    CreditsRefunded,
    CreditsReleased,
    PlanChanged,
)
from domain.plan import Plan
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
from tests.stateful import ledger_checks
from tests.stateful.play import Play, evolved

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

    def plans_had(self, account_id: UUID) -> list[Plan]:
        """Its plans so far."""
        events = self.log[account_id]
        return [self.PLANS[e.plan] for e in events if isinstance(e, AccountOpened | PlanChanged)]

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
            ledger_checks.check_balance(state, plain)
            ledger_checks.check_grants_and_holds(state, plain)
            assert self.PLAIN_PLANS[state.balance.plan] is plain.plan

    @invariant()
    def books_balance(self) -> None:
        """I1, I2: nothing appears or vanishes, and nothing is spent twice."""
        for account_id in self.plain_accounts:
            overdraft_max = max(plan.overdraft_max for plan in self.plans_had(account_id))
            ledger_checks.check_sums(self.ledger(account_id), overdraft_max=overdraft_max)

    @invariant()
    def what_is_charged_was_delivered(self) -> None:
        """Charges of tasks and groups, with those outside, are what accounts paid, or got back."""
        paid = [self.task(task_id).credits_charged for task_id in self.paying_tasks]
        paid += [self.group(group_id).credits_charged for group_id in self.groups]
        paid += [
            event.amount
            for account_id in self.plain_accounts
            for event in self.log[account_id]
            if isinstance(event, CreditsCaptured) and not (event.task_id or event.group_id)
        ]
        balances = [self.ledger(account_id).balance for account_id in self.plain_accounts]
        assert sum(paid) == sum(b.captured + b.refunded for b in balances)

    @invariant()
    def credits_move_once_and_back(self) -> None:
        """I3, I6 and I11, from the log alone."""
        for account_id in self.touched & set(self.plain_accounts):
            log, state = self.log[account_id], self.ledger(account_id)
            ledger_checks.check_holds_end_once(log, state)
            ledger_checks.check_refunds(log, state)
            ledger_checks.check_nothing_gone_is_free(state, self.decided_at[account_id])
            trials_max = max(plan.trial_tasks for plan in self.plans_had(account_id))
            ledger_checks.check_trials(log, trials_max=trials_max)
            ledger_checks.check_tellings(log, self.plain_accounts[account_id])

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
            if state.group_id is None:
                assert (state.hold_id in self.ledger(state.account_id).holds) != state.ended
                self.check_runs_money(state)

    def check_runs_money(self, state: Task) -> None:
        """Each run has a hold of its own, and ends with it: charged if it was delivered."""
        events, account = self.log[state.id], self.log[state.account_id]
        runs = [e for e in events if isinstance(e, TaskSubmitted | TaskRetried)]
        ends = [e for e in events if isinstance(e, ENDINGS)]
        for run, end in zip_longest(runs, ends):
            held, *settled = [e for e in account if getattr(e, "hold_id", None) == run.hold_id]
            assert isinstance(held, CreditsHeld)
            assert (held.task_id, held.amount, held.trial) == (state.id, run.credits, run.trial)
            moves = [(e.TOPIC, e.meta.causation_id) for e in settled if not _is_refund(e)]
            if end is None:
                assert not settled
                continue
            done = isinstance(end, TaskCompleted)
            topic = "credits.captured" if done else "credits.released"
            assert moves == [(topic, end.meta.causation_id)]
            [move] = [e for e in settled if isinstance(e, SETTLEMENTS)]
            assert move.amount == (end.charged if isinstance(end, TaskCompleted) else run.credits)

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
            if hold.task_id or hold.group_id
        }
        assert live == holds

    @invariant()
    def limits_hold(self) -> None:
        """Open holds never pass the plan's number; nor do holds made in one day of a true clock."""
        for account_id in self.plain_accounts:
            state, plans = self.ledger(account_id), self.plans_had(account_id)
            assert state.balance.active <= max(plan.active_tasks_max for plan in plans)
            assert self.at_work(account_id) <= state.balance.active
            latest = datetime.min.replace(tzinfo=UTC)
            days: Counter[object] = Counter()
            for event in self.log[account_id]:
                if isinstance(event, CreditsHeld):
                    latest = max(latest, event.meta.at)
                    days[latest.date()] += event.tasks
            daily_max = max(plan.daily_tasks_max for plan in plans)
            assert all(count <= daily_max for count in days.values())

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


def _is_refund(event: Event) -> bool:
    return isinstance(event, CreditsRefunded)
