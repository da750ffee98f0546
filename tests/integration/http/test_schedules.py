"""Schedules over HTTP, by the client and by the command line."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from domain.schedule import SCHEDULE
from service.cli.program import tallystick
from service.identifiers import new_id, public_id
from tallystick.client import AsyncClient, Client
from tallystick.errors import InvalidArgument, InvalidRequest
from tests.integration.http.api import Api, running_api

NIGHTLY = {"cron": "30 2 * * *", "zone": "Europe/Berlin", "type": "double", "input": {"n": 1}}


async def create(api: Api, as_: str = "user", **more: object) -> dict[str, Any]:
    answer = await api.post("/v1/schedules", NIGHTLY | more, as_)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/schedules/{answer.json()['id']}"
    return answer.json()  # type: ignore[no-any-return]


async def test_a_new_schedule_tells_its_next_three_times(api: Api) -> None:
    made = await create(api, name="nightly", priority="low", project="films")

    assert made["status"] == "active"
    assert made | NIGHTLY == made
    assert (made["name"], made["priority"], made["project"]) == ("nightly", "low", "films")
    assert len(set(made["next_times"])) == 3
    assert made["next_times"] == sorted(made["next_times"])
    assert (made["fired"], made["last_task_id"], made["last_refusal"]) == (0, None, None)
    assert (await api.get(f"/v1/schedules/{made['id']}")).json() == made
    assert (await api.balance())[1] == 0


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"cron": "0 0 31 2 *"}, "invalid_input", "/cron"),
        ({"cron": "0 0 */3 2 MON#5"}, "invalid_input", "/cron"),
        ({"cron": "* * * *"}, "invalid_input", "/cron"),
        ({"cron": "* " * 60}, "invalid_input", "/cron"),
        ({"zone": "Mars/Olympus"}, "invalid_input", "/zone"),
        ({"zone": ""}, "invalid_input", "/zone"),
        ({"type": "triple"}, "unknown_task_type", "/type"),
        ({"input": {"n": "1"}}, "invalid_input", "/input/n"),
        ({"input": 7}, "invalid_input", "/input"),
        ({"priority": "now"}, "invalid_input", "/priority"),
        ({"name": ""}, "invalid_input", "/name"),
        ({"often": True}, "invalid_input", ""),
    ],
    ids=str,
)
async def test_a_bad_schedule_is_refused_by_pointer_and_not_kept(
    api: Api, change: dict[str, object], code: str, pointer: str
) -> None:
    answer = await api.post("/v1/schedules", NIGHTLY | change)

    problem = answer.json()
    pointers = [error["pointer"] for error in problem["errors"]]
    assert (answer.status_code, problem["code"], pointers) == (400, code, [pointer])
    assert (await api.get("/v1/schedules")).json()["items"] == []


async def test_every_state_says_what_may_be_done_and_does_it(api: Api) -> None:
    path = f"/v1/schedules/{(await create(api))['id']}"

    paused = (await api.post(f"{path}/pause", {"reason": "holidays"})).json()
    assert (paused["status"], paused["next_times"]) == ("paused", [])
    assert paused["pause"] == {"cause": "asked", "reason": "holidays"}
    assert paused["next"] == ["resume", "delete"]
    resumed = (await api.post(f"{path}/resume")).json()
    assert (resumed["status"], resumed["pause"]) == ("active", None)
    assert resumed["next"] == ["pause", "delete"]
    assert len(resumed["next_times"]) == 3
    deleted = (await api.post(f"{path}/delete")).json()
    assert (deleted["status"], deleted["next"], deleted["next_times"]) == ("deleted", [], [])
    assert (await api.post(f"{path}/delete")).json() == deleted
    for verb in ("pause", "resume"):
        answer = await api.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
        assert (answer.json()["state"], answer.json()["allowed"]) == ("deleted", [])
    assert {s for s in SCHEDULE.states if SCHEDULE.terminal(s)} == {"deleted"}


async def test_the_list_has_what_is_not_deleted_page_by_page(api: Api) -> None:
    ids = [(await create(api, name=f"n{n}"))["id"] for n in range(5)]
    await create(api, "other")
    await api.post(f"/v1/schedules/{ids[2]}/delete")
    await api.post(f"/v1/schedules/{ids[3]}/pause")

    for limit in (1, 2, 4, 200):
        seen: list[str] = []
        path = f"/v1/schedules?limit={limit}"
        while path:
            answer = await api.get(path)
            seen += [one["id"] for one in answer.json()["items"]]
            path = answer.links.get("next", {}).get("url", "")
        assert seen == [ids[4], ids[3], ids[1], ids[0]]
    for status, found in (("paused", [ids[3]]), ("deleted", [ids[2]])):
        items = (await api.get(f"/v1/schedules?status={status}")).json()["items"]
        assert [one["id"] for one in items] == found


async def test_anothers_schedule_is_not_found_by_any_verb(api: Api) -> None:
    theirs = (await create(api, "other"))["id"]
    for schedule_id in (theirs, public_id("sched", new_id()), "sched_1", "task_" + "0" * 32):
        path = f"/v1/schedules/{schedule_id}"
        answers = [await api.get(path)] + [
            await api.post(f"{path}/{verb}") for verb in ("pause", "resume", "delete")
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.get(f"/v1/schedules/{theirs}", "other")).json()["status"] == "active"


async def test_a_request_that_is_sent_again_creates_one(api: Api) -> None:
    first = await api.post("/v1/schedules", NIGHTLY, idempotency_key="k")
    again = await api.post("/v1/schedules", NIGHTLY, idempotency_key="k")

    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await api.get("/v1/schedules")).json()["items"]) == 1
    changed = await api.post("/v1/schedules", NIGHTLY | {"name": "x"}, idempotency_key="k")
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_limit_and_the_patience_are_settings(database: str, tmp_path: Any) -> None:
    settings = {"schedules_max": 2, "schedule_skips_max": 7}
    async with running_api(database, tmp_path, **settings) as api:
        assert (await create(api))["skips_max"] == 7
        await create(api)
        answer = await api.post("/v1/schedules", NIGHTLY)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (429, "limit_reached")
        assert (problem["limit"], problem["maximum"]) == ("schedules_max", 2)
        await create(api, "other")


async def test_the_client_has_every_verb(api: Api) -> None:
    def work() -> None:
        with Client(api.url, api.secrets["user"]) as client:
            made = client.schedules.create("0 3 * * *", "double", {"n": 2}, name="a", project="p")
            again = client.schedules.get(made.id)
            assert (again, again.input, again.project) == (made, {"n": 2}, "p")
            assert [one.id for one in client.schedules.list()] == [made.id]
            paused = client.schedules.pause(made.id, reason="later")
            assert paused.pause is not None
            assert (paused.status, paused.pause.reason) == ("paused", "later")
            assert client.schedules.resume(made.id).next == ("pause", "delete")
            assert client.schedules.delete(made.id).status == "deleted"
            assert list(client.schedules.list()) == []
            with pytest.raises(InvalidRequest):
                client.schedules.create("0 0 31 2 *", "double", {"n": 2})
            with pytest.raises(InvalidArgument):
                client.schedules.get("../tasks")

    await asyncio.to_thread(work)


async def test_the_async_client_has_them_too(api: Api) -> None:
    async with AsyncClient(api.url, api.secrets["user"]) as client:
        made = await client.schedules.create(
            "0 3 * * *", "double", {"n": 2}, idempotency_key="again"
        )
        again = await client.schedules.create(
            "0 3 * * *", "double", {"n": 2}, idempotency_key="again"
        )
        assert again == made == await client.schedules.get(made.id)
        assert (await client.schedules.pause(made.id)).status == "paused"
        assert (await client.schedules.resume(made.id)).status == "active"
        assert [one.id async for one in client.schedules.list()] == [made.id]
        assert (await client.schedules.delete(made.id)).status == "deleted"


async def test_the_command_line_has_every_verb(api: Api) -> None:
    made = await _command(
        api, "create", "30 2 * * MON", "double", '{"n": 3}', "--zone", "Europe/Berlin", "--json"
    )
    one = msgspec.json.decode(made)
    assert (one["cron"], one["zone"], one["input"]) == ("30 2 * * MON", "Europe/Berlin", {"n": 3})
    shown = await _command(api, "show", one["id"])
    assert "30 2 * * MON (Europe/Berlin)" in shown
    assert shown.count("+00:00") >= 3
    assert one["id"] in await _command(api, "list")
    assert "asked: holidays" in await _command(api, "pause", one["id"], "--reason", "holidays")
    assert "active" in await _command(api, "resume", one["id"])
    assert "deleted" in await _command(api, "delete", one["id"])
    refused = await _command(api, "create", "0 0 31 2 *", "double", '{"n": 3}', status=2)
    assert "/cron" in refused


async def _command(api: Api, *arguments: str, status: int = 0) -> str:
    options = ("--url", api.url, "--api-key", api.secrets["user"])
    words = ["schedule", *arguments, *options]
    done = await asyncio.to_thread(CliRunner().invoke, tallystick, words)
    assert done.exit_code == status, done.output
    return done.output
