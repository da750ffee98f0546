"""QUALITY 2 for groups: 200 histories of 30 steps each time, and the bugs that must not pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from domain import group, group_state, ledger, metering
from domain.event import Event
from domain.group import Group
from domain.group_events import GroupMemberEnded
from domain.ledger_events import CreditsCaptured
from domain.task_events import TaskSubmitted
from tests.stateful.group_books import GroupBooks
from tests.stateful.narrowed import Bug, Rules, narrowed, searches
from tests.stateful.test_planted_bugs import ENOUGH

pytestmark = pytest.mark.stateful
SIZE = settings(suppress_health_check=list(HealthCheck))
"""Named, since a machine without settings keeps those that were in force when it was first run."""
Patch = pytest.MonkeyPatch


# 200 histories take 10 seconds; the nightly profile has fifty times as many, and longer ones.
@pytest.mark.timeout(max(180, settings().max_examples))
def test_any_history_of_groups_keeps_the_books() -> None:
    run_state_machine_as_test(GroupBooks, settings=SIZE)


def settled_twice(patch: Patch) -> None:
    settled = metering._group_settled

    def twice(*given: Any) -> tuple[Event, ...]:
        (once,) = settled(*given)
        return once, replace(once, originator_version=once.originator_version + 1)

    patch.setattr(metering, "_group_settled", twice)


def slot_leaked(patch: Patch) -> None:
    """An end takes the next member's place with it."""
    change_member_end(patch, lambda event: replace(event, next_task_id=None))


def slot_too_many(patch: Patch) -> None:
    patch.setattr(
        group_state, "_filled", _filled_with(group_state._filled, lambda slots: slots + 1)
    )


def slots_counted_as_one(patch: Patch) -> None:
    change_hold(patch, lambda command: replace(command, slots=1))


def members_counted_as_one_task(patch: Patch) -> None:
    change_hold(patch, lambda command: replace(command, tasks=1))


def slots_kept_after_the_end(patch: Patch) -> None:
    captured = ledger.decide

    def decide(*given: Any) -> Any:
        return tuple(
            replace(event, slots=1) if isinstance(event, CreditsCaptured) else event
            for event in captured(*given)
        )

    patch.setattr(ledger, "decide", decide)


def member_forgotten(patch: Patch) -> None:
    """The group ends with one member still pending."""
    patch.setattr(
        Group,
        "active",
        property(lambda state: tuple(m for m in state.members[:-1] if m.status == "active")),
    )


def member_ended_untold(patch: Patch) -> None:
    patch.setattr(metering, "_member_ended", lambda *_: [])


def failed_member_charged(patch: Patch) -> None:
    change_member_end(patch, lambda e: replace(e, charged=1) if e.outcome == "failed" else e)


def part_charge_of_a_member_ignored(patch: Patch) -> None:
    patch.setattr(
        Group,
        "delivered_credits",
        property(lambda state: sum(m.credits for m in state.in_run if m.status == "completed")),
    )


def earlier_runs_charged_again(patch: Patch) -> None:
    patch.setattr(
        Group, "delivered_credits", property(lambda state: sum(m.charged for m in state.members))
    )


def delivered_members_run_again(patch: Patch) -> None:
    patch.setattr(Group, "undelivered", property(lambda state: state.members))


def started_again_while_at_work(patch: Patch) -> None:
    table = dict(group.GROUP.table)
    edge = {("start_again", "processing"): table["start_again", "failed"]}
    patch.setattr(group.GROUP, "table", table | edge)
    started = group._started

    def eager(known: Group | None, command: Any, meta: Any) -> Any:
        if known is not None and known.status == "processing" and known.hold_id != command.hold_id:
            known = replace(known, status="failed")
        return started(known, command, meta)

    patch.setattr(group, "_started", eager)


def pending_members_start_after_a_cancel(patch: Patch) -> None:
    folds = dict(group_state._FOLDS)
    requested = next(e for e in folds if e.__name__ == "GroupCancelRequested")
    folds[requested] = lambda state, _: replace(state, status="cancelling")
    patch.setattr(group_state, "_FOLDS", folds)


def cancelled_group_gives_back_what_it_delivered(patch: Patch) -> None:
    settled = metering._group_settled

    def generous(of: Group, *given: Any) -> Any:
        members = tuple(replace(m, charged=0, status="failed") for m in of.members)
        return settled(replace(of, members=members) if of.status == "cancelled" else of, *given)

    patch.setattr(metering, "_group_settled", generous)


def next_member_without_its_group(patch: Patch) -> None:
    """Its end would settle a hold that is not its own."""
    submitted = metering._submitted

    def alone(*given: Any) -> tuple[Event, ...]:
        return tuple(
            replace(event, group_id=None) if isinstance(event, TaskSubmitted) else event
            for event in submitted(*given)
        )

    patch.setattr(metering, "_submitted", alone)


BUGS: list[Callable[[Patch], None]] = [
    settled_twice,
    slot_leaked,
    slot_too_many,
    slots_counted_as_one,
    members_counted_as_one_task,
    slots_kept_after_the_end,
    member_forgotten,
    member_ended_untold,
    failed_member_charged,
    part_charge_of_a_member_ignored,
    earlier_runs_charged_again,
    delivered_members_run_again,
    started_again_while_at_work,
    pending_members_start_after_a_cancel,
    cancelled_group_gives_back_what_it_delivered,
    next_member_without_its_group,
]


WHERE: Mapping[str, Rules] = {
    "started_again_while_at_work": ("start_group", "retry_group", "start", "fail"),
    "earlier_runs_charged_again": ("start_group", "retry_group", "let_a_group_go_on"),
    "failed_member_charged": ("start_group", "let_a_group_go_on"),
}
"""Rules among which a bug soon shows that others hide."""


@pytest.mark.parametrize(("plant", "rules"), searches(BUGS, WHERE))
def test_a_planted_bug_is_found(plant: Bug, rules: Rules, monkeypatch: Patch) -> None:
    machine = narrowed(GroupBooks, rules)
    plant(monkeypatch)
    # KeyError: a hold that is not there any more; ValidationError: credits below zero.
    with pytest.raises((AssertionError, KeyError, msgspec.ValidationError)):
        run_state_machine_as_test(machine, settings=ENOUGH)


def change_member_end(patch: Patch, change: Callable[[GroupMemberEnded], Event]) -> None:
    fold = group_state._FOLDS[GroupMemberEnded]

    def changed(state: Group, event: GroupMemberEnded) -> Group:
        return fold(state, change(event))

    folds: dict[type[Event], Any] = dict(group_state._FOLDS)
    patch.setattr(group_state, "_FOLDS", folds | {GroupMemberEnded: changed})


def change_hold(patch: Patch, change: Callable[[Any], Any]) -> None:
    paid = metering._paid

    def changed(paying: Any, account_id: Any, command: Any, *more: Any) -> Any:
        if getattr(command, "group_id", None) is not None:
            command = change(command)
        return paid(paying, account_id, command, *more)

    patch.setattr(metering, "_paid", changed)


def _filled_with(filled: Any, change: Callable[[int], int]) -> Any:
    return lambda members, slots: filled(members, change(slots))
