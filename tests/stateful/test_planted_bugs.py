"""The stateful test finds each of these bugs when it is planted, so its silence means something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from itertools import count
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec import Raw
from msgspec.structs import replace

from domain import balance, grants, ledger, ledger_grants, ledger_holds, metering, task
from domain.event import Event
from domain.ledger import CreditLedger, HoldCredits
from domain.ledger_book import Book
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsReleased
from domain.plan import Plan
from domain.task import CancelTask, CompleteTask, FailTask, Task
from domain.task_events import (
    TaskRetried,
    TaskStarted,
)
from tests.stateful.books import Books
from tests.stateful.narrowed import Bug, Rules, narrowed, searches
from tests.stateful.run_bugs import RUN_BUGS, change_fold

pytestmark = pytest.mark.stateful
Patch = pytest.MonkeyPatch
ENOUGH = settings(
    max_examples=5_000,
    stateful_step_count=30,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


def release_not_returned(patch: Patch) -> None:
    moved = grants.moved

    def lossy(kept: grants.Grants, slices: grants.Slices, *, free: int, held: int) -> Any:
        return moved(kept, slices, free=min(free, 0), held=held)

    patch.setattr("domain.ledger_state.moved", lossy)


def balance_not_returned(patch: Patch) -> None:
    evolve = balance.evolve

    def lossy(before: Any, event: Event) -> Any:
        after = evolve(before, event)
        lost = event.amount if isinstance(event, CreditsReleased) else 0
        return replace(after, available=after.available - lost)

    patch.setattr(balance, "evolve", lossy)


def captured_twice(patch: Patch) -> None:
    add_to_proceed(patch, _captures, lambda event: [event, _next(event)])


def failed_without_release(patch: Patch) -> None:
    add_to_proceed(patch, lambda event: isinstance(event, CreditsReleased), lambda _: [])


def released_twice(patch: Patch) -> None:
    add_to_proceed(
        patch,
        lambda event: isinstance(event, CreditsReleased),
        lambda event: [event, _next(event)],
    )


def retried_without_a_hold(patch: Patch) -> None:
    retry = metering.retry
    patch.setattr(
        metering,
        "retry",
        lambda *given: [e for e in retry(*given) if not isinstance(e, CreditsHeld)],
    )


def retried_after_cancel(patch: Patch) -> None:
    table = dict(task.TASK.table)
    patch.setattr(task.TASK, "table", table | {("retry", "cancelled"): table["retry", "failed"]})


def completed_twice(patch: Patch) -> None:
    """A task that failed can still be completed by the same attempt."""
    table = dict(task.TASK.table)
    edge = {("complete", "failed"): table["complete", "running"]}
    patch.setattr(task.TASK, "table", table | edge)


def reused_while_running(patch: Patch) -> None:
    """Its worker would be refused the result that it comes to."""
    table = dict(task.TASK.table)
    edge = {("reuse", "running"): table["reuse", "queued"]}
    patch.setattr(task.TASK, "table", table | edge)


def reused_for_nothing(patch: Patch) -> None:
    """A submission that takes over a result leaves its hold open."""
    submit = metering.submit
    patch.setattr(
        metering,
        "submit",
        lambda *given, **more: [e for e in submit(*given, **more) if not _captures(e)],
    )


def stale_tokens_accepted(patch: Patch) -> None:
    patch.setattr(task, "_guard_lease", lambda _task, _token: None)


def token_not_renewed(patch: Patch) -> None:
    def decide(state: Task, command: Any, meta: Any) -> TaskStarted:
        event = started(state, command, meta)
        assert isinstance(event, TaskStarted)
        return replace(event, token=max(state.token, 1))

    started = task._DECIDERS[task.StartTask]
    patch.setattr(task, "_DECIDERS", MappingProxyType({**task._DECIDERS, task.StartTask: decide}))


def active_limit_off_by_one(patch: Patch) -> None:
    change_plan(patch, lambda plan: replace(plan, active_tasks_max=plan.active_tasks_max + 1))


def active_limit_one_too_few(patch: Patch) -> None:
    change_plan(patch, lambda plan: replace(plan, active_tasks_max=plan.active_tasks_max - 1))


def daily_limit_off_by_one(patch: Patch) -> None:
    change_plan(patch, lambda plan: replace(plan, daily_tasks_max=plan.daily_tasks_max + 1))


def day_begun_anew_by_a_slow_clock(patch: Patch) -> None:
    def day_of(state: CreditLedger, at: datetime) -> tuple[date, int]:
        day = at.astimezone(UTC).date()
        return day, state.day_count if day == state.day else 0

    patch.setattr("domain.ledger_state.day_of", day_of)
    patch.setattr("domain.ledger_holds.day_of", day_of)


def day_never_reset(patch: Patch) -> None:
    def day_of(state: CreditLedger, at: datetime) -> tuple[date, int]:
        return at.astimezone(UTC).date(), state.day_count

    patch.setattr("domain.ledger_state.day_of", day_of)
    patch.setattr("domain.ledger_holds.day_of", day_of)


def snapshot_forgets_the_day(patch: Patch) -> None:
    snapshot = ledger.snapshot
    patch.setattr(ledger, "snapshot", lambda *given: replace(snapshot(*given), day_count=0))


def snapshot_forgets_sources(patch: Patch) -> None:
    snapshot = ledger.snapshot
    patch.setattr(ledger, "snapshot", lambda *given: replace(snapshot(*given), source_refs=()))


def paid_credits_burn_first(patch: Patch) -> None:
    patch.setattr(grants, "_BURN_RANK", dict.fromkeys(grants._BURN_RANK, 1) | {"paid": 0})


def priority_of_grants_ignored(patch: Patch) -> None:
    key = grants.burn_key
    patch.setattr(grants, "burn_key", lambda grant: key(grant)[1:])


def repeated_source_granted_again(patch: Patch) -> None:
    """Each grant comes under a name of its own."""
    granted = ledger_grants.granted
    numbers = count()

    def again(book: Book, command: ledger.GrantCredits) -> None:
        granted(book, replace(command, source_ref=f"{command.source_ref} {next(numbers)}"))

    deciders = {**ledger._DECIDERS, ledger.GrantCredits: again}
    patch.setattr(ledger, "_DECIDERS", MappingProxyType(deciders))


def one_stall_too_many(patch: Patch) -> None:
    patch.setattr(Task, "stalls_left", property(lambda state: state.stalls <= state.stalls_max))


def stalls_kept_by_a_retry(patch: Patch) -> None:
    change_fold(patch, TaskRetried, lambda before, _, after: replace(after, stalls=before.stalls))


def repeated_commands_not_quiet(patch: Patch) -> None:
    patch.setattr(task, "_done_before", lambda _task, _command, _meta: False)


def failure_charged(patch: Patch) -> None:
    def fold(command: Any) -> Any:
        return (
            CompleteTask(token=command.token, result=Raw(b"{}"))
            if isinstance(command, FailTask)
            else command
        )

    proceed = metering.proceed
    patch.setattr(metering, "proceed", lambda t, a, c, *more: proceed(t, a, fold(c), *more))


def cancel_loses_the_worker(patch: Patch) -> None:
    """Cancelling a running task ends it at once, though its worker goes on."""
    proceed = metering.proceed

    def hasty(state: Task, paying: CreditLedger, command: Any, *more: Any) -> Any:
        hurried = isinstance(command, CancelTask) and state.status == "running"
        found = replace(state, status="queued") if hurried else state
        return proceed(found, paying, command, *more)

    patch.setattr(metering, "proceed", hasty)


def part_captures_keep_the_rest(patch: Patch) -> None:
    split = grants.split
    patch.setattr(
        "domain.ledger_holds.split", lambda slices, amount: (split(slices, amount)[0], ())
    )


def charge_not_bounded(patch: Patch) -> None:
    """Both guards gone: the task's and the ledger's."""
    completed = task._DECIDERS[CompleteTask]

    def decide(state: Task, command: CompleteTask, meta: Any) -> Any:
        charge = command.charge if command.charge is not None else state.credits_held
        event = completed(state, replace(command, charge=0), meta)
        return replace(event, charged=max(charge, 0), released=0)

    patch.setattr(task, "_DECIDERS", MappingProxyType({**task._DECIDERS, CompleteTask: decide}))


BUGS: list[Callable[[Patch], None]] = [
    release_not_returned,
    balance_not_returned,
    captured_twice,
    failed_without_release,
    released_twice,
    retried_without_a_hold,
    retried_after_cancel,
    completed_twice,
    reused_while_running,
    reused_for_nothing,
    stale_tokens_accepted,
    token_not_renewed,
    active_limit_off_by_one,
    active_limit_one_too_few,
    daily_limit_off_by_one,
    day_begun_anew_by_a_slow_clock,
    day_never_reset,
    snapshot_forgets_the_day,
    snapshot_forgets_sources,
    paid_credits_burn_first,
    priority_of_grants_ignored,
    repeated_source_granted_again,
    one_stall_too_many,
    stalls_kept_by_a_retry,
    repeated_commands_not_quiet,
    failure_charged,
    cancel_loses_the_worker,
    part_captures_keep_the_rest,
    charge_not_bounded,
    *RUN_BUGS,
]


WHERE: Mapping[str, Rules] = {
    "one_stall_too_many": ("submit", "start", "stall"),
    "part_captures_keep_the_rest": ("submit", "start", "complete"),
    "charge_not_bounded": ("submit", "start", "complete"),
    "reused_while_running": ("submit", "start", "reuse"),
    "paused_past_the_deadline": ("submit", "start", "fail"),
    "completed_twice": ("submit", "start", "fail", "complete"),
}
"""Rules among which a bug soon shows that others hide."""


@pytest.mark.parametrize(("plant", "rules"), searches(BUGS, WHERE))
def test_a_planted_bug_is_found(plant: Bug, rules: Rules, monkeypatch: Patch) -> None:
    machine = narrowed(Books, rules)
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):  # KeyError: a hold that is not there any more
        run_state_machine_as_test(machine, settings=ENOUGH)


def add_to_proceed(
    patch: Patch,
    concerns: Callable[[Event], bool],
    instead: Callable[[Event], list[Event]],
) -> None:
    proceed = metering.proceed

    def changed(*given: Any) -> list[Event]:
        events = proceed(*given)
        return [e for event in events for e in (instead(event) if concerns(event) else [event])]

    patch.setattr(metering, "proceed", changed)


def change_plan(patch: Patch, change: Callable[[Plan], Plan]) -> None:
    guard = ledger_holds._guard_limits

    def changed(state: CreditLedger, command: HoldCredits, at: datetime) -> None:
        guard(state, replace(command, plan=change(command.plan)), at)

    patch.setattr(ledger_holds, "_guard_limits", changed)


def _captures(event: Event) -> bool:
    return isinstance(event, CreditsCaptured)


def _next(event: Event) -> Event:
    return replace(event, originator_version=event.originator_version + 1)
