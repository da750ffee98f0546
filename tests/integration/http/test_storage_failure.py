"""A11 through the API: storage fails, and the task completes with the original URL and says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.http.api import Api, running_api
from tests.integration.media_server import MediaServer, serve_media


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database, tmp_path, allow_loopback_urls=True) as running:
        yield running


@pytest.fixture
async def media() -> AsyncIterator[MediaServer]:
    async with serve_media() as running:
        yield running


async def extracted(api: Api, url: str) -> dict[str, Any]:
    """The ended task of an extraction."""
    body = {"type": "media_extraction", "input": {"url": url}}
    answer = await api.post("/v1/tasks", body)
    await api.service.worker().run(until_idle=True)
    task: dict[str, Any] = (await api.get(f"/v1/tasks/{answer.json()['id']}")).json()
    return task


async def test_storage_that_fails_costs_what_would_be_stored_and_not_the_task(
    api: Api, media: MediaServer, tmp_path: Path
) -> None:
    """A result that lacks what could not be stored is not reused, one that is whole is."""
    account = tmp_path / "objects" / str(api.account)
    await asyncio.to_thread(account.parent.mkdir, exist_ok=True)
    await asyncio.to_thread(account.write_text, "a file where the account's folder should be")
    url = media.url("/clip")
    task = await extracted(api, url)
    result = task["result"]
    assert (task["status"], task["credits"]["charged"]) == ("completed", 10)
    assert (result["stored"], result["video"], result["video_url"]) == (False, None, url)
    assert "the video; it is still at its original URL" in result["storage_note"]
    assert result["duration_seconds"] > 0

    await asyncio.to_thread(account.unlink)
    again = await extracted(api, url)
    assert (again["reused_from"], again["result"]["stored"]) == (None, True)
    third = await extracted(api, url)
    assert (third["reused_from"], third["result"]) == (again["id"], again["result"])
