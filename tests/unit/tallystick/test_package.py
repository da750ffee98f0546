"""Handlers import the package in a moment; its clients are there when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tallystick

HANDLERS_ALONE = """
import sys
from tallystick import handler, push_type
sys.exit("httpx" in sys.modules)
"""


def test_all_that_is_promised_is_there() -> None:
    promised = {name: getattr(tallystick, name) for name in tallystick.__all__}
    assert all(callable(one) for one in promised.values())
    assert promised["Client"].__module__ == "tallystick.client"


def test_whoever_only_handles_tasks_imports_no_http_client() -> None:
    assert subprocess.run([sys.executable, "-c", HANDLERS_ALONE], check=False).returncode == 0


def test_nothing_else_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        tallystick.Cleint  # type: ignore[attr-defined]  # noqa: B018
