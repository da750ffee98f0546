"""Live streams: the present state, then every fact once and in order, wherever they are cut."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tallystick import AsyncClient, Client
from tests.integration.http.api import FINAL, PRICE, Api, running_api
from tests.integration.http.sse import SECONDS_MAX, Heard, listening, open_streams
from tests.integration.http.told_facts import log_of, log_of_account

LIFE = ["task.submitted", "task.started", "task.stage_reached", "task.completed"]


async def live(api: Api, task: dict[str, Any]) -> None:
    """The one task's whole life after its submission."""
    [claimed] = await api.claim()
    assert claimed["id"] == task["id"]
    await api.work(task["id"], "stage", claimed["token"], stage="half")
    await api.work(task["id"], "complete", claimed["token"], result={"n": 2})


def facts(heard: list[Heard]) -> list[tuple[int, str]]:
    return [(event.id or 0, event.name) for event in heard if event.is_fact]


async def test_a_fresh_stream_has_the_state_then_every_fact_and_ends_with_the_task(
    api: Api,
) -> None:
    task = await api.submit()
    path = f"/v1/tasks/{task['id']}/events"
    async with listening(api, path) as stream:
        assert stream.response.status_code == 200
        assert stream.response.headers["content-type"] == "text/event-stream"
        assert stream.response.headers["cache-control"] == "no-store"
        assert stream.response.headers["x-accel-buffering"] == "no"
        state = await stream.next()
        assert state is not None
        await live(api, task)
        heard = await stream.rest()

    log = await log_of(api, task["id"])
    assert [name for _, name in log] == LIFE
    assert (state.name, state.id) == ("task", log[0][0])
    assert state.data["task"] == {n: v for n, v in task.items() if n != "input"}
    assert facts(heard) == log[1:]
    told = [event.data for event in heard if event.is_fact]
    assert [(d["position"], d["type"]) for d in told] == log[1:]
    assert [d["task"]["version"] for d in told] == [2, 3, 4]
    assert [d["task"]["status"] for d in told] == ["running", "running", "completed"]
    assert [d["task"]["progress"]["percent"] for d in told] == [0, 50, 100]
    assert told[-1]["task"]["result"] == {"n": 2}
    assert told[-1]["task"]["credits"] == {"held": 0, "charged": PRICE, "released": 0}
    assert all("input" not in d["task"] and "worker" not in d["task"] for d in told)


async def test_a_task_is_resumed_exactly_from_every_point_it_can_be_cut_at(api: Api) -> None:
    """Cut after the k-th event, while it runs or after its end: together it is always the log."""
    task = await api.submit()
    path = f"/v1/tasks/{task['id']}/events"
    [claimed] = await api.claim()
    await api.work(task["id"], "fail", claimed["token"], failure=FINAL)
    await api.post(f"/v1/tasks/{task['id']}/retry")
    await live(api, task)
    log = await log_of(api, task["id"])
    assert len(log) == 7
    for cut in range(len(log)):
        async with listening(api, path, after=0) as stream:
            before = [await stream.next() for _ in range(min(cut, 3))]
        got, after = [event for event in before if event is not None], stream.last_id or 0
        for _ in log:
            async with listening(api, path, after=after) as stream:
                if stream.response.status_code == 204:
                    break
                got += await stream.rest()
            after = stream.last_id or after
        assert facts(got) == log, cut


async def test_a_stream_cut_at_any_point_while_the_task_runs_loses_and_doubles_nothing(
    api: Api,
) -> None:
    for cut in range(5):
        task = await api.submit()
        path = f"/v1/tasks/{task['id']}/events"
        got: list[Heard] = []
        working = None
        async with listening(api, path) as stream:
            got.append(await stream.next())  # type: ignore[arg-type]
            working = asyncio.create_task(live(api, task))
            while len(facts(got)) < cut - 1 and (event := await stream.next()):
                got.append(event)
        after = stream.last_id
        async with listening(api, path, after=after) as stream:
            if stream.response.status_code == 200:
                got += await stream.rest()
        await working
        assert facts(got) == (await log_of(api, task["id"]))[1:], cut


async def test_an_ended_task_sends_its_state_and_ends(api: Api) -> None:
    task = await api.submit()
    await live(api, task)
    path = f"/v1/tasks/{task['id']}/events"
    last = (await log_of(api, task["id"]))[-1][0]
    async with listening(api, path) as stream:
        [state] = await stream.rest()
    assert (state.name, state.id, state.data["task"]["status"]) == ("task", last, "completed")
    assert state.data["task"]["result"] == {"n": 2}
    answer = await api.get(path, last_event_id=str(last))
    assert (answer.status_code, answer.content) == (204, b"")
    await open_streams(api, 0)


async def test_an_operator_sees_who_works(api: Api) -> None:
    task = await api.submit()
    async with listening(api, f"/v1/tasks/{task['id']}/events", "admin") as stream:
        await stream.next()
        await live(api, task)
        started = await stream.next()
    assert started is not None
    assert started.data["task"]["worker"] == "w1"


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "", "9" * 19, "9" * 30, "99999"])
async def test_a_last_event_id_that_is_no_position_yet_is_refused(api: Api, after: str) -> None:
    task = await api.submit()
    for path in (f"/v1/tasks/{task['id']}/events", "/v1/events"):
        answer = await api.get(path, last_event_id=after)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
        assert answer.json()["errors"][0]["header"] == "Last-Event-ID"
    await open_streams(api, 0)


