"""The clients' live streams against services that cut, refuse and fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from tallystick import AsyncClient, Client
from tallystick.errors import LimitReached, NotFound, Unauthorized, Unreachable, WaitTimeout
from tallystick.exchange import RetryPolicy
from tallystick.models import StreamEvent
from tests.integration.cutting_service import Log, cutting_service
from tests.integration.scripted_service import DROP, Answer, ScriptedService, scripted_service
from tests.integration.test_client import TASK_ID, problem, task

QUICK = RetryPolicy(pause_seconds=0.001, pause_seconds_max=0.002, retries_max=2)
STREAM = {"Content-Type": "text/event-stream"}
AT = "2030-01-01T00:00:00Z"


def fact(name: str, position: int, status: str, version: int) -> tuple[str, int, dict[str, Any]]:
    told = task(status, version=version)
    return name, position, {"type": name, "position": position, "at": AT, "task": told}


LIFE = Log(
    [
        ("task", 3, {"position": 3, "task": task()}),
        fact("task.started", 7, "running", 2),
        ("progress", None, {"task_id": TASK_ID, "percent": 40, "message": "ü", "version": 2}),
        fact("task.stage_reached", 9, "running", 3),
        fact("task.completed", 12, "completed", 4),
    ]
)


def sync_read(
    service: Any, verb: str, *values: object, limit: int | None = None, **named: Any
) -> list[StreamEvent]:
    with Client(service.url, "tsk_secret", retries=QUICK) as client:
        return list(islice(getattr(client, verb)(*values, **named), limit))


def async_read(
    service: Any, verb: str, *values: object, limit: int | None = None, **named: Any
) -> list[StreamEvent]:
    async def run() -> list[StreamEvent]:
        got: list[StreamEvent] = []
        async with AsyncClient(service.url, "tsk_secret", retries=QUICK) as client:
            events = getattr(client, verb)(*values, **named)
            async for event in events:
                got.append(event)
                if len(got) == limit:
                    break
            await events.aclose()
        return got

    return asyncio.run(run())


Read = Callable[..., list[StreamEvent]]
pytestmark = pytest.mark.parametrize("read", [sync_read, async_read], ids=["sync", "async"])


def of_task(read: Read, service: object, seconds: float = 30) -> list[StreamEvent]:
    return read(service, "stream", TASK_ID, timeout_seconds=seconds)


def test_a_stream_tells_the_state_each_fact_and_progress_and_ends(read: Read) -> None:
    with cutting_service(LIFE, []) as service:
        events = of_task(read, service)
    assert [event.type for event in events] == [name for name, _, _ in LIFE.events]
    assert [event.position for event in events] == [3, 7, None, 9, 12]
    tasks = [event.task for event in events if event.task is not None]
    assert [known.version for known in tasks] == [1, 2, 2, 3, 4]
    assert (tasks[2].progress.percent, tasks[2].progress.message) == (40, "ü")
    assert tasks[-1].ended


def test_each_fact_comes_once_wherever_the_connection_is_cut(read: Read) -> None:
    """After every byte, almost: the second connection is cut too, the third has the rest."""
    whole = len(LIFE.after(0))
    for cut in range(0, whole, 37):
        with cutting_service(LIFE, [cut, cut // 2]) as service:
            events = of_task(read, service)
        positions = [event.position for event in events if event.position is not None]
        assert positions == [3, 7, 9, 12], cut


def test_a_connection_resumes_from_the_last_event_that_came_whole(read: Read) -> None:
    text = LIFE.after(0)
    cut = text.index(b'"position": 9')
    with cutting_service(LIFE, [cut]) as service:
        of_task(read, service)
    assert service.last_ids == [None, "7"]


def test_a_stream_that_ends_before_its_task_is_connected_again(read: Read) -> None:
    begin = Answer(200, b"id: 3\nevent: task\ndata: " + b'{"position":3,"task":%s}\n\n' % _BODY)
    begin = begin._replace(headers=STREAM)
    with scripted_service(begin, DROP, problem(503, "unavailable"), Answer(204, b"")) as service:
        events = of_task(read, service)
    assert [event.position for event in events] == [3]
    last_ids = [asked.headers.get("Last-Event-ID") for asked in service.asked]
    assert last_ids == [None, "3", "3", "3"]


_BODY = (
    b'{"id":"task_1","type":"x","status":"queued","version":1,"created_at":"2030-01-01T00:00:00Z"}'
)


def test_the_time_being_over_gives_the_last_state(read: Read) -> None:
    running = Log(LIFE.events[:2])
    with cutting_service(running, []) as service, pytest.raises(WaitTimeout) as raised:
        of_task(read, service, seconds=0.3)
    assert raised.value.task.status == "running"
    assert len(service.last_ids) > 1, "it went on to the end of the time"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(404, "not_found"), NotFound),
        (problem(401, "unauthenticated"), Unauthorized),
        (problem(429, "too_many_streams", retry_after=15), LimitReached),
        (Answer(200, task()), Unreachable),
        (Answer(200, b"event: x\ndata: {\n\n", STREAM), Unreachable),
    ],
)
def test_a_refusal_is_raised_at_once(read: Read, answer: Answer, error: type[Exception]) -> None:
    with scripted_service(answer) as service, pytest.raises(error):
        of_task(read, service)
    assert len(service.asked) == 1


def test_a_stream_that_never_begins_is_given_up(read: Read) -> None:
    with scripted_service(DROP) as service, pytest.raises(Unreachable):
        of_task(read, service)
    assert len(service.asked) == QUICK.retries_max + 1


def test_an_accounts_stream_goes_on_until_its_reader_stops(read: Read) -> None:
    moved = {"type": "credits.held", "position": 5, "at": AT, "data": {"amount": 2}, "version": 1}
    log = Log(
        [
            ("account", 3, {"position": 3, "account": _ACCOUNT}),
            ("credits.held", 5, moved),
            ("group.ended", 6, {"position": 6, "at": AT, "id": "group_1", "version": 4}),
            fact("task.completed", 8, "completed", 4),
            fact("task.submitted", 9, "queued", 1),
        ]
    )
    with cutting_service(log, [len(log.after(0)) - 300]) as service:
        events = read(service, "events", limit=5)
    assert [event.position for event in events] == [3, 5, 6, 8, 9]
    assert events[0].account is not None
    assert events[0].account.available == 7
    assert (events[1].data, events[2].data) == ({"amount": 2}, {"id": "group_1", "version": 4})


_ACCOUNT = {"id": "acct_1", "plan": "p", "status": "open", "available": 7, "held": 0, "captured": 0}
_ACCOUNT["granted"] = 7


def test_an_accounts_stream_resumes_from_a_position_of_before(read: Read) -> None:
    log = Log([fact("task.submitted", n, "queued", 1) for n in range(1, 6)])
    with cutting_service(log, []) as service:
        events = read(service, "events", after=2, timeout_seconds=0.3)
    assert [event.position for event in events] == [3, 4, 5]
    assert service.last_ids[:2] == ["2", "5"]


def test_what_cannot_be_an_id_is_never_sent(read: Read) -> None:
    with pytest.raises(ValueError, match="no task id"):
        read(ScriptedService("http://127.0.0.1:1", []), "stream", "../x", timeout_seconds=1)
