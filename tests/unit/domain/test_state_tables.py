"""Each cell of each machine: in every state, every command is a transition, quiet, or refused.

The tables are complete by construction: a state, command or trigger that is added to the domain
and not listed in them fails `test_the_tables_list_every_state_and_command`. Those of ledgers are
tried in `test_ledger_state_tables.py`.
"""

from __future__ import annotations

from typing import Any, get_args
from uuid import UUID

import pytest
from msgspec import Raw

from domain import group, metering, pause, schedule, task
from domain.errors import NotFound
from domain.event import Event, Metadata
from domain.group import GROUP, CancelGroup, EndMember, GroupCommand, RetryGroup
from domain.ledger import LedgerCommand
from domain.machines import MACHINES
from domain.pause import PAUSE, PauseCommand, PauseQueue, ResumeQueue
from domain.schedule import SCHEDULE, Schedule, ScheduleCommand
from domain.task import TASK, Task, TaskCommand
from tests.unit.domain.given import (
    BROKEN,
    FLAKY,
    NEXT_HOLD_ID,
    NOON,
    ORIGIN_ID,
    PLAN,
    PRICE,
    a_ledger,
    a_pause,
    fold_task,
    grant,
    metadata,
    retried_task,
    submission,
    task_in,
)
from tests.unit.domain.given_group import (
    NEW_TASK_IDS,
    NEXT_GROUP_HOLD_ID,
    TERMS,
    Played,
    group_at_work,
    group_in,
    starting,
)
from tests.unit.domain.given_schedule import HOUR, HOURLY, creation, fold_schedule, schedule_in
from tests.unit.domain.state_tables import (
    ACCOUNT_TABLE,
    GROUP_TABLE,
    HOLD_TABLE,
    PAUSE_TABLE,
    SCHEDULE_TABLE,
    TASK_EVENTS,
    TASK_TABLE,
    TRIGGERS,
    assert_next_in_stream,
    assert_refused_or_quiet,
    cells,
    commands_of,
    states_of,
)


def names(union: object) -> set[str]:
    return {member.__name__ for member in get_args(union)}


def test_the_tables_list_every_state_and_command() -> None:
    tables = {
        "task": TASK_TABLE,
        "group": GROUP_TABLE,
        "account": ACCOUNT_TABLE,
        "hold": HOLD_TABLE,
        "schedule": SCHEDULE_TABLE,
        "pause": PAUSE_TABLE,
    }
    assert {machine.noun for machine in MACHINES} == set(tables)
    for machine in MACHINES:
        assert states_of(tables[machine.noun]) == ["absent", *machine.states]
        assert set(TRIGGERS[machine.noun].values()) == set(machine.triggers)
        assert set(TRIGGERS[machine.noun]) <= commands_of(tables[machine.noun])
    fenced = {
        command.__name__
        for command in get_args(TaskCommand)
        if "token" in command.__struct_fields__
    }
    assert commands_of(TASK_TABLE) == (
        names(TaskCommand)
        | {"StallTask/last", "FailTask/flaky", "FailTask/last", "ExpireTask/early"}
        | {f"{name}/old" for name in fenced}
    )
    assert {name.split("/")[0] for name in commands_of(ACCOUNT_TABLE)} == names(LedgerCommand)
    assert {name.split("/")[0] for name in commands_of(GROUP_TABLE)} == names(GroupCommand)
    assert commands_of(SCHEDULE_TABLE) == names(ScheduleCommand) | {"fire", "skip"}
    assert commands_of(PAUSE_TABLE) == names(PauseCommand)
    assert {(c.split("/")[0], o) for c, _, o in cells(TASK_TABLE) if o in TASK.states} == set(
        TASK_EVENTS
    )


def task_commands(state: Task | None) -> dict[str, TaskCommand]:
    """One command of each row, with the token of `state`; `/old` with the one before."""
    token = state.token if state else 1
    flaky = task.FailTask(token=token, failure=FLAKY)
    current: dict[str, TaskCommand] = {
        "SubmitTask": submission(),
        "StartTask": task.StartTask(worker="w"),
        "RetryTask": task.RetryTask(hold_id=NEXT_HOLD_ID, credits=PRICE),
        "CancelTask": task.CancelTask(),
        "ReuseResult": task.ReuseResult(origin_id=ORIGIN_ID, result=Raw(b"{}")),
        "ExpireTask": task.ExpireTask(),
        "ExpireTask/early": task.ExpireTask(),
        "FailTask/flaky": flaky,
    }
    for suffix, number in (("", token), ("/last", token), ("/old", token - 1)):
        current |= {
            f"ReachStage{suffix}": task.ReachStage(token=number, stage="upload", percent=40),
            f"ReleaseTask{suffix}": task.ReleaseTask(token=number),
            f"StallTask{suffix}": task.StallTask(token=number),
            f"CompleteTask{suffix}": task.CompleteTask(token=number, result=Raw(b"{}")),
            f"FailTask{suffix}": task.FailTask(token=number, failure=BROKEN),
            f"ConfirmCancel{suffix}": task.ConfirmCancel(token=number),
        }
    return current | {"FailTask/last": flaky}


@pytest.mark.parametrize(("name", "status", "outcome"), cells(TASK_TABLE))
def test_each_cell_of_the_task(name: str, status: str, outcome: str) -> None:
    before = None if status == "absent" else before_cell(name, status)
    command = task_commands(before)[name]
    at = before.deadline_at if before is not None and name == "ExpireTask" else NOON
    if outcome not in TASK.states:
        assert_refused_or_quiet(task.decide, before, command, outcome, at)
        return
    (event,) = task.decide(before, command, metadata(at))
    assert type(event).__name__ == TASK_EVENTS[name.split("/", maxsplit=1)[0], outcome]
    assert_next_in_stream(event, before, at)
    assert fold_task([event], before).status == outcome
    if before is not None:
        pulling = "FailTask/flaky" if outcome == "backoff" else name.split("/", maxsplit=1)[0]
        trigger = TRIGGERS["task"][pulling]
        assert TASK.target(trigger, before.status, before) == outcome


