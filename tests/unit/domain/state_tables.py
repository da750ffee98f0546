"""What every command comes to in every state of every machine, and how such a cell is tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from domain.errors import DomainError
from domain.event import Event
from domain.group import Group
from domain.ledger import CreditLedger
from domain.pause import Pause
from domain.schedule import Schedule
from domain.task import Task
from tests.unit.domain.given import NOON, metadata

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
