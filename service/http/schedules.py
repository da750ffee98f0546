"""Users' schedules: tasks that are submitted again and again, at the times of a cron expression."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from functools import partial
from typing import Annotated, Literal, Protocol, get_args
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from adapters.decision import Committed, States
from adapters.documents import DocumentFilter, DocumentView
from domain.errors import NotFound
from domain.event import Name, Text
from domain.schedule import SCHEDULE, Refusal, Schedule, ScheduleStatus
from domain.schedule_events import CRON_LENGTH_MAX, ZONE_LENGTH_MAX, PauseCause
from domain.task import PRIORITIES
from service.command import Once, Origin
from service.http.answer import Answer, json_answer
from service.http.call import Call, Reply
from service.http.document_pages import document_page
from service.http.pages import Page, Paging
from service.http.route import USER, route
from service.http.task_resource import AccountId, JsonObject, Priority, TaskId
from service.identifiers import new_id, public_id
from service.schedules import NewSchedule, next_times

NEXT_TIMES = 3
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Schedule).decode
_PRIORITY_NAMES: dict[int, Priority] = {v: k for k, v in PRIORITIES.items()}  # type: ignore[misc]
ScheduleAction = Literal["pause", "resume", "delete"]
ScheduleId = Annotated[str, Meta(pattern="^sched_[0-9a-f]{32}$")]
_LINKS = {
    name: (operation, "id", "$response.body#/id")
    for name, operation in (
        ("get", "get_schedule"),
        ("pause", "pause_schedule"),
        ("resume", "resume_schedule"),
        ("delete", "delete_schedule"),
    )
}


class NewScheduleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cron` has five fields, read in the time zone `zone`; the rest is as of a submission.

    A time that the clocks skip in spring fires as soon as they have; one that they show twice in
    autumn fires the first time.
    """

    cron: Annotated[str, Meta(min_length=1, max_length=CRON_LENGTH_MAX)]
    type: Name
    input: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
    zone: Annotated[str, Meta(min_length=1, max_length=ZONE_LENGTH_MAX)] = "UTC"
    priority: Priority = "normal"
    name: Name | None = None
    project: Name | None = None


class SchedulePauseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`reason` is kept with the event."""

    reason: Text = ""


class ScheduleResumeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing needs saying."""


class ScheduleDeleteBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing needs saying."""


class ScheduleQuery(Paging, frozen=True, kw_only=True):
    """Without `status` those that are not deleted."""

    status: tuple[ScheduleStatus, ...] = ()


class SchedulePause(msgspec.Struct, frozen=True, kw_only=True):
    """`cause`: its user asked, too many firings in a row were refused, or its times are over."""

    cause: PauseCause
    reason: str


class ScheduleResource(msgspec.Struct, frozen=True, kw_only=True):
    """`next_times` are those that follow, none unless it is active.

    `fired` and `skipped` count its firings, `missed` the times at which no process was there to
    fire: of those only the latest is made up for. After `skips_max` skipped in a row it pauses.
    """

    id: ScheduleId
    status: ScheduleStatus
    version: int
    account_id: AccountId
    name: str | None
    cron: str
    zone: str
    type: str
    input: JsonObject
    priority: Priority
    project: str | None
    next_times: tuple[datetime, ...]
    next: tuple[ScheduleAction, ...]
    fired: int
    skipped: int
    missed: int
    skips: int
    skips_max: int
    last_due_at: datetime | None
    last_task_id: TaskId | None
    last_refusal: Refusal | None
    pause: SchedulePause | None
    created_at: datetime
    updated_at: datetime


@route(
    "POST",
    "/v1/schedules",
    scopes=USER,
    given=NewScheduleBody,
    answers={201: ScheduleResource},
    refusals=("unknown_task_type", "operators_only", "limit_reached", "already_exists"),
    idempotent=True,
    example={
        "cron": "30 2 * * MON-FRI",
        "zone": "Europe/Berlin",
        "type": "media_extraction",
        "input": {"url": "https://example.com/clip.mp4"},
    },
    links=_LINKS,
)
async def create_schedule(call: Call, given: NewScheduleBody) -> Answer:
    """Submit a task at every time of a cron expression, from the next one on.

    Credits are held when it fires, at that day's price. A submission that is refused then is
    skipped and told in `last_refusal`.
    """
    schedule_id = new_id()
    new = NewSchedule(
        schedule_id=schedule_id,
        account_id=call.account_id,
        cron=given.cron,
        zone=given.zone,
        type=given.type,
        input=given.input,
        priority=given.priority,
        name=given.name,
        project=given.project,
    )
    reply = await call.once(
        lambda once: call.service.schedules.create(new, origin=call.origin, once=once),
        partial(_created, schedule_id),
    )
    return reply.answer()


@route(
    "GET",
    "/v1/schedules",
    scopes=USER,
    given=ScheduleQuery,
    answers={200: Page[ScheduleResource]},
    refusals=("invalid_cursor",),
)
async def list_schedules(call: Call, query: ScheduleQuery) -> Answer:
    """The account's schedules, newest first."""
    wanted = DocumentFilter(
        kind="schedule",
        account_id=call.account_id,
        statuses=query.status or ("active", "paused"),
    )
    return await document_page(call, query, wanted, _listed)


