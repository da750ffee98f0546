"""An endpoint that receives pushed tasks, and an API whose service pushes to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.http.api import Api
from tests.integration.http.push.pushed_tasks import api_of
from tests.integration.push_receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as server:
        yield server


@pytest.fixture
async def api(database: str, tmp_path: Path, receiver: Receiver) -> AsyncIterator[Api]:
    async with api_of(database, tmp_path, receiver) as running:
        yield running