async def test_an_account_is_told_of_its_tasks_and_credits_and_of_nobody_elses(api: Api) -> None:
    async with listening(api, "/v1/events") as stream:
        state = await stream.next()
        assert state is not None
        await api.submit(as_="other")
        [others] = await api.claim()
        task = await api.submit()
        await live(api, task)
        await api.work(others["id"], "complete", others["token"], result={"n": 2})
        heard = await stream.until("credits.captured")

    assert (state.name, state.data["account"]["available"]) == ("account", 1_000)
    assert facts(heard) == await log_of_account(api, after=state.id or 0)
    assert [event.name for event in heard if event.is_fact] == [
        "task.submitted",
        "credits.held",
        "task.started",
        "task.stage_reached",
        "task.completed",
        "credits.captured",
    ]
    by_name = {event.name: event.data for event in heard}
    assert by_name["credits.captured"]["data"]["amount"] == PRICE
    assert by_name["credits.captured"]["data"]["task_id"] == task["id"]
    assert by_name["task.completed"]["task"]["status"] == "completed"
    assert "result" not in by_name["task.completed"]["task"]


async def test_an_account_is_resumed_exactly_from_every_point_it_can_be_cut_at(api: Api) -> None:
    """Each cut is resumed in the middle of new work, so that reading and listening have to join."""
    for n in range(3):
        await api.submit(as_="other")
        task = await api.submit(n)
        claimed = {one["id"]: one["token"] for one in await api.claim(limit=2)}
        await api.work(task["id"], "complete", claimed[task["id"]], result={"n": n})
    points = [0, *(position for position, _ in await log_of_account(api))]
    for after in points:
        async with listening(api, "/v1/events", after=after) as stream:
            task = await api.submit()
            await api.post(f"/v1/tasks/{task['id']}/cancel")
            log = await log_of_account(api, after=after)
            got: list[Heard] = []
            while len(facts(got)) < len(log):
                event = await stream.next()
                assert event is not None
                got.append(event)
        assert facts(got) == log, after
        assert stream.last_id == log[-1][0]


async def test_no_fact_is_lost_or_doubled_where_streams_begin_under_load(api: Api) -> None:
    """Streams begin, fresh and resumed, while facts are written without a pause."""
    busy, streams = asyncio.Event(), 12
    begins: list[tuple[int, list[Heard]]] = []

    async def write() -> None:
        while not busy.is_set():
            task = await api.submit()
            await api.post(f"/v1/tasks/{task['id']}/cancel")

    async def read(number: int) -> None:
        after = None if number % 2 else 0
        async with listening(api, "/v1/events", after=after) as stream:
            heard = [await stream.next()]
            begin = (heard[0].id or 0) if after is None and heard[0] else 0
            while len(heard) < 40:
                heard.append(await stream.next())
        begins.append((begin, [event for event in heard if event is not None]))

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for number in range(streams):
            await group.create_task(read(number))
        busy.set()

    assert len(begins) == streams
    for begin, heard in begins:
        told = facts(heard)
        log = [fact for fact in await log_of_account(api, after=begin) if fact[0] <= told[-1][0]]
        assert told == log


async def test_progress_between_facts_comes_without_an_id(database: str, tmp_path: Path) -> None:
    async with running_api(database, tmp_path, stream_progress_seconds=0.05) as api:
        task = await api.submit()
        [claimed] = await api.claim()
        for path in (f"/v1/tasks/{task['id']}/events", "/v1/events"):
            async with listening(api, path) as stream:
                state = await stream.next()
                assert state is not None
                percent = 10 if path == "/v1/events" else 5
                beat = {"message": "on the way", "completed": percent, "total": 100}
                said = {"percent": percent, **beat}
                answer = await api.work(task["id"], "progress", claimed["token"], progress=said)
                assert answer.status_code == 200, answer.text
                while (event := await stream.next()) and event.data["percent"] != percent:
                    pass
                assert event is not None
                assert (event.name, event.id) == ("progress", None)
                assert event.data == {
                    "task_id": task["id"],
                    "version": 2,
                    "percent": percent,
                    "stage": None,
                    **beat,
                }
                assert stream.last_id == state.id


@pytest.mark.parametrize("of", ["task", "account"])
async def test_a_resumed_stream_has_progress_before_the_next_fact(
    database: str, tmp_path: Path, of: str
) -> None:
    async with running_api(database, tmp_path, stream_progress_seconds=0.05) as api:
        task = await api.submit()
        [claimed] = await api.claim()
        path = "/v1/events" if of == "account" else f"/v1/tasks/{task['id']}/events"
        async with listening(api, path) as stream:
            state = await stream.next()
        assert state is not None
        async with listening(api, path, after=state.id) as stream:
            await open_streams(api, 1)
            said = {"percent": 20, "message": "on the way"}
            await api.work(task["id"], "progress", claimed["token"], progress=said)
            event = await stream.next()
            assert event is not None
            assert (event.name, event.id, event.data["percent"]) == ("progress", None, 20)


