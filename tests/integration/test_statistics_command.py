"""`tallystick statistics` shows the queue and the figures, for people and for scripts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import tallystick
from tests.histories import BEGIN, History, store
from tests.integration.queued_tasks import put_tasks
from tests.integration.read_models import drain

SPAN = ("--since", "2026-03-01T00:00Z", "--until", "2026-04-01T00:00Z")


@pytest.fixture
def history(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("TALLYSTICK_DATA", str(tmp_path))
    grown = History(3).grow(400)
    store(database, grown.events)
    asyncio.run(drain(database))
    put_tasks(database, 4, "video")
    return grown


def run(*arguments: str) -> Result:
    return CliRunner().invoke(tallystick, ["statistics", *arguments])


def test_scripts_get_every_figure(history: History) -> None:
    found = json.loads(run(*SPAN, "--json").stdout)
    assert [(q["type"], q["waiting"]) for q in found["queue"]] == [("video", 4)]
    tasks = history.tasks.values()
    for figures in found["types"]:
        of_type = [task for task in tasks if task.type == figures["type"]]
        assert figures["queued"] == len(of_type) > 0
        assert figures["completed"] == sum(task.status == "completed" for task in of_type)
        assert figures["started"] == figures["wait"]["count"]
        assert figures["failed"] == sum(figures["failures"].values())
        assert figures["wait"]["p50_seconds"] <= figures["wait"]["p99_seconds"]
        assert figures["wait"]["p99_seconds"] <= figures["wait"]["max_seconds"]
    assert sum(figures["stalled"] for figures in found["types"]) > 0


def test_people_get_tables(history: History) -> None:
    shown = run(*SPAN, "--bucket", "day")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:3] == ["TYPE", "WAITING", "PAUSED"]
    assert lines[1].split()[:3] == ["video", "4", "0"]
    assert lines[2].startswith("FROM")
    assert f"{BEGIN:%Y-%m-%d}" in lines[3]
    assert run(*SPAN, "--type", "image_generation").stdout.count("image_generation") == 1


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("wrong", [("--since", "2099-01-01T00:00Z"), ("--type", "")])
def test_what_cannot_be_shown_is_wrong_usage(wrong: tuple[str, str]) -> None:
    assert run(*wrong).exit_code == 2
