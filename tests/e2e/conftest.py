"""What end-to-end tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.tallystick_process import Home, Running


@pytest.fixture
def home(tmp_path: Path, database: str) -> Home:
    """An empty folder and a fresh database; nothing runs yet."""
    return Home(tmp_path, database, {})


@pytest.fixture
def dev(home: Home) -> Iterator[Running]:
    """`tallystick dev`, ready."""
    with home.started("dev") as running:
        running.wait_for("Tallystick is ready at ")
        yield running
