"""Examples for the documents, made of the structs that answer, so they cannot be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from msgspec import Raw

from domain.errors import (
    IllegalTransition,
    InsufficientCredits,
    InvalidInput,
    LimitReached,
    OperatorsOnly,
    ReferenceReused,
    StorageFull,
)
from domain.group import MemberStatus
from domain.money import Money
from domain.task import TaskStatus
from service.http.accounts import AccountResource
from service.http.group_resource import GroupMember, GroupProgress, GroupResource
from service.http.keys import NewKeyResource
from service.http.refusals import TooManyStreams
from service.http.schedules import ScheduleResource
from service.http.task_resource import Credits, Progress, TaskResource

_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
_ACCOUNT_ID = "acct_019bf3e0c7a07d3e8a52a1c6f2b7d9e4"

_GROUP_MEMBERS: tuple[tuple[int, MemberStatus, TaskStatus, int, int], ...] = (
    (0, "completed", "completed", 100, 2),
    (1, "active", "queued", 0, 0),
)

TASK = TaskResource(
    id="task_019bf3e1a2b47c118f3e9d5b6a7c8e90",
    type="media_extraction",
    status="queued",
    version=1,
    account_id=_ACCOUNT_ID,
    priority="normal",
    project=None,
    group_id=None,
    run=1,
    attempt=0,
    attempts_max=3,
    progress=Progress(percent=0, stage=None),
    credits=Credits(held=5, charged=0, released=0),
    money=Money(verdict="held", credits=5, sentence="5 credits are on hold."),
    trial=False,
    next=("cancel",),
    failure=None,
    created_at=_AT,
    updated_at=_AT,
    queued_at=_AT,
    not_before=None,
    deadline_at=_AT + timedelta(days=1),
    started_at=None,
    ended_at=None,
    input=Raw(b'{"url":"https://example.com/clip.mp4"}'),
    result=None,
)
GROUP = GroupResource(
    id="group_019bf3e3f6a758c2a4d6e8f0b1c3d5e7",
    kind="thumbnails",
    key="clip 7",
    status="processing",
    version=2,
    account_id=_ACCOUNT_ID,
    priority="normal",
    project=None,
    parallel_max=1,
    run=1,
    progress=GroupProgress(percent=50, completed=1, total=2),
    credits=Credits(held=4, charged=0, released=0),
    money=Money(
        verdict="held",
        credits=4,
        sentence="4 credits are on hold until all members have ended; so far 2 will be charged.",
    ),
    next=("cancel",),
    created_at=_AT,
    updated_at=_AT,
    started_at=_AT,
    ended_at=None,
    members=[
        GroupMember(
            type="generate_thumbnail",
            status=status,
            task_id=f"task_019bf3e4a1b27c118f3e9d5b6a7c8e9{number}",
            task_status=task_status,
            percent=percent,
            credits=2,
            charged=charged,
            run=1,
            failure=None,
        )
        for number, status, task_status, percent, charged in _GROUP_MEMBERS
    ],
)
ACCOUNT = AccountResource(
    id=_ACCOUNT_ID,
    name="Studio Ltd",
    plan="standard",
    status="open",
    version=2,
    granted=1_000,
    available=1_000,
    held=0,
    captured=0,
    active=0,
    pending=0,
    expired=0,
    voided=0,
    refunded=0,
    trials=0,
    opened_at=_AT,
    updated_at=_AT,
)
_CHARGED = Money(verdict="charged", credits=5, sentence="5 credits are charged.")
KEY = NewKeyResource(
    id="key_019bf3e2d4e57a6b9c0d1e2f3a4b5c6d",
    prefix="tsk_5f0c1b2a3d4e",
    name="gpu farm",
    scope="worker",
    account_id=None,
    created_at=_AT,
    expires_at=None,
    revoked_at=None,
    secret="tsk_5f0c1b2a3d4e_" + "0" * 64,
)
SCHEDULE = ScheduleResource(
    id="sched_019bf3e4d5f67a8b9c0d1e2f3a4b5c6d",
    status="active",
    version=2,
    account_id=_ACCOUNT_ID,
    name="nightly",
    cron="30 2 * * *",
    zone="UTC",
    type="media_extraction",
    input=Raw(b'{"url":"https://example.com/clip.mp4"}'),
    priority="normal",
    project=None,
    next_times=tuple(_AT.replace(hour=2, minute=30) + timedelta(days=day) for day in (1, 2, 3)),
    next=("pause", "delete"),
    fired=1,
    skipped=0,
    missed=0,
    skips=0,
    skips_max=10,
    last_due_at=_AT.replace(hour=2, minute=30),
    last_task_id=TASK.id,
    last_refusal=None,
    pause=None,
    created_at=_AT - timedelta(days=1),
    updated_at=_AT.replace(hour=2, minute=30),
)
ANSWERS: Mapping[type, Any] = MappingProxyType(
    {
        TaskResource: TASK,
        GroupResource: GROUP,
        AccountResource: ACCOUNT,
        NewKeyResource: KEY,
        ScheduleResource: SCHEDULE,
    }
)
"""By the type of an answer's body."""
SUBMISSIONS: Mapping[str, object] = MappingProxyType(
    {
        "media_extraction": {"url": "https://example.com/clip.mp4"},
        "generate_thumbnail": {"url": "https://example.com/clip.mp4", "at_seconds": 12.5},
        "download_video": {"url": "https://example.com/clip.mp4", "size_bytes_max": 200_000_000},
        "update_quota": {},
        "cleanup_temp": {},
    }
)
"""An input of each shipped task type."""
REFUSALS: Mapping[str, Exception] = MappingProxyType(
    {
        "insufficient_credits": InsufficientCredits(required=5, available=3),
        "limit_reached": LimitReached("active_tasks_max", 10, 10),
        "storage_full": StorageFull(5_000_000_123, 5_000_000_000),
        "operators_only": OperatorsOnly("cleanup_temp"),
        "reference_reused": ReferenceReused("invoice-42", {"amount": 500}),
        "too_many_streams": TooManyStreams("streams_per_key_max", 20, 15),
        "illegal_transition": IllegalTransition("task", "cancel", "completed", (), _CHARGED),
        "invalid_input": InvalidInput(
            "The body does not have the form that is asked for.",
            ("/priority", "Invalid enum value 'urgent'"),
        ),
    }
)
"""By code, those whose problem has members of its own."""
