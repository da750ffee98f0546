"""How a task or group goes, on stderr: a live bar in a terminal, elsewhere a line each change."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.cli.output import printable
from tallystick.models import Group, Task


class ProgressView:
    """Shows one task or group; give it each state that is seen."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._last = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(finished_text=" "),
                BarColumn(40),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bar.add_task("", total=100)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.stop()

    def show(self, task: Task | Group) -> None:
        """The newest state; one that looks like the last is not shown again."""
        words = describe(task)
        percent = 100 if task.status == "completed" else task.progress.percent
        line = f"{percent:3} % {words}"
        if line == self._last:
            return
        self._last = line
        if self._bar is not None:
            (bar,) = self._bar.task_ids
            self._bar.update(bar, completed=percent, description=words, refresh=True)
        else:
            self._console.print(line, markup=False, soft_wrap=True)


def describe(task: Task | Group) -> str:
    """State, stage and message, or how many members are done, in one line."""
    parts: list[str] = [task.status]
    if isinstance(task, Group):
        parts.append(f"{task.progress.completed} of {task.progress.total} done")
    elif task.status == "running":
        parts += [part for part in (task.progress.stage, task.progress.message) if part]
    return printable(" · ".join(parts))
