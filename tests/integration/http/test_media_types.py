"""The shipped task types over HTTP, with real files and real money."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

from service.hooks import Notice
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


async def test_a_cancellation_is_heard_while_the_server_says_nothing(
    database: str, tmp_path: Path, web: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    seen: asyncio.Queue[Notice] = asyncio.Queue()

    async def hear(notice: Notice) -> None:
        if notice.moment == "progress":
            seen.put_nowait(notice)

    settings = {"allow_loopback_urls": True, "lease_seconds": 10, "heartbeat_seconds": 0.1}
    async with running_api(database, tmp_path, **settings) as api:
        body = {"type": "download_video", "input": {"url": web.url("/stall-body")}}
        path = f"/v1/tasks/{(await api.post('/v1/tasks', body)).json()['id']}"
        async with working(api.service.worker(hooks=[hear])):
            progress = (await seen.get()).progress
            assert progress is not None
            assert (progress.message, progress.total) == ("Downloading", 4_000_000)
            assert 0 < (progress.completed or 0) <= 3_000_000
            assert (await api.post(f"{path}/cancel", {})).status_code == 202
            task = (await api.get(path, prefer="wait=30")).json()
        assert task["status"] == "cancelled"
        assert await api.balance() == (CREDITS, 0, 0)
    left = [*scratch.iterdir(), *(tmp_path / "objects").rglob("*")]
    assert left == []


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
