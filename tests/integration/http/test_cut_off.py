"""Requests that outlast the grace time of a stop are answered as problems too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.integration.http.api import running_api


async def test_what_is_cut_off_says_whether_something_may_have_been_written(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Semaphore(0)

    async def hang(*_: object, **__: object) -> None:
        begun.release()
        await asyncio.Event().wait()

    async with httpx.AsyncClient(timeout=30, verify=False) as client:  # noqa: S501
        async with running_api(database, tmp_path, drain_seconds_max=1) as api:
            monkeypatch.setattr(api.service.queries, "tasks", hang)
            monkeypatch.setattr(api.service.bus, "submit", hang)
            key = {"authorization": f"Bearer {api.secrets['user']}"}
            url, body = f"{api.url}/v1/tasks", {"type": "double", "input": {"n": 1}}
            reading = asyncio.create_task(client.get(url, headers=key))
            writing = asyncio.create_task(client.post(url, headers=key, json=body))
            for _ in range(2):
                await begun.acquire()
        read, wrote = await reading, await writing
    assert (read.status_code, read.json()["code"]) == (503, "shutting_down")
    assert (wrote.status_code, wrote.json()["code"]) == (503, "outcome_unknown")
    assert wrote.json()["credits"] == {"charged": None, "released": None}
    assert {answer.headers["connection"] for answer in (read, wrote)} == {"close"}
