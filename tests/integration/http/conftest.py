"""The API under test, on a database of its own, and its account as an operator sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.http.api import Api, running_api
from tests.integration.http.operator_books import Books


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database, tmp_path) as running:
        yield running


@pytest.fixture
async def second_api(api: Api, database: str, tmp_path: Path) -> AsyncIterator[Api]:
    """Another process's API on the same database, as far as anyone outside can tell."""
    async with running_api(database, tmp_path / "second") as running:
        yield running


@pytest.fixture
def books(api: Api) -> Books:
    return Books(api)