async def test_streams_of_a_revoked_or_expired_key_end(api: Api, second_api: Api) -> None:
    task = await api.submit()
    for path in (f"/v1/tasks/{task['id']}/events", "/v1/events"):
        for where in (api, second_api):
            name = await api.key_of(api.account)
            second_api.secrets[name] = api.secrets[name]
            async with listening(where, path, name) as stream:
                assert await stream.next() is not None
                [key] = [k for k in await api.service.keys.page() if str(k.id) == name]
                await api.service.keys.revoke(key.id)
                assert await stream.rest() == []
        assert (await api.get(path, name)).status_code == 401


async def test_a_stranger_finds_no_stream(api: Api) -> None:
    task = await api.submit()
    assert (await api.get(f"/v1/tasks/{task['id']}/events", "other")).status_code == 404
    assert (await api.get("/v1/events", "admin")).status_code == 403
    await open_streams(api, 0)


async def test_a_key_has_its_share_of_streams_and_a_process_its_room(
    database: str, tmp_path: Path
) -> None:
    limits = {"streams_per_key_max": 1, "streams_max": 2}
    async with running_api(database, tmp_path, **limits) as api:
        task = await api.submit()
        path = f"/v1/tasks/{task['id']}/events"
        async with listening(api, path) as first:
            await first.next()
            refused = await api.get("/v1/events")
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert int(refused.headers["retry-after"]) >= 1
            assert (refused.json()["limit"], refused.json()["maximum"]) == (
                "streams_per_key_max",
                1,
            )
            async with listening(api, "/v1/events", "other") as second:
                await second.next()
                full = await api.get(path, "admin")
                assert (full.status_code, full.json()["code"]) == (503, "overloaded")
        await open_streams(api, 0)
        async with listening(api, path) as again:
            assert await again.next() is not None


async def test_a_stop_ends_every_stream_in_good_form(api: Api) -> None:
    task = await api.submit()
    async with (
        listening(api, f"/v1/tasks/{task['id']}/events") as of_task,
        listening(api, "/v1/events") as of_account,
    ):
        assert await of_task.next() is not None
        assert await of_account.next() is not None
        api.stop.set()
        assert await of_task.rest() == []
        assert await of_account.rest() == []
    answer = await api.get(f"/v1/tasks/{task['id']}/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")


async def test_a_quiet_stream_says_that_it_is_there(database: str, tmp_path: Path) -> None:
    """An account's stream says with it up to where there was nothing, to resume from."""
    async with running_api(database, tmp_path, stream_comment_seconds=0.05) as api:
        task = await api.submit()
        async with (
            listening(api, f"/v1/tasks/{task['id']}/events") as of_task,
            listening(api, "/v1/events") as of_account,
        ):
            assert await of_account.next() is not None
            await api.submit(as_="other")
            head = await api.service.log.head()
            reading = asyncio.create_task(of_account.next())
            async with asyncio.timeout(30):
                while of_account.last_id != head:
                    await asyncio.wait([reading], timeout=0.01)
            assert not reading.done()
            await api.post(f"/v1/tasks/{task['id']}/cancel")
            fact = await reading
            assert fact is not None
            assert fact.name == "task.cancelled"
            await of_task.until("task.cancelled")
            assert of_task.comments > 0


async def test_who_hangs_up_leaves_nothing_behind(api: Api) -> None:
    task = await api.submit()
    async with listening(api, f"/v1/tasks/{task['id']}/events") as stream:
        await stream.next()
        await open_streams(api, 1)
    await open_streams(api, 0)


async def test_positions_only_grow(api: Api) -> None:
    async with listening(api, "/v1/events", after=0) as stream:
        for _ in range(5):
            await api.submit()
        head = await api.service.log.head()
        ids: list[int] = []
        while not ids or ids[-1] < head:
            event = await stream.next()
            assert event is not None
            ids.append(event.id or 0)
    assert all(before < after for before, after in pairwise(ids))


async def test_the_clients_read_a_stream_of_the_service_to_its_end(api: Api) -> None:
    """Also the client for threads; both see what the log has."""
    task = await api.submit()

    def read() -> list[int | None]:
        with Client(api.url, api.secrets["user"]) as client:
            return [e.position for e in client.stream(task["id"], timeout_seconds=SECONDS_MAX)]

    async with AsyncClient(api.url, api.secrets["user"]) as client:
        in_thread = asyncio.create_task(asyncio.to_thread(read))
        await open_streams(api, 1)
        got: list[int | None] = []
        async for event in client.stream(task["id"], timeout_seconds=SECONDS_MAX):
            if not got:
                await live(api, task)
            got.append(event.position)
        accounts = client.events(after=0, timeout_seconds=SECONDS_MAX)
        first = await anext(accounts)
    log = [position for position, _ in await log_of(api, task["id"])]
    assert [position for position in got if position is not None] == log
    assert [position for position in await in_thread if position is not None] == log
    assert (first.type, first.task) == ("account.opened", None)