def before_cell(name: str, status: str) -> Task:
    """The task of a cell: in a row `/last` one with nothing left, which `backoff` cannot be."""
    stalls_max = 0 if name == "StallTask/last" else 3
    attempts_max = 1 if name == "FailTask/last" and status != "backoff" else 3
    return task_in(status, stalls_max=stalls_max, attempts_max=attempts_max)


@pytest.mark.parametrize(("name", "status", "outcome"), cells(GROUP_TABLE))
def test_each_cell_of_the_group(name: str, status: str, outcome: str) -> None:
    before = None if status == "absent" else group_before(name, status).state
    task_id = before.members[-1].task_id if before is not None else UUID(int=1)
    commands: dict[str, GroupCommand] = {
        "StartGroup": starting(2, hold_id=NEXT_GROUP_HOLD_ID),
        "EndMember": EndMember(task_id=task_id, outcome="cancelled"),
        "EndMember/last": EndMember(task_id=task_id, outcome="completed", charged=1),
        "EndMember/lost": EndMember(task_id=task_id, outcome="failed"),
        "EndMember/vain": EndMember(task_id=task_id, outcome="failed"),
        "CancelGroup": CancelGroup(),
        "RetryGroup": RetryGroup(hold_id=NEXT_GROUP_HOLD_ID, task_ids=NEW_TASK_IDS, terms=TERMS),
    }
    if outcome not in GROUP.states:
        assert_refused_or_quiet(group.decide, before, commands[name], outcome)
        return
    events = group.decide(before, commands[name], metadata())
    after = before
    for event in events:
        assert_next_in_stream(event, after)
        after = group.evolve(after, event)
    assert after is not None
    assert after.status == outcome
    assert len(events) == (2 if name.startswith("EndMember/") else 1)


def group_before(name: str, status: str) -> Played:
    """The group of a cell: for `EndMember` one with another at work, for `/vain` nothing done."""
    if status in {"processing", "cancelling"} and name in {"EndMember", "EndMember/vain"}:
        return group_at_work(status, 3 if name == "EndMember" else 1)
    return group_in(status)


@pytest.mark.parametrize(("name", "status", "outcome"), cells(SCHEDULE_TABLE))
def test_each_cell_of_the_schedule(name: str, status: str, outcome: str) -> None:
    before = None if status == "absent" else schedule_in(status)
    if name in {"fire", "skip"}:
        if before is not None:
            assert_fires(before, name, outcome)
        return
    command = {
        "CreateSchedule": creation(),
        "PauseSchedule": schedule.PauseSchedule(),
        "ResumeSchedule": schedule.ResumeSchedule(),
        "DeleteSchedule": schedule.DeleteSchedule(),
    }[name]

    def decide(state: Any, given: Any, meta: Metadata) -> Any:
        return schedule.decide(state, given, HOURLY, meta)

    if outcome not in SCHEDULE.states:
        assert_refused_or_quiet(decide, before, command, outcome)
        return
    (event,) = decide(before, command, metadata())
    assert_next_in_stream(event, before)
    assert fold_schedule([event], before).status == outcome
    if before is not None:
        assert SCHEDULE.target(TRIGGERS["schedule"][name], status) == outcome


def assert_fires(before: Schedule, name: str, outcome: str) -> None:
    """A firing that is taken or refused, an hour later."""

    def submit() -> tuple[Event, ...]:
        if name == "skip":
            raise NotFound("There is no such account.")
        return metering.submit(None, a_ledger(grant(100)), submission(), PLAN, metadata())

    events = schedule.fire(before, HOURLY, submit, metadata(NOON + HOUR))
    if outcome == "quiet":
        assert events == ()
        return
    assert f"schedule.{'skipped' if name == 'skip' else 'fired'}" == type(events[-1]).TOPIC
    assert fold_schedule(events, before).status == outcome == SCHEDULE.target(name, before.status)


@pytest.mark.parametrize(("name", "status", "outcome"), cells(PAUSE_TABLE))
def test_each_cell_of_the_pause(name: str, status: str, outcome: str) -> None:
    before = None if status == "absent" else a_pause(status)
    commands: dict[str, PauseCommand] = {
        "PauseQueue": PauseQueue(kind="type", name="image", reason="costly"),
        "ResumeQueue": ResumeQueue(kind="type", name="image", reason="cheap"),
    }
    if outcome not in PAUSE.states:
        assert_refused_or_quiet(pause.decide, before, commands[name], outcome)
        return
    (event,) = pause.decide(before, commands[name], metadata())
    assert_next_in_stream(event, before)
    after = pause.evolve(before, event)
    assert (after.status, after.reason) == (outcome, commands[name].reason)
    assert (after.id, after.version) == (event.originator_id, event.originator_version)
    if before is not None:
        assert PAUSE.target(TRIGGERS["pause"][name], before.status) == outcome


def test_a_queued_task_of_a_later_run_is_fenced_like_a_new_one() -> None:
    """A worker of the first run holds a token that looks current until the next start."""
    before = retried_task()
    for name, command in task_commands(before).items():
        if "token" in command.__struct_fields__:
            assert_refused_or_quiet(task.decide, before, command, "LeaseLost")
        assert before.token == 1, name
