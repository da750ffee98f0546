"""Applications share the routes of their process, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import Unavailable
from service.http.app import create_app
from tests.integration.http.api import Api

ANSWERED = 'route="/v1/tasks"'


async def test_applications_of_one_process_answer_each_with_its_own_parts(
    api: Api, second_api: Api
) -> None:
    await api.submit()

    assert ANSWERED in (await api.get("/metrics", None)).text
    assert ANSWERED not in (await second_api.get("/metrics", None)).text


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_a_failure_to_start_or_to_stop_is_told_to_the_server(
    api: Api, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    sent: list[dict[str, Any]] = []

    async def fail(*_: object) -> bytes:
        raise Unavailable("The secret cannot be read.")

    async def receive() -> dict[str, str]:
        if sent:
            raise Unavailable("The server is gone.")
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    if step == "startup":
        monkeypatch.setattr("service.http.app.shared_secret", fail)
    with pytest.raises(Unavailable):
        await create_app(api.service)({"type": "lifespan"}, receive, send)
    assert sent[-1]["type"] == f"lifespan.{step}.failed"
    assert "Unavailable" in sent[-1]["message"]
