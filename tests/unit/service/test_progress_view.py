"""Progress as it is shown: a line for each change outside a terminal, a bar inside one."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from service.cli.progress import ProgressView
from tallystick.models import Progress, Task, TaskStatus


def task(status: TaskStatus, percent: int = 0, stage: str | None = None, message: str = "") -> Task:
    return Task(
        id="task_1",
        type="x",
        status=status,
        version=1,
        created_at=datetime(2030, 1, 1, tzinfo=UTC),
        progress=Progress(percent=percent, stage=stage, message=message),
    )


STATES = [
    task("queued"),
    task("running", 10, "download"),
    task("running", 10, "download"),
    task("running", 30, "download", "[red]\x1b[31mhalf"),
    task("completed", 30, "download"),
]


def test_outside_a_terminal_each_change_is_one_line_without_controls() -> None:
    file = io.StringIO()
    with ProgressView(Console(file=file, width=40)) as view:
        for state in STATES:
            view.show(state)
    assert file.getvalue().splitlines() == [
        "  0 % queued",
        " 10 % running · download",
        " 30 % running · download · [red] [31mhalf",
        "100 % completed",
    ]


def test_in_a_terminal_one_bar_is_drawn_to_its_end() -> None:
    file = io.StringIO()
    with ProgressView(Console(file=file, width=100, force_terminal=True)) as view:
        for state in STATES:
            view.show(state)
    drawn = file.getvalue()
    assert "100 %" in drawn
    assert "completed" in drawn
    assert "[red]" in drawn
    assert "\x1b[31mhalf" not in drawn
