"""Each cell of each machine: in every state, every command is a transition, quiet, or refused.

The tables are complete by construction: a state, command or trigger that is added to the domain
and not listed here fails `test_the_tables_list_every_state_and_command`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, get_args
from uuid import UUID

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import group, ledger, metering, pause, schedule, task
from domain.errors import DomainError, NotFound
from domain.event import Event, Metadata
from domain.group import GROUP, CancelGroup, EndMember, Group, GroupCommand, RetryGroup
from domain.ledger import ACCOUNT, HOLD, CaptureHold, CreditLedger, LedgerCommand, ReleaseHold
from domain.ledger_events import CreditsCaptured
from domain.machines import MACHINES
from domain.pause import PAUSE, Pause, PauseCommand, PauseQueue, ResumeQueue
from domain.schedule import SCHEDULE, Schedule, ScheduleCommand
from domain.task import TASK, Task, TaskCommand
from tests.unit.domain.given import (
    BROKEN,
    FLAKY,
    HOLD_ID,
    NEXT_HOLD_ID,
    NOON,
    OPENING,
    ORIGIN_ID,
    PLAN,
    PRICE,
    a_ledger,
    a_pause,
    fold_ledger,
    fold_task,
    grant,
    hold,
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
from tests.unit.domain.given_schedule import (
    HOUR,
    HOURLY,
    creation,
    fold_schedule,
    schedule_in,
)

# A cell is the state that follows, with the event that leads there, or `quiet`, or the refusal.
TASK_TABLE = """
command           absent   queued            running           backoff           cancelling        completed         failed            cancelled
SubmitTask        queued   AlreadyExists     AlreadyExists     AlreadyExists     AlreadyExists     AlreadyExists     AlreadyExists     AlreadyExists
StartTask         NotFound running           IllegalTransition running           IllegalTransition IllegalTransition IllegalTransition IllegalTransition
ReachStage        NotFound LeaseLost         running           LeaseLost         IllegalTransition IllegalTransition IllegalTransition IllegalTransition
ReleaseTask       NotFound LeaseLost         queued            LeaseLost         cancelled         IllegalTransition IllegalTransition IllegalTransition
StallTask         NotFound LeaseLost         queued            LeaseLost         cancelled         IllegalTransition IllegalTransition IllegalTransition
StallTask/last    NotFound LeaseLost         failed            LeaseLost         cancelled         IllegalTransition IllegalTransition IllegalTransition
CompleteTask      NotFound LeaseLost         completed         LeaseLost         completed         quiet             IllegalTransition IllegalTransition
ReuseResult       NotFound completed         IllegalTransition IllegalTransition IllegalTransition IllegalTransition IllegalTransition IllegalTransition
FailTask          NotFound LeaseLost         failed            quiet             failed            IllegalTransition quiet             IllegalTransition
FailTask/flaky    NotFound LeaseLost         backoff           quiet             failed            IllegalTransition quiet             IllegalTransition
FailTask/last     NotFound LeaseLost         failed            quiet             failed            IllegalTransition quiet             IllegalTransition
ExpireTask        NotFound failed            failed            failed            cancelled         quiet             quiet             quiet
ExpireTask/early  NotFound quiet             quiet             quiet             quiet             quiet             quiet             quiet
CancelTask        NotFound cancelled         cancelling        cancelled         quiet             IllegalTransition IllegalTransition quiet
ConfirmCancel     NotFound LeaseLost         IllegalTransition LeaseLost         cancelled         IllegalTransition IllegalTransition quiet
RetryTask         NotFound IllegalTransition IllegalTransition IllegalTransition IllegalTransition IllegalTransition queued            IllegalTransition
ReachStage/old    NotFound LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost
ReleaseTask/old   NotFound LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost
StallTask/old     NotFound LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost
CompleteTask/old  NotFound LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost
FailTask/old      NotFound LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost
ConfirmCancel/old NotFound LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost         LeaseLost
"""  # noqa: E501 - a table
TASK_EVENTS = {
    ("SubmitTask", "queued"): "TaskSubmitted",
    ("StartTask", "running"): "TaskStarted",
    ("ReachStage", "running"): "TaskStageReached",
    ("ReleaseTask", "queued"): "TaskReleased",
    ("ReleaseTask", "cancelled"): "TaskCancelled",
    ("StallTask", "queued"): "TaskStalled",
    ("StallTask", "failed"): "TaskFailed",
    ("StallTask", "cancelled"): "TaskCancelled",
    ("CompleteTask", "completed"): "TaskCompleted",
    ("ReuseResult", "completed"): "TaskCompleted",
    ("FailTask", "failed"): "TaskFailed",
    ("FailTask", "backoff"): "TaskAttemptFailed",
    ("ExpireTask", "failed"): "TaskFailed",
    ("ExpireTask", "cancelled"): "TaskCancelled",
    ("CancelTask", "cancelled"): "TaskCancelled",
    ("CancelTask", "cancelling"): "TaskCancelRequested",
    ("ConfirmCancel", "cancelled"): "TaskCancelled",
    ("RetryTask", "queued"): "TaskRetried",
}
GROUP_TABLE = """
command         absent      processing         completed          partial            failed             cancelling         cancelled
StartGroup      processing  quiet              quiet              quiet              processing         IllegalTransition  processing
EndMember       NotFound    processing         IllegalTransition  IllegalTransition  IllegalTransition  cancelling         quiet
EndMember/last  NotFound    completed          quiet              IllegalTransition  IllegalTransition  cancelled          IllegalTransition
EndMember/lost  NotFound    partial            IllegalTransition  quiet              quiet              cancelled          IllegalTransition
EndMember/vain  NotFound    failed             IllegalTransition  quiet              quiet              cancelled          IllegalTransition
CancelGroup     NotFound    cancelling         IllegalTransition  IllegalTransition  IllegalTransition  quiet              quiet
RetryGroup      NotFound    IllegalTransition  IllegalTransition  processing         processing         IllegalTransition  IllegalTransition
"""  # noqa: E501 - a table
ACCOUNT_TABLE = """
command            absent    open              frozen             closed
OpenAccount        open      AlreadyExists     AlreadyExists      AlreadyExists
ChangePlan         NotFound  open              IllegalTransition  IllegalTransition
FreezeAccount      NotFound  frozen            quiet              IllegalTransition
UnfreezeAccount    NotFound  quiet             open               IllegalTransition
CloseAccount       NotFound  AccountUnsettled  AccountUnsettled   quiet
CloseAccount/idle  NotFound  closed            closed             quiet
GrantCredits       NotFound  open              frozen             IllegalTransition
VoidGrant          NotFound  open              frozen             IllegalTransition
AdjustCredits      NotFound  open              frozen             IllegalTransition
HoldCredits        NotFound  open              IllegalTransition  IllegalTransition
ExtendHold         NotFound  open              IllegalTransition  IllegalTransition
CaptureHold        NotFound  open              frozen             IllegalTransition
ReleaseHold        NotFound  open              frozen             IllegalTransition
RefundCapture      NotFound  open              frozen             IllegalTransition
SettleDue          NotFound  quiet             quiet              quiet
SettleDue/due      NotFound  open              frozen             quiet
CloseBooks         NotFound  open              frozen             IllegalTransition
"""
# `-`: there is no capture that the command could name.
HOLD_TABLE = """
command             absent        held      captured      released      expired       refunded
ExtendHold          HoldNotFound  held      HoldNotFound  HoldNotFound  HoldNotFound  HoldNotFound
CaptureHold         HoldNotFound  captured  HoldNotFound  HoldNotFound  HoldNotFound  HoldNotFound
ReleaseHold         HoldNotFound  released  HoldNotFound  HoldNotFound  HoldNotFound  HoldNotFound
SettleDue           quiet         expired   quiet         quiet         quiet         quiet
RefundCapture       -             -         refunded      -             -             IllegalTransition
RefundCapture/part  -             -         captured      -             -             IllegalTransition
"""  # noqa: E501 - a table
SCHEDULE_TABLE = """
command          absent    active         paused   deleted
CreateSchedule   active    AlreadyExists  AlreadyExists  AlreadyExists
PauseSchedule    NotFound  paused         quiet    IllegalTransition
ResumeSchedule   NotFound  quiet          active   IllegalTransition
DeleteSchedule   NotFound  deleted        deleted  quiet
fire             NotFound  active         quiet    quiet
skip             NotFound  active         quiet    quiet
"""
PAUSE_TABLE = """
command      absent  open    paused
PauseQueue   paused  paused  quiet
ResumeQueue  quiet   quiet   open
"""
# The trigger that each command pulls; a task's and an account's first command makes the machine.
TRIGGERS = {
    "task": {
        "StartTask": "start",
        "ReachStage": "reach_stage",
        "ReleaseTask": "release",
        "StallTask": "stall",
        "CompleteTask": "complete",
        "ReuseResult": "reuse",
        "FailTask": "fail",
        "FailTask/flaky": "fail_attempt",
        "ExpireTask": "expire",
        "CancelTask": "cancel",
        "ConfirmCancel": "confirm_cancel",
        "RetryTask": "retry",
    },
    "group": {
        "StartGroup": "start_again",
        "EndMember": "end_member",
        "EndMember/last": "end",
        "CancelGroup": "cancel",
        "RetryGroup": "retry",
    },
    "account": {
        "ChangePlan": "change_plan",
        "FreezeAccount": "freeze",
        "UnfreezeAccount": "unfreeze",
        "CloseAccount": "close",
        "GrantCredits": "grant",
        "VoidGrant": "void",
        "AdjustCredits": "adjust",
        "HoldCredits": "hold",
        "ExtendHold": "extend",
        "CaptureHold": "capture",
        "ReleaseHold": "release",
        "RefundCapture": "refund",
        "CloseBooks": "close_books",
    },
    "hold": {
        "ExtendHold": "extend",
        "CaptureHold": "capture",
        "ReleaseHold": "release",
        "SettleDue": "expire",
        "RefundCapture": "refund",
    },
    "schedule": {
        "PauseSchedule": "pause",
        "ResumeSchedule": "resume",
        "DeleteSchedule": "delete",
        "fire": "fire",
        "skip": "skip",
    },
    "pause": {"PauseQueue": "pause", "ResumeQueue": "resume"},
}
Cell = tuple[str, str, str]


def cells(table: str) -> list[Cell]:
    """(command, state, outcome) of each cell."""
    head, *rows = [line.split() for line in table.strip().splitlines()]
    assert all(len(row) == len(head) for row in rows)
    return [
        (row[0], state, outcome)
        for row in rows
        for state, outcome in zip(head[1:], row[1:], strict=True)
    ]


def states_of(table: str) -> list[str]:
    return table.split("\n")[1].split()[1:]


def commands_of(table: str) -> set[str]:
    return {command for command, _, _ in cells(table)}


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


LATER = NOON + timedelta(hours=2)
TO_STATUS: dict[str, tuple[LedgerCommand, ...]] = {
    "open": (),
    "frozen": (ledger.FreezeAccount(reason="disputed"),),
    "closed": (
        CaptureHold(hold_id=HOLD_ID, amount=PRICE),
        ledger.CloseAccount(reason="left"),
    ),
}


def ledger_in(status: str, *, idle: bool = False) -> CreditLedger:
    """With a grant that expires before LATER and, unless `idle` or closed, an open hold."""
    expiring = replace(grant(100), expires_at=NOON + timedelta(hours=1))
    holds = () if idle and status != "closed" else (hold(),)
    return a_ledger(expiring, *holds, *TO_STATUS[status])


def capture_of(amount: int) -> CreditsCaptured:
    """What was charged of HOLD_ID, as its event tells."""
    state = a_ledger(grant(100), hold())
    (event,) = ledger.decide(state, CaptureHold(hold_id=HOLD_ID, amount=amount), metadata())
    assert isinstance(event, CreditsCaptured)
    return event


def ledger_commands() -> dict[str, LedgerCommand]:
    return {
        "OpenAccount": OPENING,
        "ChangePlan": ledger.ChangePlan(plan="enterprise"),
        "FreezeAccount": ledger.FreezeAccount(reason="r"),
        "UnfreezeAccount": ledger.UnfreezeAccount(reason="r"),
        "CloseAccount": ledger.CloseAccount(reason="r"),
        "GrantCredits": grant(100, number=2),
        "VoidGrant": ledger.VoidGrant(grant_id=grant(100).grant_id, reason="r"),
        "AdjustCredits": ledger.AdjustCredits(
            adjustment_id=UUID(int=77), amount=-1, source_ref="a", reason="r"
        ),
        "HoldCredits": hold(number=2),
        "ExtendHold": ledger.ExtendHold(hold_id=HOLD_ID, plan=hold().plan, added=1),
        "CaptureHold": CaptureHold(hold_id=HOLD_ID, amount=PRICE),
        "ReleaseHold": ReleaseHold(hold_id=HOLD_ID),
        "RefundCapture": ledger.RefundCapture(capture=capture_of(PRICE), amount=1, reason="r"),
        "SettleDue": ledger.SettleDue(),
        "CloseBooks": ledger.CloseBooks(period="2025-03"),
    }


@pytest.mark.parametrize(("name", "status", "outcome"), cells(ACCOUNT_TABLE))
def test_each_cell_of_the_account(name: str, status: str, outcome: str) -> None:
    command_name, _, variant = name.partition("/")
    before = None if status == "absent" else ledger_in(status, idle=variant == "idle")
    command = ledger_commands()[command_name]
    at = LATER if variant == "due" else NOON
    if outcome not in ACCOUNT.states:
        assert_refused_or_quiet(ledger.decide, before, command, outcome, at)
        return
    events = ledger.decide(before, command, metadata(at))
    state = before
    for event in events:
        assert_next_in_stream(event, state, at)
        state = fold_ledger([event], state)
    assert state is not None
    assert state.status == outcome


def ledger_with_hold(status: str) -> CreditLedger:
    """HOLD_ID in a state, out of a grant that lasts; it expires before LATER."""
    capture = CaptureHold(hold_id=HOLD_ID, amount=PRICE)
    refund = ledger.RefundCapture(capture=capture_of(PRICE), amount=PRICE, reason="r")
    settling: dict[str, tuple[LedgerCommand, ...]] = {
        "absent": (),
        "held": (),
        "captured": (capture,),
        "released": (ReleaseHold(hold_id=HOLD_ID),),
        "refunded": (capture, refund),
        "expired": (),
    }
    held = () if status == "absent" else (replace(hold(), expires_at=NOON + timedelta(hours=1)),)
    state = a_ledger(grant(100), *held, *settling[status])
    if status != "expired":
        return state
    return fold_ledger(ledger.decide(state, ledger.SettleDue(), metadata(LATER)), state)


@pytest.mark.parametrize(("name", "status", "outcome"), cells(HOLD_TABLE))
def test_each_cell_of_the_hold(name: str, status: str, outcome: str) -> None:
    if outcome == "-":
        return
    before = ledger_with_hold(status)
    whole = ledger.RefundCapture(capture=capture_of(PRICE), amount=PRICE, reason="r")
    commands = ledger_commands() | {
        "RefundCapture": whole,
        "RefundCapture/part": replace(whole, amount=1),
    }
    at = LATER if name == "SettleDue" else NOON
    if outcome not in HOLD.states:
        assert_refused_or_quiet(ledger.decide, before, commands[name], outcome, at)
        return
    (event,) = ledger.decide(before, commands[name], metadata(at))
    assert HOLD_TOPICS[name.split("/", maxsplit=1)[0]] == type(event).TOPIC
    after = fold_ledger([event], before)
    assert (HOLD_ID in after.holds) == (outcome == "held")
    if name.startswith("RefundCapture"):
        left = PRICE - after.refunds[HOLD_ID].amount
        assert (left == 0) == (outcome == "refunded")


HOLD_TOPICS = {
    "ExtendHold": "credits.hold_extended",
    "CaptureHold": "credits.captured",
    "ReleaseHold": "credits.released",
    "SettleDue": "credits.hold_expired",
    "RefundCapture": "credits.refunded",
}


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


def assert_refused_or_quiet(
    decide: Any, before: object, command: object, outcome: str, at: datetime = NOON
) -> None:
    if outcome == "quiet":
        assert decide(before, command, metadata(at)) == ()
        return
    with pytest.raises(DomainError) as refusal:
        decide(before, command, metadata(at))
    assert type(refusal.value).__name__ == outcome


def assert_next_in_stream(
    event: Event, before: Task | Group | CreditLedger | Schedule | Pause | None, at: datetime = NOON
) -> None:
    version = before.version if before else 0
    stream: UUID | None = before.id if before else event.originator_id
    assert (event.originator_id, event.originator_version) == (stream, version + 1)
    assert event.meta == metadata(at)