@route(
    "GET",
    "/v1/schedules/{id}",
    scopes=USER,
    answers={200: ScheduleResource},
    refusals=("not_found",),
)
async def get_schedule(call: Call) -> Answer:
    """One schedule: its next times, its last task, and its last refusal."""
    view = await call.service.documents.document("schedule", call.id("sched"))
    if view is None or view.account_id != call.account_id:
        raise NotFound("There is no such schedule.")
    return json_answer(schedule_resource(_decode(bytes(view.data))))


change_route = partial(
    route,
    "POST",
    scopes=USER,
    given_optional=True,
    answers={200: ScheduleResource},
    refusals=("not_found", "illegal_transition"),
    idempotent=True,
)


@change_route(
    "/v1/schedules/{id}/pause",
    given=SchedulePauseBody,
    example={"reason": "holidays"},
)
async def pause_schedule(call: Call, given: SchedulePauseBody) -> Answer:
    """Let a schedule fire no more until it is resumed."""
    return await _change(call, partial(call.service.schedules.pause, reason=given.reason))


@change_route(
    "/v1/schedules/{id}/resume",
    given=ScheduleResumeBody,
    example={},
)
async def resume_schedule(call: Call, _: ScheduleResumeBody) -> Answer:
    """Let a paused schedule fire again, from its next time on: nothing is made up for."""
    return await _change(call, call.service.schedules.resume)


@change_route(
    "/v1/schedules/{id}/delete",
    given=ScheduleDeleteBody,
    example={},
)
async def delete_schedule(call: Call, _: ScheduleDeleteBody) -> Answer:
    """End a schedule for good; the tasks that it submitted go on."""
    return await _change(call, call.service.schedules.delete)


class Change(Protocol):
    """A command on a schedule that is there."""

    def __call__(
        self, schedule_id: UUID, account_id: UUID, *, origin: Origin, once: Once | None
    ) -> Awaitable[Committed]: ...


async def _change(call: Call, command: Change) -> Answer:
    """Carry out the command on the schedule of the path, and show it as it is then."""
    schedule_id = call.id("sched")
    reply = await call.once(
        lambda once: command(schedule_id, call.account_id, origin=call.origin, once=once),
        partial(_changed, schedule_id),
    )
    return reply.answer()


def schedule_resource(shown: Schedule) -> ScheduleResource:
    last_task_id = shown.last_task_id
    return ScheduleResource(
        id=public_id("sched", shown.id),
        status=shown.status,
        version=shown.version,
        account_id=public_id("acct", shown.account_id),
        name=shown.name,
        cron=shown.cron,
        zone=shown.zone,
        type=shown.type,
        input=shown.input,
        priority=_PRIORITY_NAMES[shown.priority],
        project=shown.project,
        next_times=tuple(next_times(shown, NEXT_TIMES)),
        next=tuple(a for a in get_args(ScheduleAction) if a in SCHEDULE.allowed(shown.status)),
        fired=shown.fired,
        skipped=shown.skipped,
        missed=shown.missed,
        skips=shown.skips,
        skips_max=shown.skips_max,
        last_due_at=shown.last_due_at,
        last_task_id=None if last_task_id is None else public_id("task", last_task_id),
        last_refusal=shown.last_refusal,
        pause=_pause(shown),
        created_at=shown.created_at,
        updated_at=shown.updated_at,
    )


def _pause(shown: Schedule) -> SchedulePause | None:
    if shown.status != "paused" or shown.pause_cause is None:
        return None
    return SchedulePause(cause=shown.pause_cause, reason=shown.pause_reason)


def _listed(view: DocumentView) -> ScheduleResource:
    return schedule_resource(_decode(bytes(view.data)))


def _created(schedule_id: UUID, states: States) -> Reply:
    resource = schedule_resource(states[schedule_id])
    return Reply(201, _encode(resource), f"/v1/schedules/{resource.id}")


def _changed(schedule_id: UUID, states: States) -> Reply:
    return Reply(200, _encode(schedule_resource(states[schedule_id])))


ROUTES = (
    create_schedule,
    list_schedules,
    get_schedule,
    pause_schedule,
    resume_schedule,
    delete_schedule,
)
