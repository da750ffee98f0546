"""Every event there is, by its stored name; mapper, docs and golden files go by this list."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from domain.event import Event
from domain.group_events import (
    GroupCancelled,
    GroupCancelRequested,
    GroupCompleted,
    GroupFailed,
    GroupMemberEnded,
    GroupPartial,
    GroupRetried,
    GroupStarted,
)
from domain.ledger_events import (
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    CreditsCaptured,
    CreditsExhausted,
    CreditsExpired,
    CreditsGranted,
    CreditsHeld,
    CreditsLow,
    CreditsMatured,
    CreditsRefunded,
    CreditsReleased,
    CreditsVoided,
    HoldExpired,
    HoldExtended,
    LedgerSnapshot,
    PeriodClosed,
    PlanChanged,
)
from domain.pause_events import QueuePaused, QueueResumed
from domain.publication_events import PlansPublished, PricesPublished
from domain.reference import ReferenceUsed
from domain.schedule_events import (
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleFired,
    SchedulePaused,
    ScheduleResumed,
    ScheduleSkipped,
)
from domain.task_events import (
    TaskAttemptFailed,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskFailed,
    TaskReleased,
    TaskRetried,
    TaskStageReached,
    TaskStalled,
    TaskStarted,
    TaskSubmitted,
)

EVENTS: tuple[type[Event], ...] = (
    TaskSubmitted,
    TaskStarted,
    TaskStageReached,
    TaskAttemptFailed,
    TaskReleased,
    TaskStalled,
    TaskCancelRequested,
    TaskCompleted,
    TaskFailed,
    TaskCancelled,
    TaskRetried,
    GroupStarted,
    GroupMemberEnded,
    GroupCancelRequested,
    GroupCompleted,
    GroupPartial,
    GroupFailed,
    GroupCancelled,
    GroupRetried,
    AccountOpened,
    PlanChanged,
    AccountFrozen,
    AccountUnfrozen,
    AccountClosed,
    CreditsGranted,
    CreditsMatured,
    CreditsHeld,
    HoldExtended,
    CreditsCaptured,
    CreditsReleased,
    HoldExpired,
    CreditsExpired,
    CreditsVoided,
    CreditsRefunded,
    CreditsLow,
    CreditsExhausted,
    PeriodClosed,
    ScheduleCreated,
    ScheduleFired,
    ScheduleSkipped,
    SchedulePaused,
    ScheduleResumed,
    ScheduleDeleted,
    QueuePaused,
    QueueResumed,
    PricesPublished,
    PlansPublished,
    ReferenceUsed,
)
SNAPSHOTS: tuple[type[Event], ...] = (LedgerSnapshot,)


def stored_topic(event_type: type[Event], version: int | None = None) -> str:
    """`task.submitted.v1`: the topic and the version of its stored form."""
    return f"{event_type.TOPIC}.v{version or event_type.VERSION}"


BY_STORED_TOPIC: Mapping[str, tuple[type[Event], int]] = MappingProxyType(
    {
        stored_topic(event_type, version): (event_type, version)
        for event_type in (*EVENTS, *SNAPSHOTS)
        for version in range(1, event_type.VERSION + 1)
    }
)
