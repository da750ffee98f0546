"""Live streams: the facts of one task, or of an account, as they happen (server-sent events)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial

from adapters.light_progress import LightProgress, progress_of_account
from adapters.log import BIGINT_MAX, Recorded
from adapters.pool import fetch
from adapters.queries import TaskView
from adapters.task_states import TaskStates
from domain.errors import NotFound
from service.http.answer import Answer
from service.http.call import Call
from service.http.event_stream import MEDIA, EventStream
from service.http.history import HistoryEntry
from service.http.live_facts import (
    AccountFact,
    AccountState,
    TaskFact,
    TaskProgress,
    TaskState,
    account_state,
    moved_on,
    reader_of,
    task_state,
)
from service.http.refusals import InvalidHeader
from service.http.route import USER, USER_OR_ADMIN, route
from service.http.streams import fact_of
from service.http.subscription import RUNNING_TASKS_MAX, Subscription
from service.http.tasks import visible_task

TASK_PAGE_EVENTS = 200
"""Facts of a task that are read at one time when its stream is resumed."""
NEAR_POSITIONS = 5_000
"""This far behind, a stream begins to listen; what it missed before that is read from the log."""
COMMENT = b":\n\n"
_ID = re.compile(rb"[0-9]{1,19}")
_POSITION = (
    "SELECT notification_id FROM tallystick_events"
    " WHERE originator_id = %(stream_id)s AND originator_version = %(version)s"
)
_LIMITS = ("invalid_input", "too_many_streams", "overloaded", "shutting_down")


@route(
    "GET",
    "/v1/tasks/{id}/events",
    scopes=USER_OR_ADMIN,
    answers={200: None, 204: None},
    refusals=("not_found", *_LIMITS),
    media=(MEDIA,),
    stream={"task": TaskState, "task.*": TaskFact, "progress": TaskProgress},
)
async def stream_task(call: Call) -> Answer:
    """A task live: its present state, then each of its facts, to the end of its run.

    `event` is `task` for the state, a fact's type (`task.started`), or `progress` for what is
    between facts. `id` is a position in the log: sent back as `Last-Event-ID`, the stream goes on
    with the facts after it, and says 204 when the task has ended and there are none. A stream may
    end before the task does (shutdown, a reader that is too slow); connect again with the last id.
    A comment comes when there is nothing else to say, every 15 s by default.
    """
    after = await last_event_id(call)
    view = await visible_task(call)
    reader = reader_of(call.key.account_id, view.task.id)
    if after is not None and view.task.ended and after >= await _position_of(call, view):
        return Answer(204)
    streams = call.front.streams
    subscription = streams.admit(reader, call.key.id)
    try:
        if after is None:
            chunks = _live(call, subscription, await _task_opening(call, subscription))
        else:
            chunks = _task_resumed(call, subscription, after)
    except BaseException:
        streams.leave(subscription)
        raise
    return EventStream(subscription, chunks, partial(streams.leave, subscription))


@route(
    "GET",
    "/v1/events",
    scopes=USER,
    answers={200: None},
    refusals=("not_found", *_LIMITS),
    media=(MEDIA,),
    stream={
        "account": AccountState,
        "task.*": TaskFact,
        "account.*": HistoryEntry,
        "credits.*": HistoryEntry,
        "*": AccountFact,
        "progress": TaskProgress,
    },
)
async def stream_account(call: Call) -> Answer:
    """The key's own account live: its present balance, then each fact of its tasks and credits.

    As the stream of a task, but without an end. A comment may come with an `id` and no data: all
    before that position has been told.
    """
    after = await last_event_id(call)
    streams = call.front.streams
    subscription = streams.admit(reader_of(call.account_id), call.key.id)
    try:
        if after is None:
            chunks = _live(call, subscription, await _account_opening(call, subscription))
        else:
            chunks = _account_resumed(call, subscription, after)
    except BaseException:
        streams.leave(subscription)
        raise
    return EventStream(subscription, chunks, partial(streams.leave, subscription))


async def last_event_id(call: Call) -> int | None:
    """Where a stream is to go on. Raises `InvalidHeader` for what is no position of the log."""
    text = call.headers.get(b"last-event-id")
    if text is None:
        return None
    position = int(text) if _ID.fullmatch(text) else BIGINT_MAX + 1
    if position > BIGINT_MAX:
        raise _bad_id("is no position of the log")
    if position > call.front.streams.position and position > await call.service.log.head():
        raise _bad_id("is past the end of the log")
    return position


def _bad_id(sentence: str) -> InvalidHeader:
    return InvalidHeader("The stream cannot go on from there.", ("Last-Event-ID", sentence))


async def _position_of(call: Call, view: TaskView) -> int:
    """Position of the task's last fact, as of the view."""
    parameters = {"stream_id": view.task.id, "version": view.task.version}
    [(position,)] = await fetch(call.service.pool, _POSITION, parameters)
    return int(position)


