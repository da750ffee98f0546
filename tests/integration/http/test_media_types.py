"""The shipped task types over HTTP, with real files and real money."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

from service.http.examples import SUBMISSIONS
from tests.integration.bus import working
from tests.integration.http.api import CREDITS, Api, running_api
from tests.integration.media_server import CLIP, MediaServer, serve_media

GB = 10**9


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database, tmp_path, allow_loopback_urls=True) as running:
        yield running


@pytest.fixture
async def web() -> AsyncIterator[MediaServer]:
    async with serve_media() as running:
        yield running


async def test_each_shipped_type_has_an_example_that_its_schema_takes(api: Api) -> None:
    types = (await api.get("/v1/task-types")).json()["items"]
    assert {one["name"] for one in types} == {"double", *SUBMISSIONS}
    for name, given in SUBMISSIONS.items():
        api.service.types.read_input(name, Raw(msgspec.json.encode(given)))
    assert all(one["input_schema"] and one["output_schema"] for one in types)


async def test_a_downloaded_video_is_charged_by_what_came(api: Api, web: MediaServer) -> None:
    asked = {"url": web.url("/clip"), "size_bytes_max": GB}
    accepted = await api.post("/v1/tasks", {"type": "download_video", "input": asked})
    assert accepted.status_code == 202
    assert await api.balance() == (CREDITS - 11, 11, 0)

    async with working(api.service.worker()):
        done = await api.get(f"/v1/tasks/{accepted.json()['id']}", prefer="wait=30")

    task = done.json()
    assert (task["status"], task["credits"]["charged"]) == ("completed", 2)
    assert await api.balance() == (CREDITS - 2, 0, 2)
    video = task["result"]["video"]
    assert video["key"].endswith("/1/video.mp4")
    stored = [chunk async for chunk in await api.service.storage.open(video["key"])]
    assert b"".join(stored) == CLIP.read_bytes()


async def test_what_is_no_video_costs_nothing_and_is_not_tried_again(
    api: Api, web: MediaServer
) -> None:
    asked = {"url": web.url("/text")}
    accepted = await api.post("/v1/tasks", {"type": "download_video", "input": asked})

    async with working(api.service.worker()):
        done = await api.get(f"/v1/tasks/{accepted.json()['id']}", prefer="wait=30")

    task = done.json()
    assert (task["status"], task["failure"]["type"]) == ("failed", "param_error")
    assert (task["attempt"], task["credits"]["charged"]) == (1, 0)
    assert await api.balance() == (CREDITS, 0, 0)