# From the present on


async def _task_opening(call: Call, subscription: Subscription) -> bytes:
    """The task as it is. Listening begins first, so what comes meanwhile is told after it."""
    await call.front.streams.listen(subscription)
    view = await visible_task(call)
    position = await _position_of(call, view)
    subscription.begin(position)
    task = view.task
    if task.ended:
        subscription.finish()
    elif task.leased:
        shown = LightProgress(
            task_id=task.id,
            version=task.version,
            percent=view.percent,
            message=view.message,
            completed=view.progress_completed,
            total=view.progress_total,
            stage=task.stage,
        )
        subscription.expect([shown])
    return task_state(view, position, operator=not call.is_user)


async def _account_opening(call: Call, subscription: Subscription) -> bytes:
    """The account as it is, and with it a position of the same moment."""
    await call.front.streams.listen(subscription)
    await call.service.ledgers.settle([call.account_id])
    found = await call.front.streams.accounts.balance(call.account_id)
    if found is None:
        raise NotFound("There is no such account.")
    position, balance = found
    subscription.begin(position)
    await _expect_running(call, subscription)
    return account_state(balance, position)


async def _expect_running(call: Call, subscription: Subscription) -> None:
    pool = call.service.pool
    subscription.expect(await progress_of_account(pool, call.account_id, RUNNING_TASKS_MAX))


async def _live(
    call: Call, subscription: Subscription, opening: bytes = b""
) -> AsyncIterator[bytes]:
    """What the subscription is offered, to its end; a comment where that takes long."""
    if opening:
        yield opening
    streams, seconds = call.front.streams, call.service.settings.stream_comment_seconds
    while True:
        try:
            async with asyncio.timeout(seconds):
                chunk = await subscription.take()
        except TimeoutError:
            # Nothing waits, so all up to the tail's position was written.
            of_task = subscription.reader.task_id is not None
            yield COMMENT if of_task else moved_on(streams.position)
            continue
        if not chunk:
            return
        yield chunk


# From a position on


async def _task_resumed(call: Call, subscription: Subscription, after: int) -> AsyncIterator[bytes]:
    """The task's facts past `after`: those of its own stream, read to the end twice, then live.

    What comes between the first reading and the beginning of the listening is in the second.
    """
    states, version = TaskStates(call.service.pool, call.service.mapper), 0
    for listening in (False, True):
        if listening:
            await call.front.streams.listen(subscription)
        while page := await _page(call, subscription, version):
            version = page[-1].event.originator_version
            chunk, ended = _told(subscription, states, page, after)
            after = max(after, page[-1].position)
            if chunk:
                yield chunk
            if ended:
                return
    subscription.begin(after)
    async for chunk in _live(call, subscription):
        yield chunk


async def _page(call: Call, subscription: Subscription, after_version: int) -> list[Recorded]:
    task_id = subscription.reader.task_id
    assert task_id is not None
    return await call.service.log.stream(
        task_id, after_version=after_version, upto_version=after_version + TASK_PAGE_EVENTS
    )


def _told(
    subscription: Subscription, states: TaskStates, facts: list[Recorded], after: int
) -> tuple[bytes, bool]:
    """These facts as they are written, from past `after`; and whether one of them is the end.

    Those before are noted: progress may come before the next fact.
    """
    frames: list[bytes] = []
    for recorded in facts:
        fact = fact_of(recorded, states)
        if fact is None:
            continue
        subscription.note(fact)
        if fact.position <= after:
            continue
        frames.append(fact.frame(subscription.reader))
        if subscription.ended_by(fact):
            return b"".join(frames), True
    return b"".join(frames), False


async def _account_resumed(
    call: Call, subscription: Subscription, after: int
) -> AsyncIterator[bytes]:
    """The account's facts past `after`, and live ones from where the tail of the log was."""
    streams, states = call.front.streams, TaskStates(call.service.pool, call.service.mapper)
    while (upto := await call.service.log.head()) - after > NEAR_POSITIONS:
        async for chunk in _windows(call, subscription, states, after, upto):
            yield chunk
        after = upto
    upto = await streams.listen(subscription)
    async for chunk in _windows(call, subscription, states, after, upto):
        yield chunk
    subscription.begin(max(after, upto))
    await _expect_running(call, subscription)
    async for chunk in _live(call, subscription):
        yield chunk


async def _windows(
    call: Call, subscription: Subscription, states: TaskStates, after: int, upto: int
) -> AsyncIterator[bytes]:
    """What is in the log for this account past `after`, up to and with `upto`."""
    streams = call.front.streams
    while after < upto:
        async with streams.catching_up:
            window = await streams.accounts.window(call.account_id, after, upto)
            await states.prepare(window.facts)
        chunk, _ = _told(subscription, states, window.facts, after)
        after = window.upto
        yield chunk or moved_on(after)


ROUTES = (stream_task, stream_account)
